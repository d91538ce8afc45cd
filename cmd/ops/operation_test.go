package main

import (
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// operating is a session with GitLab's hosts behind Systems Manager.
type operating struct {
	*session
	*remotetest.Systems
	questions []string // that were asked, without the account
}

func newOperating(t *testing.T) *operating {
	t.Helper()
	h := &operating{session: newSession(t)}
	h.Systems = remotetest.Play(t, h.cloud)
	return h
}

// answers lets somebody at the terminal answer the questions, one after the other.
func (h *operating) answers(answers ...string) {
	h.answer = func() string {
		h.asked++
		text := h.err.String()
		h.questions = append(h.questions, text[strings.LastIndex(text, "ap-northeast-1: ")+len("ap-northeast-1: "):])
		if h.asked > len(answers) {
			return ""
		}
		return answers[h.asked-1]
	}
}

// does lets an operation say a line and end with a result.
func (h *operating) does(operation, says, result string) {
	h.On(operation, func(map[string]string) remotetest.Operation {
		return remotetest.Operation{Log: remotetest.Says(says), Takes: time.Minute, Result: result}
	})
}

func (h *operating) sent() []string { return remotetest.Sent(h.cloud) }

func (h *operating) parameters(operation string) map[string]string {
	values := remotetest.Parameters(h.cloud, operation)
	delete(values, "RunId")
	return values
}

const runID = "20261124T185436-0a1b2c3d"

func TestS8_WrongUseEndsWithTwoAndAsksNothing(t *testing.T) {
	for args, want := range map[string]string{
		"backup":                                                        "--env is required",
		"backup --env staging --word":                                   "unknown flag: --word",
		"backup --env staging now":                                      `unknown command "now"`,
		"backup --env":                                                  "flag needs an argument: --env",
		"backup --env staging --timeout 1h":                             `want seconds, from 1 to 999999`,
		"backup --env staging --timeout 0":                              `got "0", want seconds`,
		"backup --env staging --timeout 1000000":                        `got "1000000", want seconds`,
		"backup --env staging --follow yesterday":                       `--follow: want the id of a run such as 20261124T185436-0a1b2c3d, or nothing for the newest, got "yesterday"`,
		"backup --env staging --follow=yesterday":                       `--follow: want the id of a run`,
		"backup --env staging --follow=":                                `--follow: want the id of a run`,
		"backup --env staging --follow " + runID + " x":                 `unknown command`,
		"backup --env staging " + runID:                                 `unknown command`,
		"restore --env staging --yes":                                   "--backup: want the id of a backup",
		"upgrade --env staging --yes --to 15.4":                         `--to: got "15.4", want an exact version such as 15.4.6`,
		"upgrade --env staging --yes --to $(id)":                        `--to: got "$(id)"`,
		"upgrade --env staging --yes --from x":                          `--from: got "x"`,
		"upgrade --env staging --yes --backup-each-hop maybe":           `--backup-each-hop: got "maybe", want yes or no`,
		"upgrade --env staging --yes --to":                              "flag needs an argument: --to",
		"upgrade --env staging --plan --preflight":                      "got --plan and --preflight, want one of them",
		"upgrade-runner --env staging --yes":                            "--version is required",
		"upgrade-runner --env staging --yes --version 15.4;id":          `--version: got "15.4;id", want a version such as 15.4.2 or 15.4`,
		"upgrade-runner --env staging --version 15.4 --jobs-timeout 1h": `want seconds, got "1h"`,
	} {
		t.Run(args, func(t *testing.T) {
			h := newOperating(t)
			err := h.run(t, strings.Fields(args)...)
			require.ErrorContains(t, err, want)
			assert.Equal(t, 2, exitStatus(err))
			assert.Empty(t, h.cloud.Calls())
			assert.Empty(t, h.out.String())
		})
	}
}

func TestS8_AnotherAccountOrProfileIsRefused(t *testing.T) {
	h := newOperating(t)
	h.cloud.PlayAccount(deployAccount, nil)
	err := h.run(t, "backup", "--env", "staging", "--profile", "account-a")
	require.ErrorContains(t, err, "the credentials are of account 222222222222, but GitLab-staging belongs to account 111111111111 (gitlab.account in config/staging.yaml)")
	assert.Equal(t, 2, exitStatus(err))
	assert.Empty(t, h.sent())
}

func TestS8_WithoutAProfileTheSDKFindsTheCredentials(t *testing.T) {
	h := newOperating(t)
	var profiles []string
	open := h.open
	h.open = func(ctx context.Context, region, profile string) (aws.Config, error) {
		profiles = append(profiles, profile)
		return open(ctx, region, profile)
	}
	h.does("backup", "begun", "{}\n")
	require.NoError(t, h.run(t, "backup", "--env", "staging"))
	require.NoError(t, h.run(t, "backup", "--env", "staging", "--profile", "a"))
	assert.Equal(t, []string{"", "a"}, profiles)
}

// All three forms of --follow, beside other flags, follow and start nothing.
func TestS8_FollowStartsNothing(t *testing.T) {
	for _, form := range []string{"", "ID", "=ID", "ID --timeout 500", " --timeout 500"} {
		t.Run("--follow "+form, func(t *testing.T) {
			h := newOperating(t)
			h.terminal = false // nothing is asked
			h.does("restore", "restoring", "secrets\tok\n")
			synctest.Test(t, func(t *testing.T) {
				require.NoError(t, h.execute(t.Context(), "restore --env staging --yes --backup 1606734000_2020_11_30_13.10.2"))
				h.out.Reset()
				args := "restore --env staging --follow" + strings.Replace(strings.Replace(" "+form, " =", "=", 1), "ID", h.Runs()[0], 1)
				require.NoError(t, h.execute(t.Context(), args))
			})
			assert.Equal(t, "secrets\tok\n", h.out.String())
			assert.Equal(t, []string{"restore"}, h.sent())
		})
	}
}

// execute runs the program in the test's own time.
func (h *operating) execute(ctx context.Context, args string) error {
	root := h.command()
	root.SetArgs(strings.Fields(args))
	return root.ExecuteContext(ctx)
}

func TestS8_TheStatusOfACommandIsThatOfItsOperation(t *testing.T) {
	for name, tt := range map[string]struct {
		operation remotetest.Operation
		args      []string
		status    int
		out       string
		message   string
	}{
		"done":                      {operation: remotetest.Operation{Result: "{}\n"}, out: "{}\n"},
		"failed":                    {operation: remotetest.Operation{Result: "partial\n", Status: 1}, status: 1, out: "partial\n"},
		"any":                       {operation: remotetest.Operation{Status: 7}, status: 7},
		"killed":                    {operation: remotetest.Operation{Killed: true, Result: "x"}, status: 1, message: "ended without a status"},
		"refused":                   {operation: remotetest.Operation{Refuses: "run this as root"}, status: 1, message: "error: backup was not started on the server: its document ended with 1"},
		"timed out":                 {operation: remotetest.Operation{Takes: time.Hour}, args: []string{"--timeout", "60"}, status: 3, message: "not finished after 60 s (--timeout); run "},
		"a result for the terminal": {operation: remotetest.Operation{Result: "\x1b]0;owned\x07\x1b[2J復元\tok\u009b1m\n"}, out: "復元\tok\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newOperating(t)
			h.On("backup", func(map[string]string) remotetest.Operation { return tt.operation })
			err := h.run(t, append([]string{"backup", "--env", "staging"}, tt.args...)...)
			assert.Equal(t, tt.status, exitStatus(err))
			assert.Equal(t, tt.out, h.out.String(), "stdout is the result alone")
			if text := message(t.Context(), err); tt.message == "" {
				assert.Empty(t, text)
			} else {
				assert.Contains(t, text, tt.message)
			}
		})
	}
}

