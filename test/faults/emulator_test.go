package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	codedeploytypes "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/httpbody"
	"gitlab-codedeploy/lambda/environment"
	"gitlab-codedeploy/lambda/report"
	"gitlab-codedeploy/test/e2e/childprocess"
	"gitlab-codedeploy/test/e2e/lambdahost"
	"gitlab-codedeploy/test/faults/cloud"
)

// The same kind of load against AWS as other people understand it: moto's S3,
// its events, its queue and its CodeDeploy, and the emulator's Lambda host. Its
// deployments never end: the status function is told that they have, which leaves
// fewer invariants. The others are the simulation's.
func TestS15_LoadOnTheEmulator(t *testing.T) {
	python := "../../.venv/bin/python3"
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v: run scripts/setup.sh test", err)
		}
		t.Skip(err)
	}
	trigger, _, err := buildPrograms()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	e := startEmulator(t, ctx, python)
	n := setting(t, "FAULTS_EMULATOR", 100)

	host, err := lambdahost.New([]lambdahost.Function{{
		Name: "trigger", ARN: "arn:aws:lambda:ap-northeast-1:222222222222:function:trigger", Region: e.config.Region, Handler: "bootstrap",
		MemoryMB: 128, Timeout: 30 * time.Second, LogFormat: "JSON",
		TaskRoot: trigger.taskRoot, Log: filepath.Join(e.dir, "trigger.log"), Endpoint: e.endpoint, Credentials: e.config.Credentials,
		Environment: map[string]string{
			"ARTIFACT_BUCKET": bucketName, "ARTIFACT_PREFIX": artifactPrefix, "QUEUE_URL": e.queue, "GITLAB_URL": "https://gitlab.example.com",
		},
	}}, []lambdahost.Mapping{{
		Function: "trigger", QueueURL: e.queue, QueueARN: queueARN, Region: e.config.Region, BatchSize: 10, PartialFailures: true,
	}}, e.sqs, slog.New(slog.DiscardHandler))
	require.NoError(t, err)

	began := time.Now()
	uploads := e.upload(t, ctx, n)
	uploaded := time.Since(began)
	running, stop := context.WithCancel(ctx)
	var polling sync.WaitGroup
	polling.Go(func() { host.Run(running) })
	polling.Go(func() { e.play(t, running) })
	e.drain(t, ctx)
	took := time.Since(began)
	stop()
	polling.Wait()
	t.Logf("%d uploads to %d groups in %s, deployed in %s: %.0f uploads/s",
		n, len(loadGroups), uploaded.Round(time.Millisecond), took.Round(time.Millisecond), float64(n)/took.Seconds())

	for _, pair := range loadGroups {
		e.judge(t, ctx, pair, uploads)
	}
	assert.Len(t, e.keys(t, ctx, statusPrefix), n, "one state an upload")
}

type emulator struct {
	dir, endpoint, queue string
	config               aws.Config
	s3                   *s3.Client
	sqs                  *sqs.Client
	codedeploy           *codedeploy.Client
}

// startEmulator starts moto with a versioned bucket that tells a queue of its
// uploads, and 50 blue/green groups.
func startEmulator(t *testing.T, ctx context.Context, python string) *emulator {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	python, err = filepath.Abs(python)
	require.NoError(t, err)
	server, err := filepath.Abs("../e2e/emulator/moto_server.py")
	require.NoError(t, err)
	dir := t.TempDir()
	moto, err := childprocess.Start(childprocess.Command{
		Args: []string{python, server, "-p", strconv.Itoa(port)},
		Dir:  dir, Log: filepath.Join(dir, "moto.log"),
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "MOTO_ACCOUNT_ID=222222222222", "DOCKER_HOST=unix:///nonexistent/docker.sock"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { moto.Stop(time.Second) })

	e := &emulator{dir: dir, endpoint: "http://localhost:" + strconv.Itoa(port)}
	require.Eventually(t, func() bool {
		response, err := http.Get(e.endpoint + "/moto-api/config")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode/100 == 2
	}, time.Minute, 50*time.Millisecond, "%s", childprocess.Tail(filepath.Join(dir, "moto.log"), 20))

	e.config = aws.Config{
		Region: "ap-northeast-1", BaseEndpoint: &e.endpoint,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "token"),
	}
	httpbody.OnlyRead(&e.config)
	e.s3 = s3.NewFromConfig(e.config, func(o *s3.Options) { o.UsePathStyle = true })
	e.sqs, e.codedeploy = sqs.NewFromConfig(e.config), codedeploy.NewFromConfig(e.config)
	e.create(t, ctx)
	return e
}

