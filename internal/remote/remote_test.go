package remote_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/remote"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// test is an operator's laptop and a server on which the operation "backup" does what a test wants.
type test struct {
	*remotetest.Systems
	cloud *awstest.Cloud
	host  remote.Host
	log   strings.Builder // of the operation
	said  []string        // between us and the host
	begun int             // how often the operation was begun
}

var backup = remote.Operation{Name: "backup", Command: "backup", Parameters: map[string]string{
	"KeepDays": "0",
}}

// in runs body in a bubble of time, with a backup that does o.
func in(t *testing.T, o remotetest.Operation, body func(*testing.T, *test)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cloud := awstest.New(t)
		c := &test{cloud: cloud, Systems: remotetest.Play(t, cloud)}
		c.On("backup", func(map[string]string) remotetest.Operation { c.begun++; return o })
		c.host = remote.Host{
			Commands: ssm.NewFromConfig(cloud.Config("ap-northeast-1")), Kind: "server", Instance: remotetest.Server, Environment: "staging",
			Flags: "--env staging --profile account-a", Place: "account 111111111111, ap-northeast-1",
			Log: &c.log, Say: func(line string) { c.said = append(c.said, line) },
		}
		body(t, c)
	})
}

// run starts the operation and follows it to its end.
func (c *test) run(ctx context.Context) (remote.Ended, error) {
	run, err := c.host.Start(ctx, backup)
	if err != nil {
		return remote.Ended{}, err
	}
	return c.host.Follow(ctx, backup, run)
}

// steps are a log of n steps, a pause between them, and an end after the last.
func steps(n int, pause time.Duration) remotetest.Operation {
	o := remotetest.Operation{Result: "result\n", Takes: time.Duration(n) * pause}
	for i := range n {
		o.Log = append(o.Log, remotetest.Line{After: time.Duration(i) * pause, Text: fmt.Sprintf("step %d\n", i+1)})
	}
	return o
}

func TestS8_AnOperationIsFollowedLiveAndEndsWithItsOwnStatus(t *testing.T) {
	o := steps(2, 20*time.Minute)
	o.Result, o.Status = "{\"a\": [1, 2]}\n", 7
	in(t, o, func(t *testing.T, c *test) {
		time.AfterFunc(time.Minute, func() { assert.Equal(t, "step 1\n", c.log.String(), "as it comes") })
		ended, err := c.run(t.Context())
		require.NoError(t, err)
		assert.Equal(t, remote.Ended{Run: c.Runs()[0], Status: 7, Result: "{\"a\": [1, 2]}\n"}, ended)
		assert.Equal(t, "step 1\nstep 2\n", c.log.String())
		assert.Regexp(t, `^\d{8}T\d{6}-[0-9a-f]{8}$`, ended.Run)
		assert.Equal(t, []string{"starting backup on the server (" + remotetest.Server + ") of account 111111111111, ap-northeast-1: run " + ended.Run}, c.said)
		assert.Equal(t, []string{"backup"}, remotetest.Sent(c.cloud))
		want := map[string]string{"RunId": ended.Run}
		for name, value := range backup.Parameters {
			want[name] = value
		}
		assert.Equal(t, want, remotetest.Parameters(c.cloud, "backup"))
	})
}

func TestS8_RunsHaveIdsOfTheirOwn(t *testing.T) {
	in(t, steps(1, 0), func(t *testing.T, c *test) {
		first, err := c.host.Start(t.Context(), backup)
		require.NoError(t, err)
		second, err := c.host.Start(t.Context(), backup)
		require.NoError(t, err)
		assert.NotEqual(t, first, second)
		assert.True(t, remote.RunID.MatchString(first))
	})
}

func TestS8_MoreOutputThanSystemsManagerKeepsArrivesWhole(t *testing.T) {
	var log strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&log, "line %d of the log, which is long enough\n", i)
	}
	log.WriteString(strings.Repeat("長い行", 10000) + "\n")
	result := fmt.Sprintf("%030000d\n", 7)
	in(t, remotetest.Operation{Log: []remotetest.Line{{Text: log.String()}}, Result: result}, func(t *testing.T, c *test) {
		ended, err := c.run(t.Context())
		require.NoError(t, err)
		assert.Equal(t, result, ended.Result)
		assert.Equal(t, log.String(), c.log.String())
	})
}