func TestS8_AnInterruptSaysHowToGoOn(t *testing.T) {
	h := newOperating(t)
	h.On("backup", func(map[string]string) remotetest.Operation { return remotetest.Operation{Takes: time.Hour} })
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, interrupt)
		err := h.execute(ctx, "backup --env staging --profile account-a")
		assert.Regexp(t, `^interrupted: run (\S+) goes on, to follow it: scripts/ops backup --env staging --profile account-a --follow (\S+)$`, message(ctx, err))
		assert.Contains(t, message(ctx, err), h.Runs()[0])
		assert.Equal(t, 1, exitStatus(err))
	})
}

// Somebody who is asked can leave, too.
func TestS8_AQuestionIsInterrupted(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer write.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	assert.Empty(t, readLine(ctx, read))
	_, err = io.WriteString(write, " y \n")
	require.NoError(t, err)
	assert.Equal(t, "y", readLine(t.Context(), strings.NewReader(" y \nn\n")))
}

func TestS8_BackupIsMadeFromTheLaptop(t *testing.T) {
	h := newOperating(t)
	h.terminal = false // it asks nothing
	h.does("backup", "1606734000_2020_11_30_13.10.2 is complete: 3 parts", `{"backup":"1606734000_2020_11_30_13.10.2"}`+"\n")
	require.NoError(t, h.run(t, "backup", "--env", "staging"))
	assert.Equal(t, `{"backup":"1606734000_2020_11_30_13.10.2"}`+"\n", h.out.String())
	assert.Contains(t, h.err.String(), "1606734000_2020_11_30_13.10.2 is complete: ")
	assert.Contains(t, h.err.String(), "starting backup on the server (i-0123456789abcdef0) of account 111111111111, ap-northeast-1: run ")
	assert.Equal(t, map[string]string{"KeepDays": "0"}, h.parameters("backup"))
}