// play tells the status function of each new deployment that it has succeeded.
func (e *emulator) play(t *testing.T, ctx context.Context) {
	env := map[string]string{
		"ARTIFACT_BUCKET": bucketName, "ARTIFACT_PREFIX": artifactPrefix, "QUEUE_URL": e.queue, "AWS_ENDPOINT_URL": e.endpoint,
		"AWS_REGION": e.config.Region, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
	}
	status, err := report.New(environment.Host{Getenv: func(name string) string { return env[name] }, Out: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if !assert.NoError(t, err) {
		return
	}
	played := map[string]bool{}
	for ctx.Err() == nil {
		out, err := e.codedeploy.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{})
		if err != nil {
			out = &codedeploy.ListDeploymentsOutput{}
		}
		for _, id := range out.Deployments {
			if played[id] {
				continue
			}
			d, err := e.codedeploy.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &id})
			if err != nil {
				continue
			}
			event, err := json.Marshal(map[string]any{
				"source": "aws.codedeploy", "detail-type": "CodeDeploy Deployment State-change Notification",
				"detail": map[string]any{
					"deploymentId": id, "state": "SUCCESS",
					"application": d.DeploymentInfo.ApplicationName, "deploymentGroup": d.DeploymentInfo.DeploymentGroupName,
				},
			})
			if err == nil {
				_, err = status.Handle(ctx, event)
			}
			played[id] = err == nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (e *emulator) create(t *testing.T, ctx context.Context) {
	queue, err := e.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: aws.String("artifacts"), Attributes: map[string]string{"VisibilityTimeout": "180"},
	})
	require.NoError(t, err)
	e.queue = *queue.QueueUrl
	bucket := bucketName
	_, err = e.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{
		LocationConstraint: s3types.BucketLocationConstraintApNortheast1,
	}})
	require.NoError(t, err)
	_, err = e.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: &s3types.VersioningConfiguration{
		Status: s3types.BucketVersioningStatusEnabled,
	}})
	require.NoError(t, err)
	_, err = e.s3.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{
		Bucket: &bucket, NotificationConfiguration: &s3types.NotificationConfiguration{QueueConfigurations: []s3types.QueueConfiguration{{
			QueueArn: aws.String(queueARN), Events: []s3types.Event{s3types.EventS3ObjectCreated},
			Filter: &s3types.NotificationConfigurationFilter{Key: &s3types.S3KeyFilter{FilterRules: []s3types.FilterRule{{Name: s3types.FilterRuleNamePrefix, Value: aws.String(artifactPrefix)}}}},
		}}},
	})
	require.NoError(t, err)
	for _, pair := range loadGroups {
		_, err := e.codedeploy.CreateApplication(ctx, &codedeploy.CreateApplicationInput{ApplicationName: &pair.Application, ComputePlatform: codedeploytypes.ComputePlatformServer})
		require.NoError(t, err)
		_, err = e.codedeploy.CreateDeploymentGroup(ctx, &codedeploy.CreateDeploymentGroupInput{
			ApplicationName: &pair.Application, DeploymentGroupName: &pair.Group, ServiceRoleArn: aws.String("arn:aws:iam::222222222222:role/codedeploy"),
			DeploymentStyle: &codedeploytypes.DeploymentStyle{
				DeploymentType: codedeploytypes.DeploymentTypeBlueGreen, DeploymentOption: codedeploytypes.DeploymentOptionWithTrafficControl,
			},
		})
		require.NoError(t, err)
	}
}

