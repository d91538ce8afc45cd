package main

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/remote/remotetest"
)

// screen is an account in which all is well, until a test changes what AWS says.
type screen struct {
	*operating
	keys     []string
	agents   []ssmtypes.InstanceInformation
	health   []elbtypes.TargetHealthDescription
	refusals map[string]error
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	s := &screen{operating: newOperating(t), refusals: map[string]error{}}
	s.now = func() time.Time { return time.Unix(1606734000, 0).Add(2 * time.Hour) }
	s.keys = []string{"backups/1606734000_2020_11_30_13.10.2/manifest.json", "backups/1506734000_2017_09_30_13.10.2/manifest.json", "backups/4102444800_2100_01_01_13.10.2/half.tar"}
	for _, id := range []string{serverID, runnerID} {
		s.agents = append(s.agents, ssmtypes.InstanceInformation{InstanceId: &id, PingStatus: ssmtypes.PingStatusOnline})
	}
	s.health = []elbtypes.TargetHealthDescription{{TargetHealth: &elbtypes.TargetHealth{State: elbtypes.TargetHealthStateEnumHealthy}}}
	s.On("status", func(map[string]string) remotetest.Operation {
		return remotetest.Operation{Log: remotetest.Says("looking at: version"), Takes: time.Minute,
			Result: "version\t-\tgitlab-ce 13.10.2, Amazon Linux 2\nservices\tok\tall 2 are up\nrunners\tok\t1 of 3 were in contact within two hours\n"}
	})
	awstest.On(s.cloud, func(context.Context, *ssm.DescribeInstanceInformationInput) (*ssm.DescribeInstanceInformationOutput, error) {
		return &ssm.DescribeInstanceInformationOutput{InstanceInformationList: s.agents}, s.refusals["agents"]
	})
	awstest.On(s.cloud, func(context.Context, *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
		out := &s3.ListObjectsV2Output{}
		for _, key := range s.keys {
			out.Contents = append(out.Contents, s3types.Object{Key: &key, Size: aws.Int64(2)})
		}
		return out, s.refusals["backups"]
	})
	awstest.On(s.cloud, func(context.Context, *elb.DescribeLoadBalancersInput) (*elb.DescribeLoadBalancersOutput, error) {
		return &elb.DescribeLoadBalancersOutput{LoadBalancers: []elbtypes.LoadBalancer{
			{DNSName: aws.String("other.example.com"), LoadBalancerArn: aws.String("other")}, {DNSName: aws.String("LB.example.com"), LoadBalancerArn: aws.String("ours")},
		}}, s.refusals["balancers"]
	})
	awstest.On(s.cloud, func(_ context.Context, in *elb.DescribeTargetGroupsInput) (*elb.DescribeTargetGroupsOutput, error) {
		assert.Equal(t, "ours", *in.LoadBalancerArn)
		return &elb.DescribeTargetGroupsOutput{TargetGroups: []elbtypes.TargetGroup{{TargetGroupArn: aws.String("group")}}}, s.refusals["groups"]
	})
	awstest.On(s.cloud, func(context.Context, *elb.DescribeTargetHealthInput) (*elb.DescribeTargetHealthOutput, error) {
		return &elb.DescribeTargetHealthOutput{TargetHealthDescriptions: s.health}, s.refusals["health"]
	})
	return s
}

func TestS8_StatusIsOneScreen(t *testing.T) {
	s := newScreen(t)
	require.NoError(t, s.run(t, "status", "--env", "staging"))
	assert.Equal(t, ""+
		"PART            STATE  FOUND\n"+
		"version         -      gitlab-ce 13.10.2, Amazon Linux 2\n"+
		"services        ok     all 2 are up\n"+
		"runners         ok     1 of 3 were in contact within two hours\n"+
		"last backup     ok     1606734000_2020_11_30_13.10.2, 2 hours old\n"+
		"load balancer   ok     the server is healthy\n"+
		"server's agent  ok     online, "+serverID+"\n"+
		"runner's agent  ok     online, "+runnerID+"\n", s.out.String())
	assert.NotContains(t, s.err.String(), "looking at", "the run's log is not the operator's")
	s.out.Reset()
	require.NoError(t, s.run(t, "status", "--env", "staging", "--json"))
	var parts []map[string]string
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &parts))
	assert.Equal(t, map[string]string{"part": "services", "state": "ok", "found": "all 2 are up"}, parts[1])
}