func TestS10_Restore(t *testing.T) {
	const id = "1606734000_2020_11_30_13.10.2"
	question := "restore " + id + " onto i-0123456789abcdef0, the GitLab at https://gitlab.example.com? Its database, repositories, uploads and secrets are overwritten, and sign-up is switched off."
	t.Run("S10 restore | nobody can be asked, and --yes is missing | nothing is sent; the question names host, address and loss", func(t *testing.T) {
		h := newOperating(t)
		h.terminal = false
		err := h.run(t, "restore", "--env", "staging", "--backup", id)
		require.EqualError(t, err, "there is no terminal to ask on: pass --yes to go on without the question: "+question)
		assert.Equal(t, 2, exitStatus(err))
		assert.Empty(t, h.sent())
	})
	t.Run("S10 restore | the id of a backup has shell characters | refused before anything is asked of AWS, and by the document", func(t *testing.T) {
		for _, id := range []string{"", "x", "$(id)", id + "';id;'", "../" + id, id + "\nid", id + "-ee\n"} {
			h := newOperating(t)
			err := h.run(t, "restore", "--env", "staging", "--yes", "--backup", id)
			require.ErrorContains(t, err, "--backup: want the id of a backup", "%q", id)
			assert.Equal(t, 2, exitStatus(err))
			assert.Empty(t, h.cloud.Calls())
		}
		h := newOperating(t)
		_, err := ssm.NewFromConfig(h.cloud.Config("ap-northeast-1")).SendCommand(t.Context(), &ssm.SendCommandInput{
			DocumentName: aws.String("gitlab-codedeploy-staging-restore"), InstanceIds: []string{remotetest.Server}, TimeoutSeconds: aws.Int32(60),
			Parameters: map[string][]string{"RunId": {runID}, "Backup": {"x; id"}},
		})
		require.ErrorContains(t, err, "InvalidParameters: parameter Backup does not match")
	})
	t.Run("S10 restore | the backup is not there | the script's own status and reason reach the laptop", func(t *testing.T) {
		h := newOperating(t)
		h.On("restore", func(map[string]string) remotetest.Operation {
			return remotetest.Operation{Log: remotetest.Says("error: " + id + " has no manifest in s3://gitlab-staging-backups"), Status: 1}
		})
		err := h.run(t, "restore", "--env", "staging", "--yes", "--backup", id)
		assert.Equal(t, 1, exitStatus(err))
		assert.Contains(t, h.err.String(), "error: "+id+" has no manifest in s3://gitlab-staging-backups\n")
	})
	t.Run("S10 restore | the answer to the question is no | nothing is sent", func(t *testing.T) {
		h := newOperating(t)
		h.answers("n")
		err := h.run(t, "restore", "--env", "staging", "--backup", id)
		require.EqualError(t, err, "not confirmed; nothing was done")
		assert.Equal(t, 1, exitStatus(err))
		assert.Empty(t, h.sent())
		assert.Contains(t, h.err.String(), "Account 111111111111, ap-northeast-1: "+question+" [y/N] ")
	})
	t.Run("S10 restore | repositories are to be given up | the question says how many, and the number is sent", func(t *testing.T) {
		h := newOperating(t)
		h.answers("y")
		h.does("restore", "restoring", "repositories\tlook\n")
		require.NoError(t, h.run(t, "restore", "--env", "staging", "--backup", id, "--accept-lost", "2", "--keep-sign-up"))
		assert.Contains(t, h.err.String(), "secrets are overwritten, 2 repositories are given up. [y/N] ")
		assert.Equal(t, map[string]string{"Backup": id, "AcceptLost": "2", "KeepSignUp": "yes"}, h.parameters("restore"))
		err := newOperating(t).run(t, "restore", "--env", "staging", "--backup", id, "--accept-lost", "-1")
		require.ErrorContains(t, err, "--accept-lost: want a number of repositories")
		assert.Equal(t, 2, exitStatus(err))
	})
	t.Run("a yes restores it, and what was looked at is the result", func(t *testing.T) {
		h := newOperating(t)
		h.answers("y")
		h.does("restore", "restoring", "secrets\tok\tall that is encrypted can be read\n")
		require.NoError(t, h.run(t, "restore", "--env", "staging", "--backup", id+"-ee"))
		assert.Equal(t, "secrets\tok\tall that is encrypted can be read\n", h.out.String())
		assert.Equal(t, map[string]string{"Backup": id + "-ee", "AcceptLost": "0", "KeepSignUp": "no"}, h.parameters("restore"))
		assert.Equal(t, 1, h.asked)
	})
}