// upload puts n artifacts, half of them over the one before. Then the queue's
// messages are shuffled, and a fifth of them sent twice: moto hands them out in
// the order in which they came.
func (e *emulator) upload(t *testing.T, ctx context.Context, n int) map[string]upload {
	r := rand.New(rand.NewPCG(1, 5))
	uploads := map[string]upload{} // by version
	for i, u := range generateLoad(1, n).Uploads {
		if i%len(loadGroups) == 0 {
			// moto tells times in whole seconds, here and in its events: the
			// uploads to a group have an order only in seconds of their own.
			now := time.Now()
			<-time.After(now.Truncate(time.Second).Add(time.Second).Sub(now))
		}
		out, err := e.s3.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String(bucketName), Key: &u.Key, Metadata: u.Metadata, Body: strings.NewReader(fmt.Sprint("artifact ", i)),
		})
		require.NoError(t, err)
		u.At = time.Duration(i) // in the order of the uploads
		uploads[*out.VersionId] = u
	}
	var bodies []string
	for {
		out, err := e.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &e.queue, MaxNumberOfMessages: 10})
		require.NoError(t, err)
		if len(out.Messages) == 0 {
			break
		}
		for _, m := range out.Messages {
			bodies = append(bodies, *m.Body)
			if r.IntN(5) == 0 {
				bodies = append(bodies, *m.Body)
			}
		}
	}
	_, err := e.sqs.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: &e.queue})
	require.NoError(t, err)
	r.Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
	for chunk := range slices.Chunk(bodies, 10) {
		var entries []sqstypes.SendMessageBatchRequestEntry
		for i, body := range chunk {
			entries = append(entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &body})
		}
		_, err := e.sqs.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &e.queue, Entries: entries})
		require.NoError(t, err)
	}
	return uploads
}

// drain waits until the queue is empty.
func (e *emulator) drain(t *testing.T, ctx context.Context) {
	names := []sqstypes.QueueAttributeName{
		sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}
	require.Eventually(t, func() bool {
		out, err := e.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &e.queue, AttributeNames: names})
		return err == nil && out.Attributes[string(names[0])] == "0" && out.Attributes[string(names[1])] == "0"
	}, 4*time.Minute, 300*time.Millisecond)
}

// judge holds the deployments of a group against its uploads.
func (e *emulator) judge(t *testing.T, ctx context.Context, pair cloud.Pair, uploads map[string]upload) {
	out, err := e.codedeploy.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{ApplicationName: &pair.Application, DeploymentGroupName: &pair.Group})
	require.NoError(t, err)
	deployed := map[string]int{}
	for _, id := range out.Deployments {
		d, err := e.codedeploy.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &id})
		require.NoError(t, err)
		version := aws.ToString(d.DeploymentInfo.Revision.S3Location.Version)
		deployed[version]++
		assert.Equal(t, 1, deployed[version], "%s was deployed twice to %s", version, pair)
		assert.Equal(t, pair, uploads[version].Pair)
	}
	newest, version := upload{At: -1}, ""
	for v, u := range uploads {
		if u.Pair == pair && u.At > newest.At {
			newest, version = u, v
		}
	}
	if version != "" {
		assert.Equal(t, 1, deployed[version], "the newest upload to %s was not deployed", pair)
	}
}

func (e *emulator) keys(t *testing.T, ctx context.Context, prefix string) []string {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(e.s3, &s3.ListObjectsV2Input{Bucket: aws.String(bucketName), Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		require.NoError(t, err)
		for _, object := range page.Contents {
			keys = append(keys, *object.Key)
		}
	}
	return keys
}
