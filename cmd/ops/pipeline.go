package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/cdk"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/deploy"
	"gitlab-codedeploy/internal/notes"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/steps"
)

func (p *program) pipeline() *cobra.Command {
	command := &cobra.Command{
		Use:   "pipeline",
		Short: "What the jobs of this repository's own pipeline do",
		Long:  "What the jobs of .gitlab-ci.yml do, by the variables that GitLab gives them. docs/review.md says how to set the pipeline up.",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("want credentials or notes after pipeline")}
		},
	}
	command.AddCommand(p.pipelineCredentials(), p.pipelineNotes())
	return command
}

// The profiles of a job, which pipelineCredentials writes.
var jobProfiles = map[account.Side]string{account.GitLab: "gitlab-account", account.Deploy: "deploy-account"}

func (p *program) pipelineCredentials() *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:   "credentials review|deploy --env NAME",
		Short: "Write an AWS configuration by which a job takes a role in both accounts",
		Long: `Prints the line that makes AWS clients use it. Its profiles gitlab-account and deploy-account
take the role gitlab-codedeploy-NAME-review, or -deploy, in either account, by the token that
GitLab made for this job. There are no keys to keep: clients fetch credentials that last an
hour, when they need them.

Reads AWS_ID_TOKEN (the job's id_tokens) and CI_JOB_ID.`,
		Example:   "  profiles=$(scripts/ops pipeline credentials review --env staging)\n  eval \"$profiles\"",
		ValidArgs: []string{"review", "deploy"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "review" && args[0] != "deploy" {
				return usageError{fmt.Errorf("got %q, want review or deploy", args)}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := p.load(o)
			if err != nil {
				return err
			}
			token := p.variable("AWS_ID_TOKEN")
			switch {
			case token == "":
				return usageError{errors.New("AWS_ID_TOKEN is not set: the job needs id_tokens, which GitLab has from 15.7 on")}
			case cfg.Pipeline == nil:
				return usageError{fmt.Errorf("config/%s.yaml has no key pipeline: without it the accounts have no roles for this job", o.environment)}
			case o.dryRun:
				return calls.ErrDryRun
			}
			file, err := p.writeProfiles(cfg, args[0], token)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.stdout, "export AWS_CONFIG_FILE=%s AWS_SHARED_CREDENTIALS_FILE=%s\n", deploy.Quote(file), os.DevNull)
			return err
		},
	}
	o.forEnvironment(command)
	command.Flags().Lookup("dry-run").Usage = "look at what is needed, and write nothing"
	return command
}

// writeProfiles writes an AWS configuration with a profile for each account, and returns its file.
// https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-role.html#cli-configure-role-oidc
func (p *program) writeProfiles(cfg config.Config, role, token string) (string, error) {
	folder, err := os.MkdirTemp("", "aws-profiles.") // for this user alone
	if err != nil {
		return "", err
	}
	session := "job-0"
	if job := p.variable("CI_JOB_ID"); jobID.MatchString(job) {
		session = "job-" + job
	}
	var text strings.Builder
	for _, side := range []account.Side{account.GitLab, account.Deploy} {
		_, _ = fmt.Fprintf(&text, "[profile %s]\nregion = %s\nrole_arn = arn:%s:iam::%s:role/gitlab-codedeploy-%s-%s\nrole_session_name = %s\nweb_identity_token_file = %s\n\n",
			jobProfiles[side], cfg.Region, cfg.Partition(), accountOf(cfg, side), cfg.Environment, role, session, filepath.Join(folder, "token"))
	}
	file := filepath.Join(folder, "config")
	return file, errors.Join(os.WriteFile(filepath.Join(folder, "token"), []byte(token), 0o600), os.WriteFile(file, []byte(text.String()), 0o600))
}

var (
	jobID          = regexp.MustCompile(`^[0-9]{1,19}$`)
	artifactFolder = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
)

// synthJob is the job of .gitlab-ci.yml that makes the templates.
const synthJob = "synth"

func (p *program) pipelineNotes() *cobra.Command {
	var o bothOptions
	var output string
	command := &cobra.Command{
		Use:   "notes --env NAME",
		Short: "Write what a deploy would change into each open merge request",
		Long: `Compares what the job synth of each open merge request of the default branch has made with
what is deployed, as diff does, and shows that as a note. There is one note for an
environment: the next run changes it instead of adding another. A longer one than 200,000
characters is cut, and says so. Each is also left as FOLDER/<number>.md.

It is for a scheduled pipeline of the default branch: what compares, and what holds the token,
is then that branch's. From the branch under review come only the templates, as data.

Reads REVIEW_NOTE_TOKEN (a project access token with scope api and role Reporter, as a masked
and protected variable), and GitLab's own CI_API_V4_URL, CI_PROJECT_ID and CI_DEFAULT_BRANCH.
A job's own CI_JOB_TOKEN may not write notes.

Exit status: 0 done; 1 a note could not be written, and the others were; 2 something is
missing.`,
		Example: "  scripts/ops pipeline notes --env staging",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			project, branch, err := p.project(o)
			if err != nil {
				return err
			}
			folder := o.assembly
			o.assembly = "" // what comes from a job is not here
			if !artifactFolder.MatchString(folder) {
				return usageError{fmt.Errorf("--assembly: want a folder of the job's artifacts such as cdk.out, got %q", plain.Line(folder, 100))}
			}
			sides, err := o.sides()
			if err != nil {
				return err
			}
			if err := p.needTools(); err != nil {
				return err
			}
			w := noteWriter{p: p, project: project, o: o, sides: sides, folder: folder, output: output, branch: branch}
			return w.all(c.Context())
		},
	}
	o.add(command)
	flags := command.Flags()
	flags.Lookup("dry-run").Usage = "compare, and say which notes would be written"
	flags.Lookup("yes").Usage = "accepted as everywhere; nothing is asked here"
	flags.Lookup("assembly").Usage = "`FOLDER` that cdk synth has written, among the artifacts of the job synth"
	for flag, value := range map[string]string{"assembly": "cdk.out", "profile-a": jobProfiles[account.GitLab], "profile-b": jobProfiles[account.Deploy]} {
		_ = flags.Lookup(flag).Value.Set(value)
		flags.Lookup(flag).DefValue = value
	}
	flags.StringVar(&output, "output", "review-notes", "`FOLDER` for the notes as files")
	return command
}