// A dry run shows every document that would be sent, in order, and sends none.
func TestS8_ADryRunPrintsWhatWouldBeSent(t *testing.T) {
	for args, want := range map[string]string{
		"backup": "backup",
		"restore --backup 1606734000_2020_11_30_13.10.2": "restore",
		"restore --follow":            "follow",
		"reset-tokens --lost-secrets": "reset-tokens reset-tokens",
		"reset-tokens --check":        "reset-tokens",
		"configure":                   "configure configure",
		"reindex":                     "reindex reindex",
		"reindex --check":             "reindex",
		"register-runner":             "register-runner runner-token register-runner runner-token",
		"unregister-runner":           "unregister-runner",
		"upgrade --to 15.0.5 --fix-known-jobs --backup-each-hop no": "upgrade",
		"upgrade --plan":                "upgrade",
		"upgrade-runner --version 15.4": "upgrade-runner",
	} {
		t.Run(args, func(t *testing.T) {
			h := newOperating(t)
			h.terminal = false
			err := h.run(t, append(strings.Fields(args), "--env", "staging", "--dry-run")...)
			assert.Equal(t, 0, exitStatus(err))
			assert.Equal(t, "dry run: nothing was changed", message(t.Context(), err))
			var shown []string
			for _, match := range regexp.MustCompile(`(?m)^ssm:SendCommand .*"DocumentName":"gitlab-codedeploy-staging-([a-z-]+)"`).FindAllStringSubmatch(h.out.String(), -1) {
				shown = append(shown, match[1])
			}
			assert.Equal(t, want, strings.Join(shown, " "), h.out.String())
			assert.Equal(t, []string{"sts:GetCallerIdentity", "cloudformation:DescribeStacks"}, h.cloud.Names())
		})
	}
	h := newOperating(t)
	_ = h.run(t, "upgrade", "--env", "staging", "--dry-run", "--to", "15.0.5", "--fix-known-jobs", "--backup-each-hop", "no")
	for _, word := range []string{`"Mode":["run"]`, `"To":["15.0.5"]`, `"FixKnownJobs":["yes"]`, `"BackupEachHop":["no"]`} {
		assert.Contains(t, h.out.String(), word)
	}
}

