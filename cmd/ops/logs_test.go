package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
)

// newLogs plays a function's log of two pages.
func newLogs(t *testing.T, pages ...[]string) *session {
	t.Helper()
	s := newDeploySession(t)
	s.cloud.PlayAccount(deployAccount, map[string]map[string]string{"Deploy-staging": deployOutputs("TriggerFunctionName", "trigger-fn", "StatusFunctionName", "status-fn")})
	awstest.On(s.cloud, func(_ context.Context, in *lambda.GetFunctionConfigurationInput) (*lambda.GetFunctionConfigurationOutput, error) {
		return &lambda.GetFunctionConfigurationOutput{LoggingConfig: &lambdatypes.LoggingConfig{LogGroup: aws.String("log-of-" + *in.FunctionName)}}, nil
	})
	awstest.On(s.cloud, func(_ context.Context, in *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
		n := len(aws.ToString(in.NextToken))
		out := &cloudwatchlogs.FilterLogEventsOutput{}
		if n < len(pages) {
			for _, line := range pages[n] {
				out.Events = append(out.Events, logtypes.FilteredLogEvent{Timestamp: aws.Int64(1764294123004), Message: aws.String(line)})
			}
		}
		if n+1 < len(pages) {
			out.NextToken = aws.String(strings.Repeat("x", n+1))
		}
		return out, nil
	})
	return s
}

// missing lets no log group exist.
func missing(s *session) {
	awstest.On(s.cloud, func(context.Context, *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
		return nil, &logtypes.ResourceNotFoundException{Message: aws.String("The specified log group does not exist.")}
	})
}