func TestS8_TheNewestRunIsFollowedWithoutAnId(t *testing.T) {
	in(t, steps(1, time.Hour), func(t *testing.T, c *test) {
		_, err := c.host.Follow(t.Context(), backup, "")
		require.EqualError(t, err, "there is no run of backup on the server to follow")
		_, err = c.host.Start(t.Context(), backup)
		require.NoError(t, err)
		run, err := c.host.Start(t.Context(), backup)
		require.NoError(t, err)
		c.said = nil
		ended, err := c.host.Follow(t.Context(), backup, "")
		require.NoError(t, err)
		assert.Equal(t, run, ended.Run)
		require.Len(t, c.said, 1)
		assert.Regexp(t, `^following run `+run+`, started at 2000-01-01T00:00:0\dZ$`, c.said[0])
	})
}

func TestS8_AnyOperation(t *testing.T) {
	t.Run("S8 any operation | the laptop is cut off and its command killed | the operation goes on; --follow picks it up and ends with its status", func(t *testing.T) {
		o := steps(3, time.Minute)
		o.Status = 5
		in(t, o, func(t *testing.T, c *test) {
			run, err := c.host.Start(t.Context(), backup) // and nobody follows
			require.NoError(t, err)
			_, err = c.host.Follow(t.Context(), backup, "20200101T000000-00000000")
			require.EqualError(t, err, "there is no run 20200101T000000-00000000 on the server")
			time.Sleep(90 * time.Second)
			for range 2 { // while it is under way, and when all is over
				c.log.Reset()
				ended, err := c.host.Follow(t.Context(), backup, run)
				require.NoError(t, err)
				assert.Equal(t, remote.Ended{Run: run, Status: 5, Result: "result\n"}, ended)
				assert.Equal(t, "step 1\nstep 2\nstep 3\n", c.log.String())
			}
			assert.Equal(t, []string{"backup"}, remotetest.Sent(c.cloud))
		})
	})
	t.Run("S8 any operation | the command is interrupted | it says that the operation goes on and how to follow it", func(t *testing.T) {
		in(t, steps(2, time.Hour), func(t *testing.T, c *test) {
			ctx, interrupt := context.WithCancel(t.Context())
			time.AfterFunc(90*time.Second, interrupt)
			_, err := c.run(ctx)
			require.ErrorIs(t, err, context.Canceled)
			run := c.Runs()[0]
			assert.EqualError(t, err, "run "+run+" goes on, to follow it: scripts/ops backup --env staging --profile account-a --follow "+run)
			assert.Equal(t, "step 1\n", c.log.String())
			ended, err := c.host.Follow(t.Context(), backup, run)
			require.NoError(t, err)
			assert.Equal(t, "result\n", ended.Result)
		})
	})
	t.Run("S8 any operation | the command is interrupted before the start is answered | it says that it may go on", func(t *testing.T) {
		in(t, steps(2, time.Hour), func(t *testing.T, c *test) {
			ctx, interrupt := context.WithCancel(t.Context())
			time.AfterFunc(500*time.Millisecond, interrupt)
			_, err := c.run(ctx)
			require.ErrorIs(t, err, context.Canceled)
			run := c.Runs()[0]
			assert.EqualError(t, err, "run "+run+" may go on, to follow it: scripts/ops backup --env staging --profile account-a --follow "+run)
		})
	})
	t.Run("S8 any operation | the answer to its start is lost, four times over | it is sent again with the same id and runs once", func(t *testing.T) {
		in(t, steps(1, time.Minute), func(t *testing.T, c *test) {
			c.Fail("SendCommand", remotetest.Fault{LostAnswer: true}, remotetest.Fault{LostAnswer: true}, remotetest.Fault{LostAnswer: true}, remotetest.Fault{LostRequest: true})
			ended, err := c.run(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "result\n", ended.Result)
			assert.Equal(t, 1, c.begun)
			assert.Len(t, remotetest.Sent(c.cloud), 5)
			assert.Equal(t, []string{ended.Run}, c.Runs())
		})
	})
	t.Run("S8 any operation | its start meets throttling, expired credentials or the page of a proxy | it is sent again and runs once", func(t *testing.T) {
		for _, code := range []string{"ThrottlingException", "ExpiredTokenException", "RequestExpired", "InternalServerError", "UnknownError"} {
			in(t, steps(1, time.Minute), func(t *testing.T, c *test) {
				c.Fail("SendCommand", remotetest.Fault{Refused: code})
				_, err := c.run(t.Context())
				require.NoError(t, err, code)
				assert.Len(t, remotetest.Sent(c.cloud), 2, code)
				assert.Equal(t, 1, c.begun, code)
			})
		}
	})
	t.Run("S8 any operation | the answer to its start is lost five times | it says that it may have begun, and how to see", func(t *testing.T) {
		in(t, steps(1, time.Minute), func(t *testing.T, c *test) {
			c.Fail("SendCommand", remotetest.Fault{LostAnswer: true}, remotetest.Fault{LostAnswer: true}, remotetest.Fault{LostAnswer: true}, remotetest.Fault{LostAnswer: true}, remotetest.Fault{LostAnswer: true})
			_, err := c.run(t.Context())
			require.ErrorContains(t, err, "no answer to the start of backup: ")
			assert.ErrorContains(t, err, "run "+c.Runs()[0]+" may go on, to follow it: scripts/ops backup ")
			assert.Len(t, remotetest.Sent(c.cloud), 5)
		})
	})
	t.Run("S8 any operation | every document ends well and prints nothing, as on an emulator | it ends after three of them, and says so", func(t *testing.T) {
		in(t, steps(1, time.Hour), func(t *testing.T, c *test) {
			c.OnLook("follow", func(map[string]string) (int, string, string) { return 0, "", "" })
			began := time.Now()
			_, err := c.run(t.Context())
			run := c.Runs()[0]
			assert.EqualError(t, err, "the server took 3 documents and printed nothing: an emulator runs none; run "+run+" may go on, to follow it: scripts/ops backup --env staging --profile account-a --follow "+run)
			assert.Less(t, time.Since(began), time.Minute)
		})
	})
	t.Run("S8 any operation | empty answers once something was heard | it goes on following", func(t *testing.T) {
		in(t, steps(5, 10*time.Second), func(t *testing.T, c *test) {
			empty := remotetest.Fault{Replace: func(out *ssm.GetCommandInvocationOutput) {
				if out.Status == types.CommandInvocationStatusSuccess {
					out.StandardOutputContent = aws.String("")
				}
			}}
			time.AfterFunc(15*time.Second, func() {
				for range 12 {
					c.Fail("GetCommandInvocation", empty)
				}
			})
			_, err := c.run(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "step 1\nstep 2\nstep 3\nstep 4\nstep 5\n", c.log.String())
		})
	})
	t.Run("S8 any operation | no connection at all, throttling and rubbish while it is followed | it goes on following, and shows every line once", func(t *testing.T) {
		in(t, steps(5, 10*time.Second), func(t *testing.T, c *test) {
			rubbish := func(text string) remotetest.Fault {
				return remotetest.Fault{Replace: func(out *ssm.GetCommandInvocationOutput) {
					out.Status, out.ResponseCode, out.StandardOutputContent = types.CommandInvocationStatusSuccess, 0, &text
				}}
			}
			first := `{"run":"20000101T000000-00000000","operation":"backup","started":"","state":"running","exit":null,"log":7,"result":0,"more":false}`
			c.Fail("SendCommand", remotetest.Pass, remotetest.Fault{LostAnswer: true}, remotetest.Fault{Refused: "ThrottlingException"}, remotetest.Fault{Refused: "UnknownError"})
			c.Fail("GetCommandInvocation",
				remotetest.Pass, remotetest.Pass, // of the start
				remotetest.Fault{Refused: "ThrottlingException"}, remotetest.Fault{LostAnswer: true}, remotetest.Fault{Refused: "InternalServerError"}, // three in a row are one question's end
				remotetest.Fault{Refused: "ExpiredTokenException"}, remotetest.Pass, remotetest.Pass,
				remotetest.Pass, rubbish("<html>"), remotetest.Pass, rubbish(first+"\n| of another run\n"), remotetest.Pass, rubbish("{}\n"),
				remotetest.Pass, remotetest.Fault{Replace: func(out *ssm.GetCommandInvocationOutput) { out.Status, out.StatusDetails = "", nil }})
			ended, err := c.run(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "result\n", ended.Result)
			assert.Equal(t, "step 1\nstep 2\nstep 3\nstep 4\nstep 5\n", c.log.String())
			all := strings.Join(c.said, "\n")
			assert.Contains(t, all, "no news from the server: its answer makes no sense: the first line is not that of the hosts' program; the operation goes on, trying again")
			assert.Contains(t, all, "it is about run 20000101T000000-00000000")
			assert.Contains(t, all, "the server answers again")
		})
	})
	t.Run("S8 any operation | the network is away for longer than the patience | it says so, and that the operation goes on", func(t *testing.T) {
		in(t, steps(2, 2*time.Hour), func(t *testing.T, c *test) {
			time.AfterFunc(time.Minute, func() { c.Down(true) })
			began := time.Now()
			_, err := c.run(t.Context())
			run := c.Runs()[0]
			assert.InDelta(t, 60+900, time.Since(began).Seconds(), 15)
			require.EqualError(t, err, "nothing heard for 900 s; run "+run+" may go on, to follow it: scripts/ops backup --env staging --profile account-a --follow "+run)
			var said []string
			for _, line := range c.said {
				if strings.HasPrefix(line, "no news from the server: ") {
					said = append(said, line)
				}
			}
			require.NotEmpty(t, said)
			assert.LessOrEqual(t, len(said), 2, "what does not change is said once")
			assert.Contains(t, said[len(said)-1], "; the operation goes on, trying again")
			c.Down(false)
			_, err = c.host.Follow(t.Context(), backup, run)
			require.NoError(t, err)
		})
	})
	t.Run("S8 any operation | its unit is killed, or the host restarts | exit 1 and 'ended without a status'", func(t *testing.T) {
		o := steps(1, time.Minute)
		o.Killed = true
		in(t, o, func(t *testing.T, c *test) {
			ended, err := c.run(t.Context())
			require.EqualError(t, err, "run "+c.Runs()[0]+" of backup ended without a status: it was killed, or the host was restarted. It can be started again")
			assert.Empty(t, ended.Result)
			assert.Equal(t, "step 1\n", c.log.String())
		})
	})
	t.Run("S8 any operation | the agent is offline | nothing is started later, and scripts/ops check is named", func(t *testing.T) {
		in(t, steps(1, 0), func(t *testing.T, c *test) {
			c.Offline[remotetest.Server] = true
			_, err := c.run(t.Context())
			require.EqualError(t, err, "backup was not started: the agent on the instance did not take it within 60 s (Undeliverable). Why: scripts/ops check --env staging --profile account-a")
			delete(c.Hosts, remotetest.Server)
			_, err = c.run(t.Context())
			require.ErrorContains(t, err, "backup was not started: the instance is not online in Systems Manager. Why: scripts/ops check --env staging --profile account-a (")
			assert.Zero(t, c.begun)
			assert.Len(t, remotetest.Sent(c.cloud), 2, "neither is sent again")
		})
	})
	t.Run("S8 any operation | there is no such document, or the profile may not send it | it ends at once with AWS's words", func(t *testing.T) {
		in(t, steps(1, 0), func(t *testing.T, c *test) {
			_, err := c.host.Start(t.Context(), remote.Operation{Name: "dance"})
			require.ErrorContains(t, err, "dance was not started: there is no document gitlab-codedeploy-staging-dance: scripts/ops deploy makes it")
			c.Fail("SendCommand", remotetest.Fault{Refused: "AccessDeniedException"})
			_, err = c.run(t.Context())
			require.ErrorContains(t, err, "backup was not started: ")
			require.ErrorContains(t, err, "AccessDeniedException: played")
			assert.Zero(t, c.begun)
			// The follow document may not be sent.
			c.Fail("SendCommand", remotetest.Pass, remotetest.Fault{Refused: "AccessDeniedException"})
			_, err = c.run(t.Context())
			require.ErrorContains(t, err, "AccessDeniedException: played")
			require.ErrorContains(t, err, "run "+c.Runs()[0]+" may go on, to follow it: ")
		})
	})
	t.Run("S8 any operation | the profile may send a document and not look what became of it | it is not sent again, and AWS's words say why", func(t *testing.T) {
		in(t, steps(1, 0), func(t *testing.T, c *test) {
			c.Fail("GetCommandInvocation", remotetest.Fault{Refused: "AccessDeniedException"})
			_, err := c.run(t.Context())
			require.ErrorContains(t, err, "no answer to the start of backup: ")
			require.ErrorContains(t, err, "AccessDeniedException: played; run "+c.Runs()[0]+" may go on")
			assert.Len(t, remotetest.Sent(c.cloud), 1)
		})
	})
	t.Run("S8 any operation | a parameter that its document does not let through | refused, by us or by Systems Manager, and nothing runs", func(t *testing.T) {
		in(t, steps(1, 0), func(t *testing.T, c *test) {
			with := func(value string) error {
				o := backup
				o.Parameters = map[string]string{"KeepDays": value}
				_, err := c.host.Start(t.Context(), o)
				return err
			}
			require.ErrorContains(t, with("Upper"), "backup was not started: ")
			require.ErrorContains(t, with("Upper"), "InvalidParameters: parameter KeepDays does not match")
			assert.Len(t, remotetest.Sent(c.cloud), 2)
			for _, value := range []string{"a'; touch ran; '", "a$(id)", "a`id`", `a"b`, "a;b", "a\nb", "a{{ RunId }}", `a\`, "a\u202Eb", "a\x00"} {
				err := with(value)
				var bad remote.BadParameter
				require.ErrorAs(t, err, &bad, "%q", value)
				assert.ErrorContains(t, err, "KeepDays: got ")
				assert.ErrorContains(t, err, "want no quotes")
			}
			assert.Len(t, remotetest.Sent(c.cloud), 2, "nothing of it is sent")
			assert.Zero(t, c.begun)
		})
	})
	t.Run("S8 any operation | it does not end within the time-out | it says so, and that it may go on", func(t *testing.T) {
		in(t, steps(2, time.Hour), func(t *testing.T, c *test) {
			c.host.Timeout = 90 * time.Second
			began := time.Now()
			_, err := c.run(t.Context())
			require.ErrorIs(t, err, remote.ErrTimedOut)
			run := c.Runs()[0]
			assert.EqualError(t, err, "not finished after 90 s (--timeout); run "+run+" may go on, to follow it: scripts/ops backup --env staging --profile account-a --follow "+run)
			assert.InDelta(t, 92, time.Since(began).Seconds(), 3)
		})
	})
	t.Run("S8 any operation | its log has escape sequences and Japanese | the terminal is not touched, and the Japanese stays", func(t *testing.T) {
		o := remotetest.Operation{Log: []remotetest.Line{{Text: "\x1b]0;owned\x07\u009b2J\x1b[31mバックアップ\x1b[0m 10%\r20%\r\n"}}}
		in(t, o, func(t *testing.T, c *test) {
			_, err := c.run(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "バックアップ 10%\n20%\n", c.log.String())
		})
	})
}

func TestS8_ARefusalOfTheScriptItselfCarriesItsStatusAndItsWords(t *testing.T) {
	in(t, remotetest.Operation{Refuses: "\x1b[1merror: systemd-run could not start it"}, func(t *testing.T, c *test) {
		_, err := c.run(t.Context())
		var refused remote.Refused
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, 1, refused.Status)
		assert.EqualError(t, err, "backup was not started on the server: its document ended with 1")
		assert.Equal(t, "error: systemd-run could not start it\n", c.log.String())
	})
}

// How often Systems Manager is asked bounds both the laptop's processor and the account's rate.
// https://docs.aws.amazon.com/general/latest/gr/ssm.html
func TestS8_FollowingAsksSeldom(t *testing.T) {
	in(t, steps(1, time.Hour), func(t *testing.T, c *test) {
		_, err := c.run(t.Context())
		require.NoError(t, err)
		assert.Less(t, len(c.cloud.Calls()), 60*70, "calls an hour")
	})
}

func TestS15_AskTellsWhatADocumentPrints(t *testing.T) {
	type look struct {
		status         int
		stdout, stderr string
	}
	for name, tt := range map[string]struct {
		look   look
		faults []remotetest.Fault
		play   func(*test)
		want   string
		err    string
	}{
		"an answer":        {look: look{0, "keys 日本語\n", ""}, want: "keys 日本語\n"},
		"a lost one":       {look: look{0, "keys\n", ""}, faults: []remotetest.Fault{{LostAnswer: true}, {LostRequest: true}}, want: "keys\n"},
		"the script fails": {look: look{1, "", "first\n\x1b[31mGitLab shows no keys\x07\n"}, err: "gitlab-codedeploy-staging-keys on i-0123456789abcdef0 ended with 1: GitLab shows no keys"},
		"without a word":   {look: look{2, "", ""}, err: "ended with 2: it said nothing"},
		"nothing":          {look: look{0, "", ""}, err: "gitlab-codedeploy-staging-keys on i-0123456789abcdef0 printed nothing: an emulator takes documents and runs none"},
		"too much":         {look: look{0, strings.Repeat("a", 30000), ""}, err: "it printed more than Systems Manager tells"},
		"no answer": {play: func(c *test) {
			awstest.On(c.cloud, func(context.Context, *ssm.GetCommandInvocationInput) (*ssm.GetCommandInvocationOutput, error) {
				return &ssm.GetCommandInvocationOutput{Status: types.CommandInvocationStatusInProgress}, nil
			})
		}, err: "wait for gitlab-codedeploy-staging-keys on i-0123456789abcdef0: no answer"},
		"no command": {play: func(c *test) {
			awstest.On(c.cloud, func(context.Context, *ssm.SendCommandInput) (*ssm.SendCommandOutput, error) {
				return &ssm.SendCommandOutput{Command: &types.Command{CommandId: aws.String("c-1")}}, nil
			})
		}, err: "Systems Manager answered without a command"},
		"no right": {faults: []remotetest.Fault{{Refused: "AccessDeniedException"}}, err: "send gitlab-codedeploy-staging-keys to i-0123456789abcdef0: "},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, remotetest.Operation{}, func(t *testing.T, c *test) {
				c.OnLook("keys", func(map[string]string) (int, string, string) { return tt.look.status, tt.look.stdout, tt.look.stderr })
				c.Fail("SendCommand", tt.faults...)
				if tt.play != nil {
					tt.play(c)
				}
				got, err := c.host.Ask(t.Context(), "keys", nil)
				if tt.err != "" {
					require.ErrorContains(t, err, tt.err)
					assert.NotRegexp(t, regexp.MustCompile(`[\x00-\x1f\x7f]`), err.Error())
					return
				}
				require.NoError(t, err)
				assert.Equal(t, tt.want, got)
			})
		})
	}
}

// A part of a longer way cannot be followed by itself.
func TestS13_APartOfALongerWaySaysThatItCanBeStartedAgain(t *testing.T) {
	in(t, steps(1, time.Hour), func(t *testing.T, c *test) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, interrupt)
		o := backup
		o.Command = ""
		run, err := c.host.Start(ctx, o)
		require.NoError(t, err)
		_, err = c.host.Follow(ctx, o, run)
		require.EqualError(t, err, "run "+run+" goes on, what it is a part of can be started again")
		assert.True(t, errors.Is(err, context.Canceled))
	})
}