func TestS8_WithoutATerminalWhatAsksWantsYes(t *testing.T) {
	for _, args := range []string{"reset-tokens --lost-secrets", "configure", "reindex", "unregister-runner", "upgrade", "upgrade-runner --version 15.4"} {
		t.Run(args, func(t *testing.T) {
			h := newOperating(t)
			h.terminal = false
			err := h.run(t, append(strings.Fields(args), "--env", "staging")...)
			require.ErrorContains(t, err, "there is no terminal to ask on: pass --yes")
			assert.Equal(t, 2, exitStatus(err))
			assert.Empty(t, h.sent())
		})
	}
}

// What only looks needs nobody to be asked.
func TestS12_ChecksAskNothing(t *testing.T) {
	for args, parameters := range map[string]map[string]string{
		"reset-tokens --check --lost-secrets":  {"LostSecrets": "yes", "Check": "yes", "Yes": "no"},
		"reset-tokens --check --close-sign-up": {"LostSecrets": "no", "SignUp": "close", "Check": "yes", "Yes": "no"},
		"configure --check":                    {"Check": "yes", "Yes": "no"},
		"reindex --check":                      {"Check": "yes", "Yes": "no"},
	} {
		t.Run(args, func(t *testing.T) {
			h := newOperating(t)
			h.terminal = false
			operation := strings.Fields(args)[0]
			h.does(operation, "3  registration tokens", `{"state": "differs"}`+"\n")
			require.NoError(t, h.run(t, append(strings.Fields(args), "--env", "staging")...))
			assert.Equal(t, `{"state": "differs"}`+"\n", h.out.String())
			assert.Equal(t, []string{operation}, h.sent())
			assert.Equal(t, parameters, h.parameters(operation))
		})
	}
}

func TestS12_ResetTokensShowsAsksAndResets(t *testing.T) {
	h := newOperating(t)
	h.does("reset-tokens", "  3  registration tokens of projects (projects)", `{"reset": {"projects": {"before": 3, "after": 0}}}`+"\n")
	h.answers("y", "n")
	err := h.run(t, "reset-tokens", "--env", "staging", "--lost-secrets")
	require.EqualError(t, err, "not confirmed; nothing was done")
	assert.Equal(t, []string{"reset-tokens"}, h.sent())
	assert.Equal(t, map[string]string{"LostSecrets": "yes", "Check": "yes", "Yes": "no"}, h.parameters("reset-tokens"))
	require.Len(t, h.questions, 2, "lost secrets are asked for twice")
	assert.Contains(t, h.questions[0], "reset the tokens listed above in GitLab's database?")
	assert.Contains(t, h.questions[1], "is deleted for good")
	assert.Less(t, strings.Index(h.err.String(), "3  registration tokens of projects"), strings.Index(h.err.String(), "reset the tokens listed above"))
	assert.Empty(t, h.out.String())

	h = newOperating(t)
	h.does("reset-tokens", "  3  registration tokens of projects (projects)", `{"reset": {"projects": {"before": 3, "after": 0}}}`+"\n")
	h.answers("y")
	require.NoError(t, h.run(t, "reset-tokens", "--env", "staging"))
	assert.Equal(t, `{"reset": {"projects": {"before": 3, "after": 0}}}`+"\n", h.out.String(), "of the second run alone")
	assert.Equal(t, []string{"reset-tokens", "reset-tokens"}, h.sent())
	assert.Equal(t, map[string]string{"LostSecrets": "no", "Check": "no", "Yes": "yes"}, h.parameters("reset-tokens"))
	assert.Len(t, h.questions, 1)
}

