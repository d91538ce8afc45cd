package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
)

const serverID, runnerID = "i-0123456789abcdef0", "i-0fedcba9876543210"

// hosts are a server and a runner that are well, until a test changes what AWS says of them.
type hosts struct {
	*session
	agents    []ssmtypes.InstanceInformation
	instances []ec2types.Instance
	endpoints []ec2types.VpcEndpoint
	roles     []iamtypes.Role
	policies  []iamtypes.AttachedPolicy
	refusals  map[string]error // by the operation
}

func newHosts(t *testing.T) *hosts {
	t.Helper()
	h := &hosts{session: newSession(t), refusals: map[string]error{}}
	for i, id := range []string{serverID, runnerID} {
		h.agents = append(h.agents, ssmtypes.InstanceInformation{
			InstanceId: &id, PingStatus: ssmtypes.PingStatusOnline, AgentVersion: aws.String("3.1.1"),
			LastPingDateTime: aws.Time(time.Date(2026, 11, 24, 18, 54, 36, 5e8, time.UTC)),
		})
		h.instances = append(h.instances, ec2types.Instance{
			InstanceId: &id, State: &ec2types.InstanceState{Name: ec2types.InstanceStateNameRunning},
			IamInstanceProfile: &ec2types.IamInstanceProfile{Arn: aws.String("arn:aws:iam::111111111111:instance-profile/" + []string{"server", "runner"}[i] + "-profile")},
		})
	}
	for i, service := range []string{"ssm", "ssmmessages", "ec2messages", "s3"} {
		h.endpoints = append(h.endpoints, ec2types.VpcEndpoint{
			VpcEndpointId: aws.String(fmt.Sprintf("vpce-%d", i+1)), ServiceName: aws.String("com.amazonaws.ap-northeast-1." + service),
			State: ec2types.StateAvailable, PrivateDnsEnabled: aws.Bool(service != "s3"),
		})
	}
	h.roles = []iamtypes.Role{{RoleName: aws.String("host-role")}}
	h.policies = []iamtypes.AttachedPolicy{{PolicyName: aws.String("AmazonSSMManagedInstanceCore")}}
	awstest.On(h.cloud, func(context.Context, *ssm.DescribeInstanceInformationInput) (*ssm.DescribeInstanceInformationOutput, error) {
		return &ssm.DescribeInstanceInformationOutput{InstanceInformationList: h.agents}, h.refusals["DescribeInstanceInformation"]
	})
	awstest.On(h.cloud, func(context.Context, *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
		out := &ec2.DescribeInstancesOutput{}
		for _, instance := range h.instances {
			out.Reservations = append(out.Reservations, ec2types.Reservation{Instances: []ec2types.Instance{instance}})
		}
		return out, h.refusals["DescribeInstances"]
	})
	awstest.On(h.cloud, func(context.Context, *ec2.DescribeVpcEndpointsInput) (*ec2.DescribeVpcEndpointsOutput, error) {
		return &ec2.DescribeVpcEndpointsOutput{VpcEndpoints: h.endpoints}, h.refusals["DescribeVpcEndpoints"]
	})
	awstest.On(h.cloud, func(context.Context, *iam.GetInstanceProfileInput) (*iam.GetInstanceProfileOutput, error) {
		return &iam.GetInstanceProfileOutput{InstanceProfile: &iamtypes.InstanceProfile{Roles: h.roles}}, h.refusals["GetInstanceProfile"]
	})
	awstest.On(h.cloud, func(context.Context, *iam.ListAttachedRolePoliciesInput) (*iam.ListAttachedRolePoliciesOutput, error) {
		return &iam.ListAttachedRolePoliciesOutput{AttachedPolicies: h.policies}, h.refusals["ListAttachedRolePolicies"]
	})
	return h
}

// row is a row of the table, with single blanks.
func (s *session) row(where, what string) string {
	for line := range strings.SplitSeq(s.out.String(), "\n") {
		if row := strings.Join(strings.Fields(line), " "); strings.HasPrefix(row, where+" "+what) {
			return row
		}
	}
	return ""
}

func (h *hosts) check(t *testing.T) error {
	t.Helper()
	h.out.Reset()
	h.err.Reset()
	return h.run(t, "check", "--env", "staging", "--profile", "a")
}

