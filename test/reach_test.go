package test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/test/cfn"
	"gitlab-codedeploy/test/network"
)

// parse returns a synthesised template with its intrinsic functions worked
// out, as deployed in an account of cfg.
func parse(t *testing.T, tpl template, account string, cfg config.Config, parameters map[string]string) *cfn.Template {
	t.Helper()
	parsed, err := cfn.Parse(tpl.raw, cfn.Known{Account: account, Region: cfg.Region, Parameters: parameters})
	require.NoError(t, err)
	return parsed
}

func networkOf(t *testing.T, cfg config.Config, gitlab template) *network.Network {
	t.Helper()
	parsed := parse(t, gitlab, cfg.GitLab.Account, cfg, nil)
	n, err := network.Read(parsed, map[string]string{
		parsed.Output("ServerInstanceId"): "server",
		parsed.Output("RunnerInstanceId"): "runner",
	})
	require.NoError(t, err)
	return n
}

// natAddress is what package cfn takes for the NAT gateway's address.
const natAddress = "198.51.100.10"

// wantedFlows is all that may get through, and has to.
func wantedFlows(cfg config.Config) []network.Flow {
	const gateway, routes = "the internet gateway", "the VPC's own routes"
	nat := "the NAT gateway (" + natAddress + ")"
	var want []network.Flow

	// Users, and the runner on its way back, which comes from the internet too.
	world, inside := false, false
	for _, r := range cfg.GitLab.LoadBalancer.AllowedRanges {
		source := network.Internet + ", " + r
		if r == "0.0.0.0/0" {
			source, world = network.Internet, true
		}
		inside = inside || netip.MustParsePrefix(r).Overlaps(netip.MustParsePrefix(cfg.GitLab.Network.VPCCIDR))
		if !netip.MustParsePrefix(r).Addr().IsPrivate() { // nobody on the internet has a private address
			want = append(want, network.Flow{From: source, To: "load balancer", Traffic: "tcp 80, tcp 443", Way: gateway})
		}
	}
	if !world {
		want = append(want, network.Flow{From: network.Internet + ", " + natAddress + "/32", To: "load balancer", Traffic: "tcp 80, tcp 443", Way: gateway})
	}
	want = append(want, network.Flow{From: "load balancer", To: "server", Traffic: "tcp 80", Way: routes})

	for _, host := range []string{"server", "runner"} {
		want = append(want,
			network.Flow{From: host, To: network.Internet, Traffic: "everything", Way: nat},
			network.Flow{From: host, To: network.URL, Traffic: "tcp 80, tcp 443", Way: nat + ", the internet gateway, load balancer"},
			network.Flow{From: host, To: network.S3, Traffic: "tcp 80, tcp 443", Way: "the gateway endpoint"})
	}
	// A range that covers the VPC admits who is inside as well.
	if inside {
		sources := []string{"server", "runner", "another host in subnet gitlab, " + cfg.GitLab.Network.GitLabSubnet}
		for _, subnet := range cfg.GitLab.Network.PublicSubnets {
			sources = append(sources, "another host in subnet public, "+subnet)
		}
		for _, from := range sources {
			want = append(want, network.Flow{From: from, To: "load balancer", Traffic: "tcp 80, tcp 443", Way: routes})
		}
	}
	// The endpoints know the subnet's range and no group, as row S4 asks.
	for _, from := range []string{"server", "runner", "another host in subnet gitlab, " + cfg.GitLab.Network.GitLabSubnet} {
		for _, service := range []string{"ssm", "ssmmessages", "ec2messages"} {
			want = append(want, network.Flow{From: from, To: "endpoint " + service, Traffic: "tcp 443", Way: routes})
		}
	}
	return want
}

// TestS4_S5_theNetworkLetsThroughWhatItShouldAndNothingElse compares every
// connection that the template makes possible with those that are wanted.
func TestS4_S5_theNetworkLetsThroughWhatItShouldAndNothingElse(t *testing.T) {
	t.Run("staging", func(t *testing.T) {
		gitlab, _ := synthesiseStaging(t)
		assert.Empty(t, strings.Join(networkOf(t, staging(t), gitlab).Differences(wantedFlows(staging(t))), "\n"))
	})
	for name, ranges := range map[string][]string{
		"several":       {"203.0.113.0/24", "192.0.2.17/32", "8.0.0.0/8"},
		"the world":     {"0.0.0.0/0"},
		"a private one": {"203.0.113.0/24", "10.0.0.0/8"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := staging(t)
			cfg.GitLab.LoadBalancer.AllowedRanges = ranges
			gitlab := synthesiseGitLab(t, cfg)
			assert.Empty(t, strings.Join(networkOf(t, cfg, gitlab).Differences(wantedFlows(cfg)), "\n"))
		})
	}
}

// TestGoldenPageOfTheNetwork compares docs/network.md with what is computed.
func TestGoldenPageOfTheNetwork(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	flows := networkOf(t, staging(t), gitlab).Flows()
	page := fmt.Sprintf(`# Who reaches whom

Computed by [test/network](../test/network) from the synthesised template of `+"`GitLab-staging`"+`: subnets, routes, gateways,
endpoints, security groups and the load balancer. Rewrite it with `+"`go test ./test -run Golden -update`"+`.

A cell holds what the one on the left can open a connection with to the one above; the answers always get through. What is
not in the table does not get through: `+"`go test ./test -run Network`"+` compares all of it with the list of what is wanted.

%s
%s is the range of `+"`gitlab.loadBalancer.allowedRanges`"+`; %s stands for the NAT gateway's address, by
which server and runner come back to GitLab's own URL. "Another host" is one that somebody may put into that subnet later,
with a security group of its own.

## By what

%s
S3's endpoint has a policy, which [says which buckets](access.md) can be reached through it.
`, network.Matrix(flows), staging(t).GitLab.LoadBalancer.AllowedRanges[0], natAddress, network.Ways(flows))
	goldenPage(t, "docs/network.md", page)
}

// goldenPage compares a generated page with the one in the repository.
func goldenPage(t *testing.T, path, page string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile("../"+path, []byte(page), 0o644))
		return
	}
	raw, err := os.ReadFile("../" + path)
	require.NoError(t, err, "make it with: go test ./test -run Golden -update")
	assert.Equal(t, string(raw), page, "%s is out of date: go test ./test -run Golden -update", path)
}