func TestLogs(t *testing.T) {
	t.Run("S15 logs | a line has escape sequences | each is one line, and reaches no terminal as a command", func(t *testing.T) {
		s := newLogs(t, []string{"{\"msg\":\"a\"}\n"}, []string{"b\x1b[2Jc\nd 失敗"})
		require.NoError(t, s.run(t, "logs", "trigger", "--env", "staging"))
		assert.Equal(t, "2025-11-28T01:42:03.004Z {\"msg\":\"a\"}\n2025-11-28T01:42:03.004Z bc d 失敗\n", s.out.String())
		require.NoError(t, s.run(t, "logs", "status", "--env", "staging", "--since", "30m", "--upload", "order.0a"))
		asked := awstest.Inputs[cloudwatchlogs.FilterLogEventsInput](s.cloud)
		last := asked[len(asked)-1]
		assert.Equal(t, "log-of-status-fn", *last.LogGroupName)
		assert.Equal(t, `{ $.uploadId = "order.0a" }`, *last.FilterPattern)
		assert.Equal(t, 30*time.Minute, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Sub(time.UnixMilli(*last.StartTime)), "the clock of a test")
	})
	t.Run("S15 logs | there is nothing, or too much | JSON is an empty array, and more is told", func(t *testing.T) {
		s := newLogs(t)
		require.NoError(t, s.run(t, "logs", "trigger", "--env", "staging", "--json"))
		assert.Equal(t, "[]\n", s.out.String())
		s = newLogs(t, make([]string, 9_999), []string{"the last", "one more"})
		require.NoError(t, s.run(t, "logs", "trigger", "--env", "staging"))
		assert.Contains(t, s.err.String(), "there are more than 10000 lines")
		assert.NotContains(t, s.out.String(), "one more")
	})
	t.Run("S15 logs | AWS refuses | exit 1 with what was asked and AWS's words", func(t *testing.T) {
		s := newLogs(t)
		refuse[cloudwatchlogs.FilterLogEventsInput, cloudwatchlogs.FilterLogEventsOutput](s, "AccessDeniedException", "no")
		err := s.run(t, "logs", "trigger", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		assert.ErrorContains(t, err, "read the log log-of-trigger-fn: ")
		assert.ErrorContains(t, err, "AccessDeniedException")
	})
	t.Run("S15 logs | somebody has deleted the log group | exit 1, it is named, and how to make it again", func(t *testing.T) {
		s := newLogs(t)
		missing(s)
		err := s.run(t, "logs", "status", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		require.EqualError(t, err, "the log group log-of-status-fn does not exist: somebody has deleted what the stack made, and nothing that status-fn says is kept until it is there again: "+
			"aws logs create-log-group --log-group-name log-of-status-fn")
	})
	t.Run("S15 logs | an emulator says neither where a function logs nor anything of the log | one line says so", func(t *testing.T) {
		s := newLogs(t)
		awstest.On(s.cloud, func(context.Context, *lambda.GetFunctionConfigurationInput) (*lambda.GetFunctionConfigurationOutput, error) {
			return &lambda.GetFunctionConfigurationOutput{}, nil
		})
		missing(s)
		err := s.run(t, "logs", "trigger", "--env", "staging")
		assert.Equal(t, 1, exitStatus(err))
		require.EqualError(t, err, "AWS Lambda does not say where trigger-fn logs, and the log group /aws/lambda/trigger-fn does not exist: "+
			"an emulator keeps no logs of functions; those of make up are below .emulator/logs")
	})
	t.Run("S15: wrong use of logs ends with 2, and calls nothing", func(t *testing.T) {
		for args, want := range map[string]string{
			"":                                    "want trigger, status or install",
			"nginx --env staging":                 "want trigger, status or install",
			"trigger --env staging --since 0":     "invalid argument",
			"trigger --env staging --since -1h":   "--since: want a time such as 90m",
			"trigger --env staging --upload a\"b": "--upload: want letters",
			"install --env staging --host other":  "--host: want server or runner",
			"install --env staging --upload a":    "an installation has no --upload",
		} {
			s := newLogs(t)
			err := s.run(t, append([]string{"logs"}, strings.Fields(args)...)...)
			if !strings.Contains(args, "--since 0") {
				assert.Equal(t, 2, exitStatus(err), args)
				assert.ErrorContains(t, err, want)
			}
			assert.Empty(t, s.cloud.Names())
		}
	})
}

func TestInstallationLog(t *testing.T) {
	played := func(t *testing.T) *session {
		s := newSession(t)
		at := func(hour int) *time.Time { return aws.Time(time.Date(2026, 11, 28, hour, 0, 0, 0, time.UTC)) }
		awstest.On(s.cloud, func(context.Context, *ssm.DescribeInstanceAssociationsStatusInput) (*ssm.DescribeInstanceAssociationsStatusOutput, error) {
			return &ssm.DescribeInstanceAssociationsStatusOutput{InstanceAssociationStatusInfos: []types.InstanceAssociationStatusInfo{
				{Name: aws.String("GitLab-staging-HostMonitoringAgentDocument-X"), AssociationId: aws.String("a-0")},
				{Name: aws.String("GitLab-staging-ServerInstallDocument-X"), AssociationId: aws.String("a-1")},
			}}, nil
		})
		awstest.On(s.cloud, func(_ context.Context, in *ssm.DescribeAssociationExecutionsInput) (*ssm.DescribeAssociationExecutionsOutput, error) {
			assert.Equal(t, "a-1", *in.AssociationId)
			return &ssm.DescribeAssociationExecutionsOutput{AssociationExecutions: []types.AssociationExecution{
				{ExecutionId: aws.String("e-1"), CreatedTime: at(1), Status: aws.String("Failed")}, {ExecutionId: aws.String("e-2"), CreatedTime: at(2), Status: aws.String("Success")},
			}}, nil
		})
		awstest.On(s.cloud, func(_ context.Context, in *ssm.DescribeAssociationExecutionTargetsInput) (*ssm.DescribeAssociationExecutionTargetsOutput, error) {
			assert.Equal(t, "e-2", *in.ExecutionId)
			return &ssm.DescribeAssociationExecutionTargetsOutput{AssociationExecutionTargets: []types.AssociationExecutionTarget{
				{ResourceId: aws.String("i-0123456789abcdef0"), OutputSource: &types.OutputSource{OutputSourceId: aws.String("c-1")}},
			}}, nil
		})
		awstest.On(s.cloud, func(context.Context, *ssm.GetCommandInvocationInput) (*ssm.GetCommandInvocationOutput, error) {
			return &ssm.GetCommandInvocationOutput{StandardOutputContent: aws.String("line 1\n\x1b[31mline 2\n"), StandardErrorContent: aws.String("warned")}, nil
		})
		return s
	}
	t.Run("S5 logs | a host was installed several times | what the last run has printed, harmless", func(t *testing.T) {
		s := played(t)
		require.NoError(t, s.run(t, "logs", "install", "--env", "staging"))
		assert.Equal(t, "line 1\nline 2\nwarned\n", s.out.String())
		assert.Contains(t, s.err.String(), "installation of server (i-0123456789abcdef0) by GitLab-staging-ServerInstallDocument-X at 2026-11-28T02:00:00Z: Success")
	})
	t.Run("S5 logs | Systems Manager no longer has it, or never had | it says where it is", func(t *testing.T) {
		s := played(t)
		awstest.On(s.cloud, func(context.Context, *ssm.GetCommandInvocationInput) (*ssm.GetCommandInvocationOutput, error) {
			return nil, &types.InvocationDoesNotExist{}
		})
		assert.ErrorContains(t, s.run(t, "logs", "install", "--env", "staging"), "it is on the host, in /var/log/gitlab-codedeploy-install.log: scripts/ops connect")
		awstest.On(s.cloud, func(context.Context, *ssm.DescribeInstanceAssociationsStatusInput) (*ssm.DescribeInstanceAssociationsStatusOutput, error) {
			return &ssm.DescribeInstanceAssociationsStatusOutput{}, nil
		})
		assert.ErrorContains(t, s.run(t, "logs", "install", "--env", "staging", "--host", "runner"), "knows of no installation on i-0fedcba9876543210")
	})
}