func TestS7_CheckSaysThatAllIsWell(t *testing.T) {
	h := newHosts(t)
	require.NoError(t, h.check(t))
	lines := strings.Split(strings.TrimSpace(h.out.String()), "\n")
	assert.Len(t, lines, 11)
	assert.Equal(t, []string{"WHERE", "WHAT", "STATE", "FOUND"}, strings.Fields(lines[0]))
	assert.NotRegexp(t, "wrong|unknown", h.out.String())
	for _, line := range lines {
		assert.GreaterOrEqual(t, len(strings.Fields(line)), 4, "every row says what was found")
	}
	assert.Regexp(t, `(?s)Session Manager reaches the server\n.*Session Manager reaches the runner\n`, h.err.String())
	require.Len(t, awstest.Inputs[ssm.DescribeInstanceInformationInput](h.cloud), 1)
	assert.Equal(t, []string{serverID, runnerID}, awstest.Inputs[ssm.DescribeInstanceInformationInput](h.cloud)[0].Filters[0].Values)
	assert.Equal(t, []string{"vpc-0a1b2c3d4e5f67890"}, awstest.Inputs[ec2.DescribeVpcEndpointsInput](h.cloud)[0].Filters[0].Values)
	var profiles []string
	for _, in := range awstest.Inputs[iam.GetInstanceProfileInput](h.cloud) {
		profiles = append(profiles, *in.InstanceProfileName)
	}
	assert.ElementsMatch(t, []string{"server-profile", "runner-profile"}, profiles)
}

func TestS7_CheckAsJSON(t *testing.T) {
	h := newHosts(t)
	h.agents[1].PingStatus = ssmtypes.PingStatusConnectionLost
	err := h.run(t, "check", "--env", "staging", "--json")
	assert.Equal(t, 1, exitStatus(err))
	assert.Empty(t, message(t.Context(), err), "all was said")
	var rows []map[string]string
	require.NoError(t, json.Unmarshal(h.out.Bytes(), &rows))
	require.Len(t, rows, 10)
	assert.Equal(t, map[string]string{"where": "runner", "what": "SSM Agent", "state": "wrong", "found": "ConnectionLost: nothing heard since 2026-11-24T18:54:36Z, agent 3.1.1"}, rows[9])
}