func TestS8_ConfigureShowsTheDifferenceAsksAndApplies(t *testing.T) {
	h := newOperating(t)
	h.does("configure", "+external_url 'https://gitlab.example.com'", `{"settings": "/etc/gitlab/gitlab-codedeploy.rb", "state": "applied"}`+"\n")
	h.answers("y")
	require.NoError(t, h.run(t, "configure", "--env", "staging"))
	assert.Equal(t, `{"settings": "/etc/gitlab/gitlab-codedeploy.rb", "state": "applied"}`+"\n", h.out.String())
	assert.Equal(t, []string{"configure", "configure"}, h.sent())
	assert.Equal(t, map[string]string{"Check": "no", "Yes": "yes"}, h.parameters("configure"))
	assert.Contains(t, h.questions[0], "write the difference shown above, if any, and reconfigure GitLab?")
	assert.Less(t, strings.Index(h.err.String(), "+external_url"), strings.Index(h.err.String(), "write the difference"))
}

func TestS8_ReindexSaysWhatThereIsAsksAndRebuilds(t *testing.T) {
	h := newOperating(t)
	h.does("reindex", "3 indexes of 2 MiB are to be rebuilt", `{"glibc":"2.34","state":"rebuilt","indexes":3,"bytes":2097152}`+"\n")
	h.answers("y")
	require.NoError(t, h.run(t, "reindex", "--env", "staging"))
	assert.JSONEq(t, `{"glibc":"2.34","state":"rebuilt","indexes":3,"bytes":2097152}`, h.out.String())
	assert.Equal(t, []string{"reindex", "reindex"}, h.sent())
	assert.Equal(t, map[string]string{"Check": "no", "Yes": "yes"}, h.parameters("reindex"))
	assert.Contains(t, h.questions[0], "rebuild what is listed above, if anything is? GitLab is away meanwhile.")
	assert.Less(t, strings.Index(h.err.String(), "are to be rebuilt"), strings.Index(h.err.String(), "rebuild what is listed"))
}

// What cannot be looked at is not asked about.
func TestS8_ConfigureEndsWhenTheDifferenceCannotBeShown(t *testing.T) {
	h := newOperating(t)
	h.On("configure", func(map[string]string) remotetest.Operation {
		return remotetest.Operation{Log: remotetest.Says("error: another operation is under way"), Status: 1}
	})
	err := h.run(t, "configure", "--env", "staging")
	assert.Equal(t, 1, exitStatus(err))
	assert.Zero(t, h.asked)
	assert.Equal(t, []string{"configure"}, h.sent())
}

func TestS8_TheUpgradeIsAskedForAndStarted(t *testing.T) {
	h := newOperating(t)
	h.answers("y")
	h.does("upgrade", "GitLab 14.9.5, on the way to 15.4.6", `{"from":"14.9.5","to":"15.4.6","edition":"ce"}`+"\n")
	require.NoError(t, h.run(t, "upgrade", "--env", "staging"))
	assert.Equal(t, []string{"upgrade GitLab of staging to the first version without a known hole (18.11.13 from any before it), with a backup before each hop? Users are locked out during each hop. [y/N] "}, h.questions)
	assert.Equal(t, map[string]string{
		"Mode": "run", "From": "", "To": "", "BackupEachHop": "yes", "FixKnownJobs": "no",
	}, h.parameters("upgrade"))
	for _, mode := range []string{"plan", "preflight"} { // they change nothing
		h := newOperating(t)
		h.terminal = false
		h.does("upgrade", "looking", "{}\n")
		require.NoError(t, h.run(t, "upgrade", "--env", "staging", "--"+mode))
		assert.Equal(t, mode, h.parameters("upgrade")["Mode"])
	}
}

