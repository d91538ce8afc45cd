package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/upload"
)

// options are a command line and the variables that stand in for its flags.
type options struct {
	upload.Request
	source   string
	excludes []string
	strict   bool
	dryRun   bool
	waiting
}

// waiting are the options of a wait.
type waiting struct {
	wait    bool
	until   string
	seconds string // of --timeout; "" leaves it to the group's settings

	timeout time.Duration
	pause   time.Duration
}

func (o *options) addDestination(flags *pflag.FlagSet) {
	flags.StringVar(&o.Bucket, "bucket", "", "artifact `bucket` (ARTIFACT_BUCKET)")
	flags.StringVar(&o.Application, "application", "", "`name` of the CodeDeploy application (APPLICATION_NAME)")
	flags.StringVar(&o.DeploymentGroup, "deployment-group", "", "`name` of its blue/green deployment group (DEPLOYMENT_GROUP_NAME)")
	flags.StringVar(&o.Key, "key", "", "object `key`; default artifacts/<application>/artifact.gz, for Amazon ECS and Lambda artifact.yaml or .json (ARTIFACT_KEY)")
}

func (o *options) addSource(flags *pflag.FlagSet) {
	flags.StringVar(&o.source, "source", "", "`folder` to pack; default . (DEPLOY_SOURCE)")
	flags.StringArrayVar(&o.excludes, "exclude", nil, "`pattern` of what is left out, as tar takes it, besides .git; repeatable")
	flags.BoolVar(&o.strict, "strict", false, "take warnings about the AppSpec file for errors")
}

func (w *waiting) addWait(flags *pflag.FlagSet) {
	flags.BoolVar(&w.wait, "wait", false, "wait for the deployment's end and tell its states on stderr (DEPLOY_WAIT=true)")
	flags.StringVar(&w.until, "until", "", "`what` ends the wait well: end, or traffic for when the new instances have the traffic; default end (DEPLOY_UNTIL)")
	flags.StringVar(&w.seconds, "timeout", "", "`seconds` to wait; default 3600, and what the deployment group itself waits for by its settings (DEPLOY_TIMEOUT)")
}

// complete takes from variables what no flag gave, and checks all of it.
// required says whether it has to be known where the artifact goes.
func (o *options) complete(p program, command *cobra.Command, required bool) error {
	if err := givenValues(command); err != nil {
		return err
	}
	o.Bucket = cmp.Or(o.Bucket, p.getenv("ARTIFACT_BUCKET"))
	o.Application = cmp.Or(o.Application, p.getenv("APPLICATION_NAME"))
	o.DeploymentGroup = cmp.Or(o.DeploymentGroup, p.getenv("DEPLOYMENT_GROUP_NAME"))
	o.Key = cmp.Or(o.Key, p.getenv("ARTIFACT_KEY"))
	o.Prefix = cmp.Or(p.getenv("ARTIFACT_PREFIX"), "artifacts/")
	o.source = cmp.Or(o.source, p.getenv("DEPLOY_SOURCE"), ".")
	request := o.Request
	for _, needed := range []struct {
		value        *string
		standIn      string
		option, name string
	}{
		{&request.Bucket, "any", "--bucket", "ARTIFACT_BUCKET"},
		{&request.Application, "any", "--application", "APPLICATION_NAME"},
		{&request.DeploymentGroup, "any", "--deployment-group", "DEPLOYMENT_GROUP_NAME"},
	} {
		if *needed.value != "" {
			continue
		}
		if required {
			return usageError{fmt.Errorf("%s or %s is required", needed.option, needed.name)}
		}
		*needed.value = needed.standIn
	}
	if err := request.Check(); err != nil {
		return usageError{err}
	}
	return o.waiting.complete(p)
}

// givenValues refuses a flag that was given as empty: it would seem not to be there.
func givenValues(command *cobra.Command) (err error) {
	command.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" {
			err = usageError{fmt.Errorf("--%s needs a value", f.Name)}
		}
	})
	return err
}

var (
	secondsPattern = regexp.MustCompile(`^[1-9][0-9]{0,5}$`)
	pausePattern   = regexp.MustCompile(`^[0-9]{1,2}(\.[0-9]{1,3})?$`)
)

func (w *waiting) complete(p program) error {
	switch asked := p.getenv("DEPLOY_WAIT"); asked {
	case "", "false":
	case "true":
		w.wait = true
	default:
		return usageError{fmt.Errorf("DEPLOY_WAIT: got '%s', want true or false", plain.Line(asked, 100))}
	}
	if w.until = cmp.Or(w.until, p.getenv("DEPLOY_UNTIL"), "end"); w.until != "end" && w.until != "traffic" {
		return usageError{fmt.Errorf("until: got '%s', want end or traffic", plain.Line(w.until, 100))}
	}
	if w.seconds = cmp.Or(w.seconds, p.getenv("DEPLOY_TIMEOUT")); w.seconds != "" {
		if !secondsPattern.MatchString(w.seconds) {
			return usageError{fmt.Errorf("timeout: got '%s', want 1 to 999999 seconds", plain.Line(w.seconds, 100))}
		}
		w.timeout = seconds(w.seconds)
	}
	if text := p.getenv("DEPLOY_POLL_SECONDS"); text != "" {
		if w.pause = seconds(text); !pausePattern.MatchString(text) || w.pause < time.Millisecond || w.pause > time.Minute {
			return usageError{fmt.Errorf("DEPLOY_POLL_SECONDS: got '%s', want 0.001 to 60 seconds", plain.Line(text, 100))}
		}
	}
	return nil
}

// seconds reads a decimal number of them; what is none is zero.
func seconds(text string) time.Duration {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0 && n < 1e9) {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// origin is what GitLab says of the job.
func (p program) origin() upload.Origin {
	return upload.Origin{
		CommitSHA: p.getenv("CI_COMMIT_SHA"), PipelineURL: p.getenv("CI_PIPELINE_URL"),
		PipelineID: p.getenv("CI_PIPELINE_ID"), JobID: p.getenv("CI_JOB_ID"),
	}
}
