package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/test/e2e/lambdahost"
)

// hosted are account B's functions: the output that names each, and its sources.
var hosted = []struct{ output, source string }{
	{"TriggerFunctionName", "lambda/trigger"},
	{"StatusFunctionName", "lambda/status"},
}

// taskRoot is the folder a function runs in.
func (e *Emulator) taskRoot(source string) string {
	return filepath.Join(e.Work, "functions", filepath.Base(source))
}

// build compiles the functions and the jobs' program for this machine's system and processor.
func (e *Emulator) build() error {
	outputs := map[string]string{"./cmd/artifact": e.program()}
	for _, f := range hosted {
		outputs["./"+f.source] = filepath.Join(e.taskRoot(f.source), "bootstrap")
	}
	defer gobuild.Ahead(e.Root, runtime.GOOS, runtime.GOARCH, slices.Sorted(maps.Keys(outputs))...)()
	for source, output := range outputs {
		if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
			return err
		}
		if err := gobuild.Build(e.Root, source, output, runtime.GOOS, runtime.GOARCH); err != nil {
			return err
		}
	}
	return nil
}

// program is where the jobs' program is built. A runner's host has it mounted
// into each job.
func (e *Emulator) program() string { return filepath.Join(e.Work, "bin", "artifact") }

// hosting is what the Lambda host needs to know; it can be handed to another process.
type hosting struct {
	Functions []lambdahost.Function
	Mappings  []lambdahost.Mapping
	Status    string // name of the function that is told of deployments
}

// prepareHosting reads the deployed functions of account B, and puts beside each
// program the files that were deployed with it.
func (e *Emulator) prepareHosting(ctx context.Context, b *Stack) (h hosting, err error) {
	if h.Status, err = b.output("StatusFunctionName"); err != nil {
		return h, err
	}
	api := lambda.NewFromConfig(e.awsConfig(e.B))
	for _, source := range hosted {
		name, err := b.output(source.output)
		if err != nil {
			return h, err
		}
		f, err := lambdahost.Describe(ctx, api, name)
		if err != nil {
			return h, err
		}
		f.TaskRoot, f.Log, f.Endpoint = e.taskRoot(source.source), e.log(filepath.Base(source.source)), e.Endpoint
		if err := e.unpack(ctx, b, &f); err != nil {
			return h, fmt.Errorf("function %s: %w", name, err)
		}
		h.Functions = append(h.Functions, f)

		mappings, err := lambdahost.TakeOver(ctx, api, sqs.NewFromConfig(e.awsConfig(e.B)), name)
		if err != nil {
			return h, err
		}
		h.Mappings = append(h.Mappings, mappings...)
	}
	return h, nil
}

// unpack takes what the API of moto does not tell from the deployed template:
// the place of the function's zip, and its log format.
func (e *Emulator) unpack(ctx context.Context, b *Stack, f *lambdahost.Function) error {
	for _, id := range b.ofType("AWS::Lambda::Function") {
		if b.physical[id] != f.Name {
			continue
		}
		var logging struct{ LogFormat string }
		if _, err := b.property(id, "LoggingConfig", &logging); err != nil {
			return err
		}
		f.LogFormat = logging.LogFormat

		var code struct{ S3Bucket, S3Key string }
		if _, err := b.property(id, "Code", &code); err != nil {
			return err
		}
		object, err := e.s3(e.B).GetObject(ctx, &s3.GetObjectInput{Bucket: &code.S3Bucket, Key: &code.S3Key})
		if err != nil {
			return fmt.Errorf("its code: %w", err)
		}
		defer object.Body.Close()
		zip, err := io.ReadAll(object.Body)
		if err != nil {
			return fmt.Errorf("its code: %w", err)
		}
		return lambdahost.Unpack(zip, f.TaskRoot)
	}
	return errors.New("the deployed template does not have it")
}

// newHost makes what runs the functions that prepareHosting returned and plays
// the deployments that they start, until ctx ends. It logs to a file.
func (e *Emulator) newHost(h hosting) (run func(ctx context.Context), err error) {
	file, err := os.OpenFile(e.log("host"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	for i := range h.Functions {
		role := h.Functions[i].Role
		h.Functions[i].Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return e.assumeRole(ctx, role, "lambda")
		})
	}
	log := slog.New(slog.NewTextHandler(file, nil))
	host, err := lambdahost.New(h.Functions, h.Mappings, sqs.NewFromConfig(e.awsConfig(e.B)), log)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	codeDeploy := player{
		deployments: codedeploy.NewFromConfig(e.awsConfig(e.B)), host: host, function: h.Status,
		account: e.Config.Deploy.Account, region: e.Config.Region, log: log,
	}
	return func(ctx context.Context) {
		var playing sync.WaitGroup
		playing.Go(func() { codeDeploy.run(ctx) })
		host.Run(ctx)
		playing.Wait()
		_ = file.Close()
	}, nil
}