func TestS8_UpgradeIsRefused(t *testing.T) {
	t.Run("S8 upgrade | nobody says yes, or an option is wrong | exit 2, and nothing is sent", func(t *testing.T) {
		h := newOperating(t)
		h.terminal = false
		err := h.run(t, "upgrade", "--env", "staging", "--backup-each-hop", "no")
		require.ErrorContains(t, err, "pass --yes to go on without the question: upgrade GitLab of staging to the first version without a known hole (18.11.13 from any before it), WITHOUT BACKUPS, so that there is no way back?")
		assert.Equal(t, 2, exitStatus(err))
		for _, wrong := range []string{"--to=15.4", "--to=$(id)", "--from=x", "--backup-each-hop=maybe", "--to", "--what"} {
			err := h.run(t, "upgrade", "--env", "staging", "--yes", wrong)
			assert.Equal(t, 2, exitStatus(err), wrong)
		}
		assert.Empty(t, h.sent())
	})
}

// The plan of known versions needs no server, and no environment.
func TestS8_APlanIsMadeAnywhere(t *testing.T) {
	for args, want := range map[string]string{
		"--from 13.10.2 --to 15.4.6":     "13.12.15 14.0.12 14.3.6 14.9.5 14.10.5 15.0.5 15.4.6",
		"--from 17.11.7":                 "18.2.8 18.5.7 18.8.11 18.11.13",
		"--from 14.4.0 --to 15.11.13":    "14.9.5 14.10.5 15.0.5 15.4.6 15.11.13",
		"--from 18.11.13 --env no-where": "",
	} {
		h := newOperating(t)
		require.NoError(t, h.run(t, append([]string{"upgrade", "--plan"}, strings.Fields(args)...)...))
		lines := strings.Split(strings.TrimSpace(h.out.String()), "\n")
		assert.Equal(t, "version\tpatch\tpackages\tpostgresql\treason\trisks", lines[0])
		var versions []string
		for _, line := range lines[1:] {
			fields := strings.Split(line, "\t")
			assert.Len(t, fields, 6)
			versions = append(versions, fields[0])
		}
		assert.Equal(t, want, strings.Join(versions, " "), args)
		assert.Empty(t, h.cloud.Calls())
	}
	for args, want := range map[string]struct {
		status int
		text   string
	}{
		"--from 12.10.0":             {1, "GitLab 12.10.0 is older than 13.8, where this path begins"},
		"--from 16.0.0 --to 15.4.6":  {1, "GitLab 16.0.0 is newer than 15.4.6: there is no way back but a restore"},
		"--from 13.10.2 --to 14.6.2": {2, "--to: no stop: got 14.6.2; the stops are 13.12.15 14.0.12"},
		"--from 13.10.2 --to 14.6":   {2, "want an exact version"},
		"":                           {2, "--env is required"},
	} {
		h := newOperating(t)
		err := h.run(t, append([]string{"upgrade", "--plan"}, strings.Fields(args)...)...)
		require.ErrorContains(t, err, want.text, args)
		assert.Equal(t, want.status, exitStatus(err), args)
	}
}

func TestS8_TheRunnerIsBroughtToAVersion(t *testing.T) {
	h := newOperating(t)
	h.answers("y")
	h.does("upgrade-runner", "waiting for 1 job", `{"from":"13.10.0","to":"15.4.2"}`+"\n")
	require.NoError(t, h.run(t, "upgrade-runner", "--env", "staging", "--version", "15.4", "--jobs-timeout", "60"))
	assert.Equal(t, map[string]string{"Version": "15.4", "JobsTimeout": "60"}, h.parameters("upgrade-runner"))
	assert.Equal(t, []string{"bring the runner of staging to 15.4, when its jobs have ended? [y/N] "}, h.questions)
	assert.Equal(t, `{"from":"13.10.0","to":"15.4.2"}`+"\n", h.out.String())
	assert.Equal(t, []string{remotetest.Runner}, awstest.Inputs[ssm.SendCommandInput](h.cloud)[0].InstanceIds)
}
