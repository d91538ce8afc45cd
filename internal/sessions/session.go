// Package sessions opens sessions of Session Manager with AWS's session-manager-plugin, as the AWS CLI does: the API starts
// a session, and the plug-in brings it to the terminal or to a local port.
package sessions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"gitlab-codedeploy/internal/plain"
)

// Client is the part of the client of Systems Manager that is needed.
type Client interface {
	StartSession(context.Context, *ssm.StartSessionInput, ...func(*ssm.Options)) (*ssm.StartSessionOutput, error)
	TerminateSession(context.Context, *ssm.TerminateSessionInput, ...func(*ssm.Options)) (*ssm.TerminateSessionOutput, error)
	Options() ssm.Options
}

// Plugin is the plug-in on this machine.
type Plugin interface {
	// Version is what it says of itself.
	Version(context.Context) (string, error)
	// Run runs it on the terminal of this program until it ends, and returns its exit status. The error is of a plug-in
	// that could not be started.
	Run(args, environment []string) (int, error)
}

// responseVariable is the one that newer plug-ins take the session's token by. An argument would show it to every user
// of the machine.
// https://github.com/aws/session-manager-plugin/blob/mainline/src/sessionmanagerplugin/session/session.go
const responseVariable = "AWS_SSM_START_SESSION_RESPONSE"

// lastWithArgument is the last version of the plug-in that knows the argument only, as AWS's CLI has it.
// https://github.com/aws/aws-cli/blob/develop/awscli/customizations/sessionmanager.py
var lastWithArgument = []int{1, 2, 497, 0}

// cleanUp bounds the end of a session that nothing came of.
const cleanUp = 10 * time.Second

// Open starts the session and runs the plug-in for it, and returns the plug-in's exit status. The profile is for the
// plug-in, which asks AWS itself when the connection breaks.
func Open(ctx context.Context, client Client, plugin Plugin, profile string, input *ssm.StartSessionInput) (int, error) {
	started, err := client.StartSession(ctx, input)
	if err != nil {
		return 0, fmt.Errorf("start a session on %s: %w", aws.ToString(input.Target), err)
	}
	args, environment, err := invocation(ctx, client, plugin, profile, input, started)
	status := 0
	if err == nil {
		status, err = plugin.Run(args, environment)
	}
	if err == nil {
		return status, nil
	}
	// Otherwise it would stay open on the host until it times out.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	_, closing := client.TerminateSession(ctx, &ssm.TerminateSessionInput{SessionId: started.SessionId})
	return 0, errors.Join(err, closing)
}

// invocation is how the plug-in is started: response, region, operation, profile, the request, and the service's endpoint.
func invocation(ctx context.Context, client Client, plugin Plugin, profile string, input *ssm.StartSessionInput, started *ssm.StartSessionOutput) (args, environment []string, err error) {
	response, err := json.Marshal(map[string]string{
		"SessionId": aws.ToString(started.SessionId), "TokenValue": aws.ToString(started.TokenValue), "StreamUrl": aws.ToString(started.StreamUrl),
	})
	if err != nil {
		return nil, nil, err
	}
	request := map[string]any{"Target": aws.ToString(input.Target)}
	if input.DocumentName != nil {
		request["DocumentName"] = *input.DocumentName
	}
	if input.Parameters != nil {
		request["Parameters"] = input.Parameters
	}
	asked, err := json.Marshal(request)
	if err != nil {
		return nil, nil, err
	}
	options := client.Options()
	endpoint, err := options.EndpointResolverV2.ResolveEndpoint(ctx, ssm.EndpointParameters{
		Region: &options.Region, Endpoint: options.BaseEndpoint,
		UseFIPS:      aws.Bool(options.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(options.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("find the endpoint of Systems Manager: %w", err)
	}
	version, err := plugin.Version(ctx)
	if err != nil {
		return nil, nil, err
	}
	handed := string(response)
	if newer(version, lastWithArgument) {
		handed, environment = responseVariable, []string{responseVariable + "=" + handed}
	}
	return []string{handed, options.Region, "StartSession", profile, string(asked), endpoint.URI.String()}, environment, nil
}

var versionForm = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9}){0,3}$`)

// newer says whether a version is known to be newer than another one.
func newer(text string, than []int) bool {
	text = strings.TrimSpace(text)
	if !versionForm.MatchString(text) {
		return false
	}
	version := make([]int, len(than))
	for i, part := range strings.Split(text, ".") {
		version[i], _ = strconv.Atoi(part)
	}
	return slices.Compare(version, than) > 0
}

// Program is the plug-in as a program at a path.
type Program string

// Version asks the program for its version.
func (p Program) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cleanUp)
	defer cancel()
	out, err := exec.CommandContext(ctx, string(p), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", string(p), err)
	}
	return plain.Line(string(bytes.TrimSpace(out)), 100), nil
}

// Run runs the program on this one's terminal. Until it ends, signals are its own: what is typed at a terminal reaches both
// programs, and must end neither this one nor what happens on the host; what is sent to this one alone is passed on.
func (p Program) Run(args, environment []string) (int, error) {
	command := exec.Command(string(p), args...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), environment...)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, append(passed, typed...)...)
	defer signal.Stop(signals)
	if err := command.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", string(p), err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case got := <-signals:
			if slices.Contains(passed, got) {
				_ = command.Process.Signal(got) // it may have ended already
			}
		case err := <-ended:
			var failed *exec.ExitError
			if err != nil && !errors.As(err, &failed) {
				return 0, fmt.Errorf("run %s: %w", string(p), err)
			}
			return exitStatus(command.ProcessState), nil
		}
	}
}