func TestS8_StatusTellsEachPart(t *testing.T) {
	refused := awstest.Refusal("AccessDenied", "no\x1b[31m")
	for name, tt := range map[string]struct {
		change func(*screen)
		rows   map[string]string
	}{
		"S8 status | the server's agent is offline, and AWS refuses the rest | each part says so; exit 1": {
			change: func(s *screen) {
				s.agents = s.agents[:1]
				s.agents[0].PingStatus = ssmtypes.PingStatusConnectionLost
				s.Fail("SendCommand", remotetest.Fault{Refused: "InvalidInstanceId"})
				s.refusals["backups"], s.refusals["balancers"] = refused, refused
			},
			rows: map[string]string{
				"server": "unknown status was not started:", "server's agent": "wrong ConnectionLost, " + serverID + ": scripts/ops check says why",
				"runner's agent": "wrong not registered, " + runnerID, "last backup": "unknown AWS did not say: AccessDenied: no", "load balancer": "unknown AWS did not say: AccessDenied: no",
			},
		},
		"S8 status | the server takes documents and prints nothing, as an emulator does | the table says so, and what to do": {
			change: func(s *screen) {
				s.OnLook("follow", func(map[string]string) (int, string, string) { return 0, "", "" })
			},
			rows: map[string]string{"server": "unknown the server took 3 documents and printed nothing: an emulator runs none; run "},
		},
		"S8 status | all of its unit is killed on the server | the table says that it was lost": {
			change: func(s *screen) {
				s.On("status", func(map[string]string) remotetest.Operation { return remotetest.Operation{Killed: true, Result: "x"} })
			},
			rows: map[string]string{"server": "unknown run ", "load balancer": "ok the server is healthy"},
		},
		"the server fails": {
			change: func(s *screen) {
				s.On("status", func(map[string]string) remotetest.Operation { return remotetest.Operation{Status: 1} })
			},
			rows: map[string]string{"server": "unknown status ended with 1"},
		},
		"rubbish": {
			change: func(s *screen) {
				s.On("status", func(map[string]string) remotetest.Operation {
					return remotetest.Operation{Result: "\x1b]0;x\x07services\tfine\nalone\n"}
				})
			},
			rows: map[string]string{"services": "unknown", "alone": "unknown"},
		},
		"an old backup": {func(s *screen) { s.keys = s.keys[1:2] }, map[string]string{"last backup": "wrong 1506734000_2017_09_30_13.10.2, 1157 days old"}},
		"no backup":     {func(s *screen) { s.keys = s.keys[2:] }, map[string]string{"last backup": "wrong there is no complete one"}},
		"no target":     {func(s *screen) { s.health = nil }, map[string]string{"load balancer": "wrong it has no target"}},
		"an ill target": {func(s *screen) {
			s.health[0].TargetHealth = &elbtypes.TargetHealth{State: elbtypes.TargetHealthStateEnumUnhealthy, Reason: "Target.Timeout", Description: aws.String("Request timed out")}
		}, map[string]string{"load balancer": "wrong the server is unhealthy: Request timed out"}},
		"no right to look at targets": {func(s *screen) { s.refusals["health"] = refused }, map[string]string{"load balancer": "unknown AWS did not say: AccessDenied: no"}},
		"no right to look at agents":  {func(s *screen) { s.refusals["agents"] = refused }, map[string]string{"runner's agent": "unknown AWS did not say: AccessDenied: no"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen(t)
			tt.change(s)
			err := s.run(t, "status", "--env", "staging")
			assert.Equal(t, 1, exitStatus(err), fmt.Sprint(err))
			for part, want := range tt.rows {
				assert.Contains(t, s.row(part, ""), part+" "+want)
			}
			assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f\x{80}-\x{9f}]`, s.out.String()+s.err.String())
		})
	}
}

func TestS8_StatusWaitsForTheServerAsLongAsItIsTold(t *testing.T) {
	s := newScreen(t)
	s.On("status", func(map[string]string) remotetest.Operation { return remotetest.Operation{Takes: time.Hour} })
	err := s.run(t, "status", "--env", "staging", "--timeout", "60")
	assert.Equal(t, 1, exitStatus(err))
	assert.Contains(t, s.row("server", ""), "unknown not finished after 60 s (--timeout)")
	assert.Equal(t, 2, exitStatus(s.run(t, "status", "--env", "staging", "--follow")))
}

func TestS8_DryRunOfStatusStartsNothing(t *testing.T) {
	s := newScreen(t)
	require.ErrorIs(t, s.run(t, "status", "--env", "staging", "--dry-run"), calls.ErrDryRun)
	assert.Contains(t, s.out.String(), `ssm:SendCommand {"DocumentName":"gitlab-codedeploy-staging-status"`)
	assert.Empty(t, s.sent())
}
