package rights

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/test/access"
)

func names(t *testing.T) Names {
	t.Helper()
	cfg, err := config.Load("../../config", "staging")
	require.NoError(t, err)
	cfg.Pipeline = &config.Pipeline{IssuerURL: "https://ci.example.com"}
	cfg.GitLab.LoadBalancer.HostedZone = &config.HostedZone{ID: "Z0123456789ABCDEFGHIJ", Name: "example.com"}
	return Names{Config: cfg, Output: func(_ account.Side, name string) string {
		switch name {
		case "RootPasswordSecretArn":
			return "arn:aws:secretsmanager:ap-northeast-1:111111111111:secret:one-AbCdEf"
		case "DataVolumeId":
			return "vol-0123456789abcdef0"
		}
		if strings.HasSuffix(name, "InstanceId") {
			return "i-0123456789abcdef0"
		}
		return strings.ToLower(name)
	}}
}

// TestEveryEntryOfTheCatalogueIsOneOfIAM asks an independent simulator, which knows IAM's actions and what each of them can
// be limited to: an unknown action, a thing that an action does not know, and a star in the place of things that it does know
// are no single decision.
func TestEveryEntryOfTheCatalogueIsOneOfIAM(t *testing.T) {
	n := names(t)
	crowded := n // with more pairs than there is room for
	crowded.crowded = true
	var simulations []access.Simulation
	var about []string
	for _, call := range slices.Sorted(maps.Keys(catalogue)) {
		side := account.GitLab
		if strings.HasPrefix(call, "deploy ") || strings.HasPrefix(call, "codedeploy:") || strings.HasPrefix(call, "sqs:") {
			side = account.Deploy
		}
		for _, g := range catalogue[call] {
			if g.scope == told {
				continue // its command names it, and its command's test asks
			}
			s, err := scopeOf(g.scope)
			require.NoError(t, err, call)
			context := map[string]string{"aws:userid": "AROAEXAMPLE:alice", "ssm:SessionDocumentAccessCheck": "true"}
			for _, keys := range s.when {
				for key, value := range keys {
					context[key] = strings.ReplaceAll(value.(string), "*", "x1")
				}
			}
			for _, resource := range slices.Compact(slices.Concat(s.on(n, side), s.on(crowded, side))) {
				if strings.Contains(resource, "::document/AWS-") || strings.Contains(resource, "::parameter/aws/service/") {
					continue // the simulator knows no documents and parameters without an account, as AWS's own are
				}
				statement := Statement{Sid: sid(g.scope), Effect: "Allow", Action: []string{g.action}, Resource: []string{resource}, Condition: s.when}
				thing := resource
				if thing != "*" {
					thing = strings.NewReplacer("${aws:userid}", "AROAEXAMPLE:alice", "*", "x1").Replace(thing)
				}
				simulations = append(simulations, access.WithPolicy(access.Request{Account: n.account(side), Action: g.action, Resource: thing, Context: context},
					Policy{Version: "2012-10-17", Statement: []Statement{statement}}))
				about = append(about, call+": "+g.action+" on "+resource)
			}
		}
	}
	decisions, err := access.Decide("../..", simulations)
	require.NoError(t, err)
	for i, d := range decisions {
		assert.Empty(t, d.Error, about[i])
		assert.Equal(t, "Allowed", d.Result, about[i])
	}
}