// project is that of the job, with the token of the notes, which no program that this one
// starts gets.
func (p *program) project(o bothOptions) (*notes.Project, string, error) {
	values := map[string]string{"REVIEW_NOTE_TOKEN": p.secret("REVIEW_NOTE_TOKEN")}
	var missing []string
	for _, name := range []string{"REVIEW_NOTE_TOKEN", "CI_API_V4_URL", "CI_PROJECT_ID", "CI_DEFAULT_BRANCH"} {
		if name != "REVIEW_NOTE_TOKEN" {
			values[name] = p.variable(name)
		}
		if values[name] == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return nil, "", usageError{fmt.Errorf("not set: %s", strings.Join(missing, " "))}
	}
	project, err := notes.Open(values["CI_API_V4_URL"], values["CI_PROJECT_ID"], values["REVIEW_NOTE_TOKEN"], p.web.Transport)
	if err != nil {
		return nil, "", usageError{err}
	}
	return project, values["CI_DEFAULT_BRANCH"], nil
}

// noteWriter writes the notes of all merge requests.
type noteWriter struct {
	p       *program
	project *notes.Project
	o       bothOptions
	sides   []account.Side
	folder  string // of the assembly, among the artifacts
	output  string
	branch  string
}

func (w noteWriter) all(ctx context.Context) error {
	open, err := w.project.MergeRequests(ctx, w.branch)
	if err != nil {
		return err
	}
	failed := false
	for _, number := range open {
		err := w.one(ctx, number)
		switch {
		case ctx.Err() != nil:
			return interrupted(ctx)
		case errors.Is(err, notes.ErrNothing):
			w.p.log("%s", plain.Line(err.Error(), maxMessage))
		case err != nil:
			w.p.log("error: merge request %d: %s", number, plain.Line(err.Error(), maxMessage))
			failed = true
		}
	}
	switch {
	case failed:
		return ended{status: 1} // all was said
	case w.o.dryRun:
		return calls.ErrDryRun
	}
	return nil
}

// one writes the note of one merge request.
func (w noteWriter) one(ctx context.Context, number int) error {
	job, err := w.project.Job(ctx, number, synthJob)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "ops-notes.")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	text, err := w.compare(ctx, job, work)
	if err != nil {
		said := err.Error()
		if said == "" {
			said = "the reason stands above"
		}
		return fmt.Errorf("what it has made cannot be compared: %s", said)
	}
	text += fmt.Sprintf("\nCompared by the tool of `%s`. The templates are those that job %d of this branch has made.\n", plain.Line(w.branch, 200), job)
	if w.o.dryRun {
		_, err := fmt.Fprintf(w.p.stdout, "merge request %d: a note of %d characters\n", number, len([]rune(text)))
		return err
	}
	name := fmt.Sprintf("%d.md", number)
	if err := errors.Join(os.MkdirAll(w.output, 0o755), os.WriteFile(filepath.Join(w.output, name), []byte(text), 0o644)); err != nil {
		return err
	}
	note := notes.Note{Mark: fmt.Sprintf("<!-- gitlab-codedeploy: changes in %s -->", w.o.environment), Text: text, Whole: name + " among the artifacts of the job"}
	id, isNew, err := w.project.Write(ctx, number, note)
	switch {
	case err != nil:
		return fmt.Errorf("its note cannot be written: %w", err)
	case isNew:
		w.p.log("merge request %d has a new note, %d, with the changes in %s", number, id, w.o.environment)
	default:
		w.p.log("note %d of merge request %d shows the changes in %s", id, number, w.o.environment)
	}
	return nil
}

// compare fetches the templates that a job has made, and compares them with the deployed ones.
func (w noteWriter) compare(ctx context.Context, job int, work string) (string, error) {
	assembly := cdk.Assembly(filepath.Join(work, "assembly"))
	if err := os.Mkdir(string(assembly), 0o700); err != nil {
		return "", err
	}
	files := []string{assembly.Manifest()}
	for _, side := range w.sides {
		files = append(files, assembly.Template(stackName(side, w.o.environment)))
	}
	for _, file := range files {
		text, err := w.project.File(ctx, job, w.folder+"/"+filepath.Base(file))
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	o := w.o
	o.assembly, o.dryRun = string(assembly), false
	return w.p.note(ctx, o, w.sides, work, &steps.Steps{Log: w.p.log, Now: w.p.now})
}
