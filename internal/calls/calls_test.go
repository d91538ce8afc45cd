package calls_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
)

func TestADryRunPrintsEachCallAndChangesNothing(t *testing.T) {
	cloud := awstest.New(t)
	cloud.PlayAccount("111111111111", nil)
	awstest.On(cloud, func(context.Context, *ssm.SendCommandInput) (*ssm.SendCommandOutput, error) {
		return &ssm.SendCommandOutput{}, nil
	})
	var out bytes.Buffer
	cfg := cloud.Config("ap-northeast-1")
	calls.DryRun(&cfg, &out)
	_, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	require.NoError(t, err)
	send := &ssm.SendCommandInput{DocumentName: aws.String("stop\x1b[2J"), InstanceIds: []string{"i-1"}}
	_, err = ssm.NewFromConfig(cfg).SendCommand(t.Context(), send)
	require.ErrorIs(t, err, calls.ErrDryRun)
	_, err = s3.NewFromConfig(cfg).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: strings.NewReader("x")})
	require.ErrorIs(t, err, calls.ErrDryRun)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	assert.Equal(t, "sts:GetCallerIdentity {}", lines[0])
	assert.Equal(t, `ssm:SendCommand {"DocumentName":"stop\u001b[2J","InstanceIds":["i-1"]}`, lines[1])
	assert.Contains(t, lines[2], `s3:PutObject {`)
	assert.Equal(t, []string{"sts:GetCallerIdentity"}, cloud.Names(), "nothing else was sent")

	_, err = ssm.NewFromConfig(cfg).SendCommand(calls.OnlyReads(t.Context()), send)
	require.NoError(t, err, "its caller says that it changes nothing")
}

func TestWhatReadsIsKnownByItsName(t *testing.T) {
	for name, reads := range map[string]bool{
		"GetObject": true, "HeadObject": true, "ListObjectsV2": true, "DescribeStacks": true, "BatchGetDeployments": true,
		"SimulatePrincipalPolicy": true, "FilterLogEvents": true, "GetSecretValue": false, "ReceiveMessage": false,
		"CreateDeployment": false, "Getaway": false, "StartSession": false,
	} {
		assert.Equal(t, reads, calls.Call{Operation: name}.Reads(), name)
	}
}

func TestNamesAreThoseOfIAM(t *testing.T) {
	assert.Equal(t, "ssm:SendCommand", calls.Call{Service: "ssm", Operation: "SendCommand"}.Name())
}

func TestAWatcherCanRefuse(t *testing.T) {
	cloud := awstest.New(t)
	cfg := cloud.Config("ap-northeast-1")
	refusal := errors.New("not today")
	calls.Watch(&cfg, func(context.Context, calls.Call) error { return refusal })
	_, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	assert.ErrorIs(t, err, refusal)
	assert.Empty(t, cloud.Calls())
}