func TestS7_CheckNamesTheCause(t *testing.T) {
	lost := func(h *hosts, i int) { h.agents[i].PingStatus = ssmtypes.PingStatusConnectionLost }
	for name, tt := range map[string]struct {
		change func(*hosts)
		rows   map[[2]string]string // what stands behind the state's name
		said   string               // a pattern for stderr
	}{
		"S7 check | session-manager-plugin is not installed | it says so, and where to get it": {
			change: func(h *hosts) { h.find = func(string) (string, error) { return "", exec.ErrNotFound } },
			rows:   map[[2]string]string{{"this machine", "plug-in"}: "wrong session-manager-plugin is not installed: https://docs.aws.amazon.com/"},
			said:   "Session Manager reaches the server", // all the same
		},
		"S7 check | an agent is offline while all before it is well | it says since when, and what to do": {
			change: func(h *hosts) { lost(h, 0) },
			rows: map[[2]string]string{
				{"server", "SSM Agent"}: "wrong ConnectionLost: nothing heard since 2026-11-24T18:54:36Z, agent 3.1.1",
				{"runner", "SSM Agent"}: "ok online, agent 3.1.1",
			},
			said: `(?s)does not reach the server: all before the agent is well; a restart of the instance.*reaches the runner`,
		},
		"S7 check | an instance is stopped | that is named as the cause": {
			change: func(h *hosts) {
				lost(h, 1)
				h.instances[1].State.Name = ec2types.InstanceStateNameStopped
				h.endpoints = h.endpoints[1:] // less of a cause
			},
			rows: map[[2]string]string{{"runner", "instance"}: "wrong " + runnerID + " is stopped: start it"},
			said: "does not reach the runner: runner, instance: " + runnerID + " is stopped",
		},
		"S7 check | an instance is gone | that is named as the cause": {
			change: func(h *hosts) { h.agents, h.instances = h.agents[:1], h.instances[:1] },
			rows: map[[2]string]string{
				{"runner", "instance"}: "wrong there is no instance " + runnerID, {"runner", "role"}: "wrong no instance", {"server", "role"}: "ok",
			},
			said: "does not reach the runner: runner, instance: there is no instance " + runnerID,
		},
		"S7 check | an instance has no role, or its role lacks the policy | that is named as the cause": {
			change: func(h *hosts) { h.agents, h.policies = nil, nil },
			rows: map[[2]string]string{
				{"server", "role"}:      "wrong host-role lacks the policy AmazonSSMManagedInstanceCore",
				{"server", "SSM Agent"}: "wrong the agent has never registered, or has been away for a month",
			},
			said: "does not reach the server: server, role: host-role lacks the policy",
		},
		"no instance profile": {
			change: func(h *hosts) { h.instances[0].IamInstanceProfile = nil },
			rows:   map[[2]string]string{{"server", "role"}: "wrong " + serverID + " has no instance profile, so its agent may not register", {"runner", "role"}: "ok"},
		},
		"a profile without a role": {
			change: func(h *hosts) { h.roles = nil },
			rows:   map[[2]string]string{{"runner", "role"}: "wrong the instance profile runner-profile has no role"},
		},
		"S7 check | an endpoint is missing, not available, or without private DNS | that is named as the cause": {
			change: func(h *hosts) {
				lost(h, 0)
				h.endpoints[0].PrivateDnsEnabled = aws.Bool(false)
				h.endpoints[2].State = "pending"
				h.endpoints = slices.Delete(h.endpoints, 1, 2)
			},
			rows: map[[2]string]string{
				{"network", "endpoint ssm "}:        "wrong vpce-1 has no private DNS, so the agent does not find it",
				{"network", "endpoint ssmmessages"}: "wrong the VPC has no such endpoint",
				{"network", "endpoint ec2messages"}: "wrong vpce-3 is pending",
			},
			said: "does not reach the server: network, endpoint ssm: vpce-1 has no private DNS",
		},
		"S7 check | the profile may not ask for something | that is unknown, with AWS's words, and the rest is told": {
			change: func(h *hosts) {
				h.refusals["ListAttachedRolePolicies"] = awstest.Refusal("AccessDenied", "no\x1b[31m \u009b2Jright")
				h.refusals["DescribeVpcEndpoints"] = awstest.Refusal("UnauthorizedOperation", "no")
			},
			rows: map[[2]string]string{
				{"server", "role"}:           "unknown AWS did not say: AccessDenied: no right",
				{"network", "endpoint ssm "}: "unknown AWS did not say: UnauthorizedOperation: no",
				{"server", "SSM Agent"}:      "ok online",
			},
		},
		"credentials that have expired meanwhile": {
			change: func(h *hosts) {
				h.refusals["DescribeInstances"] = awstest.Refusal("RequestExpired", "no")
				h.refusals["DescribeInstanceInformation"] = errors.New("connection reset")
			},
			rows: map[[2]string]string{
				{"server", "instance"}:  "unknown AWS did not say: RequestExpired: no",
				{"server", "role"}:      "unknown AWS did not say: RequestExpired: no",
				{"server", "SSM Agent"}: "unknown AWS did not say:",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHosts(t)
			tt.change(h)
			err := h.check(t)
			require.Error(t, err)
			assert.Equal(t, 1, exitStatus(err))
			for where, want := range tt.rows {
				assert.Contains(t, h.row(where[0], where[1]), want)
			}
			assert.Regexp(t, regexp.MustCompile(tt.said), h.err.String())
			assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f\x{80}-\x{9f}]`, h.out.String()+h.err.String())
		})
	}
}

// What only looks is let through by --dry-run, which shows each call.
func TestS7_DryRunOfWhatLooksShowsItsCalls(t *testing.T) {
	h := newHosts(t)
	require.NoError(t, h.run(t, "check", "--env", "staging", "--dry-run"))
	assert.Contains(t, h.out.String(), `ssm:DescribeInstanceInformation {"Filters":[{"Key":"InstanceIds","Values":["`+serverID+`","`+runnerID+`"]}]}`)
	assert.Contains(t, h.out.String(), `iam:ListAttachedRolePolicies {"RoleName":"host-role"}`)
	assert.Contains(t, h.row("server", "SSM Agent"), "ok")
}

func TestS7_WhatTheAccountDoesNotHaveIsNamed(t *testing.T) {
	for output, want := range map[string]string{
		"VpcId": `output VpcId of stack GitLab-staging is "", want vpc-[0-9a-f]{8,17}`, "RunnerInstanceId": "output RunnerInstanceId of stack GitLab-staging",
	} {
		h := newHosts(t)
		h.without(output)
		err := h.check(t)
		require.ErrorContains(t, err, want)
		assert.Equal(t, 1, exitStatus(err))
	}
}

// without is an account whose stack lacks an output.
func (s *session) without(output string) {
	left := map[string]string{}
	for name, value := range gitlabOutputs {
		if name != output {
			left[name] = value
		}
	}
	s.cloud.PlayAccount(gitlabAccount, map[string]map[string]string{"GitLab-staging": left})
}
