// Package logs reads what the functions and the installations have logged.
package logs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Events is the part of the client of CloudWatch Logs that is needed.
type Events interface {
	FilterLogEvents(context.Context, *cloudwatchlogs.FilterLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error)
}

// Functions is the part of the Lambda client that is needed.
type Functions interface {
	GetFunctionConfiguration(context.Context, *lambda.GetFunctionConfigurationInput, ...func(*lambda.Options)) (*lambda.GetFunctionConfigurationOutput, error)
}

// Line is one of a log.
type Line struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Most is the most lines that are read.
const Most = 10_000

// OfFunction tells each line of a function's log since a time, of one upload if that is
// named, and whether there are more.
func OfFunction(ctx context.Context, functions Functions, events Events, function, upload string, since time.Time, each func(Line)) (more bool, err error) {
	// The function's own settings say where it logs. AWS always tells it, an emulator may not.
	config, err := functions.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &function})
	if err != nil {
		return false, fmt.Errorf("look where %s logs: %w", function, err)
	}
	group, told := "/aws/lambda/"+function, false
	if config.LoggingConfig != nil && aws.ToString(config.LoggingConfig.LogGroup) != "" {
		group, told = *config.LoggingConfig.LogGroup, true
	}
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group, StartTime: aws.Int64(since.UnixMilli())}
	if upload != "" {
		// A line is a JSON object; an id has no character that would end the text.
		in.FilterPattern = aws.String(fmt.Sprintf(`{ $.uploadId = "%s" }`, upload))
	}
	read := 0
	for pages := cloudwatchlogs.NewFilterLogEventsPaginator(events, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		var missing *logstypes.ResourceNotFoundException
		switch {
		case errors.As(err, &missing) && told:
			return false, fmt.Errorf("the log group %s does not exist: somebody has deleted what the stack made, and nothing that %s says is kept until it is there again: "+
				"aws logs create-log-group --log-group-name %s", group, function, group)
		case errors.As(err, &missing):
			return false, fmt.Errorf("AWS Lambda does not say where %s logs, and the log group %s does not exist: an emulator keeps no logs of functions; those of make up are below .emulator/logs", function, group)
		case err != nil:
			return false, fmt.Errorf("read the log %s: %w", group, err)
		}
		for _, e := range page.Events {
			if read == Most {
				return true, nil
			}
			read++
			each(Line{time.UnixMilli(aws.ToInt64(e.Timestamp)).UTC(), strings.TrimRight(aws.ToString(e.Message), "\n")})
		}
	}
	return false, nil
}

// Commands is the part of the Systems Manager client that is needed.
type Commands interface {
	DescribeInstanceAssociationsStatus(context.Context, *ssm.DescribeInstanceAssociationsStatusInput, ...func(*ssm.Options)) (*ssm.DescribeInstanceAssociationsStatusOutput, error)
	DescribeAssociationExecutions(context.Context, *ssm.DescribeAssociationExecutionsInput, ...func(*ssm.Options)) (*ssm.DescribeAssociationExecutionsOutput, error)
	DescribeAssociationExecutionTargets(context.Context, *ssm.DescribeAssociationExecutionTargetsInput, ...func(*ssm.Options)) (*ssm.DescribeAssociationExecutionTargetsOutput, error)
	GetCommandInvocation(context.Context, *ssm.GetCommandInvocationInput, ...func(*ssm.Options)) (*ssm.GetCommandInvocationOutput, error)
}

// Installation is the last run of a host's installation, as Systems Manager keeps it:
// the last 24,000 characters of what it printed.
type Installation struct {
	Host, Document, Status string
	At                     time.Time
	Output, Errors         string
}

// OfInstallation finds the last run of the installation of a host.
func OfInstallation(ctx context.Context, commands Commands, host string) (found Installation, err error) {
	found.Host = host
	var association string
	for pages := ssm.NewDescribeInstanceAssociationsStatusPaginator(commands, &ssm.DescribeInstanceAssociationsStatusInput{InstanceId: &host}); pages.HasMorePages() && association == ""; {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return found, fmt.Errorf("look for the installation of %s: %w", host, err)
		}
		for _, a := range page.InstanceAssociationStatusInfos {
			if strings.Contains(aws.ToString(a.Name), "InstallDocument") {
				association, found.Document, found.At = aws.ToString(a.AssociationId), aws.ToString(a.Name), aws.ToTime(a.ExecutionDate)
			}
		}
	}
	if association == "" {
		return found, fmt.Errorf("systems manager knows of no installation on %s: the host may not be registered yet", host)
	}
	runs, err := commands.DescribeAssociationExecutions(ctx, &ssm.DescribeAssociationExecutionsInput{AssociationId: &association})
	if err != nil {
		return found, fmt.Errorf("look for runs of the installation of %s: %w", host, err)
	}
	if len(runs.AssociationExecutions) == 0 {
		return found, fmt.Errorf("the installation of %s has not run", host)
	}
	last := slices.MaxFunc(runs.AssociationExecutions, func(a, b ssmtypes.AssociationExecution) int {
		return aws.ToTime(a.CreatedTime).Compare(aws.ToTime(b.CreatedTime))
	})
	found.Status, found.At = aws.ToString(last.Status), aws.ToTime(last.CreatedTime).UTC()
	targets, err := commands.DescribeAssociationExecutionTargets(ctx, &ssm.DescribeAssociationExecutionTargetsInput{AssociationId: &association, ExecutionId: last.ExecutionId})
	if err != nil {
		return found, fmt.Errorf("look for the last run of the installation of %s: %w", host, err)
	}
	for _, t := range targets.AssociationExecutionTargets {
		if aws.ToString(t.ResourceId) != host || t.OutputSource == nil || aws.ToString(t.OutputSource.OutputSourceId) == "" {
			continue
		}
		out, err := commands.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: t.OutputSource.OutputSourceId, InstanceId: &host})
		var gone *ssmtypes.InvocationDoesNotExist
		if errors.As(err, &gone) {
			break // Systems Manager keeps them for 30 days.
		}
		if err != nil {
			return found, fmt.Errorf("read what the installation of %s has printed: %w", host, err)
		}
		found.Output, found.Errors = aws.ToString(out.StandardOutputContent), aws.ToString(out.StandardErrorContent)
		return found, nil
	}
	return found, fmt.Errorf("systems manager no longer has what the installation of %s printed at %s; it is on the host, in /var/log/gitlab-codedeploy-install.log: scripts/ops connect", host, found.At.Format(time.RFC3339))
}
