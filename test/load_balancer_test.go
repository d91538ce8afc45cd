package test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
)

func attribute(t *testing.T, balancer resource, key string) any {
	t.Helper()
	for _, a := range list(balancer.Properties["LoadBalancerAttributes"]) {
		if at(a, "Key") == key {
			return at(a, "Value")
		}
	}
	return nil
}

func TestS6_theLoadBalancerFacesTheInternetInTwoZones(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	_, balancer := gitlab.one(t, "AWS::ElasticLoadBalancingV2::LoadBalancer")
	assert.Equal(t, "internet-facing", balancer.Properties["Scheme"])
	var subnets []any
	for _, id := range subnetNamed(t, gitlab, "public") {
		subnets = append(subnets, ref(id))
	}
	assert.Equal(t, subnets, balancer.Properties["Subnets"])
	assert.Equal(t, "true", attribute(t, balancer, "routing.http.drop_invalid_header_fields.enabled"))
	assert.Equal(t, "true", gitlab.decided(t, attribute(t, balancer, "deletion_protection.enabled"), protectionOn))
	assert.Equal(t, "true", attribute(t, balancer, "access_logs.s3.enabled"))
}

func TestS6_TLSEndsAtTheLoadBalancerAndPlainHTTPIsRedirected(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	byPort := map[float64]resource{}
	for _, id := range gitlab.ofType(t, "AWS::ElasticLoadBalancingV2::Listener") {
		listener := gitlab.Resources[id]
		byPort[listener.Properties["Port"].(float64)] = listener
	}
	require.Len(t, byPort, 2)

	https := byPort[443].Properties
	assert.Equal(t, "HTTPS", https["Protocol"])
	assert.Equal(t, "ELBSecurityPolicy-TLS13-1-2-2021-06", https["SslPolicy"], "TLS 1.2 and newer")
	assert.Equal(t, staging(t).GitLab.LoadBalancer.CertificateARN, at(https, "Certificates", 0, "CertificateArn"))

	redirect := at(byPort[80].Properties, "DefaultActions", 0)
	assert.Equal(t, "redirect", at(redirect, "Type"))
	assert.Equal(t, "HTTPS", at(redirect, "RedirectConfig", "Protocol"))
	assert.Equal(t, "443", at(redirect, "RedirectConfig", "Port"))
	assert.Equal(t, "HTTP_301", at(redirect, "RedirectConfig", "StatusCode"))
}

func TestS6_healthIsWhatTheSignInPageAnswersOnPort80(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	server, _, _ := host(t, gitlab, "ServerInstanceId")
	_, targets := gitlab.one(t, "AWS::ElasticLoadBalancingV2::TargetGroup")
	assert.Equal(t, "/users/sign_in", targets.Properties["HealthCheckPath"])
	assert.Equal(t, "80", targets.Properties["HealthCheckPort"])
	assert.Equal(t, "HTTP", targets.Properties["Protocol"])
	assert.EqualValues(t, 80, targets.Properties["Port"])
	assert.Equal(t, "200", at(targets.Properties, "Matcher", "HttpCode"))
	assert.Equal(t, []any{map[string]any{"Id": ref(server), "Port": 80.0}}, targets.Properties["Targets"])
}

// TestS4_theLoadBalancerReachesTheServer follows the way of a request from
// group to group. No linter sees a missing rule; users see a 504.
func TestS4_theLoadBalancerReachesTheServer(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	_, balancer := gitlab.one(t, "AWS::ElasticLoadBalancingV2::LoadBalancer")
	_, targets := gitlab.one(t, "AWS::ElasticLoadBalancingV2::TargetGroup")
	_, instance, _ := host(t, gitlab, "ServerInstanceId")
	front, behind := at(balancer.Properties, "SecurityGroups", 0), at(instance.Properties, "SecurityGroupIds", 0)
	port := targets.Properties["Port"]

	in, out := 0, 0
	for _, r := range gitlab.Resources {
		p := r.Properties
		switch r.Type {
		case "AWS::EC2::SecurityGroupIngress":
			if assert.ObjectsAreEqual(behind, p["GroupId"]) {
				in++
				assert.Equal(t, front, p["SourceSecurityGroupId"])
				assert.Equal(t, port, p["FromPort"])
				assert.Equal(t, port, p["ToPort"])
			}
		case "AWS::EC2::SecurityGroupEgress":
			if assert.ObjectsAreEqual(front, p["GroupId"]) {
				out++
				assert.Equal(t, behind, p["DestinationSecurityGroupId"])
				assert.Equal(t, port, p["FromPort"])
				assert.Equal(t, port, p["ToPort"])
			}
		}
	}
	assert.Equal(t, 1, in, "the server takes HTTP from the load balancer and nothing else")
	assert.Equal(t, 1, out, "the load balancer calls the server and nothing else")
	group := gitlab.Resources[at(behind, "Fn::GetAtt", 0).(string)]
	assert.Empty(t, list(group.Properties["SecurityGroupIngress"]))
	assert.Equal(t, "gitlab", tagOf(group, "Name"))
}

func TestS4_onlyAllowedRangesAndTheRunnerReachTheLoadBalancer(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	_, balancer := gitlab.one(t, "AWS::ElasticLoadBalancingV2::LoadBalancer")
	group := gitlab.Resources[at(balancer.Properties, "SecurityGroups", 0, "Fn::GetAtt", 0).(string)]
	address, _ := gitlab.one(t, "AWS::EC2::EIP")
	nat := text(map[string]any{"Fn::Join": []any{"", []any{ref(address), "/32"}}})

	want := []string{nat + " 80", nat + " 443"}
	for _, r := range staging(t).GitLab.LoadBalancer.AllowedRanges {
		want = append(want, r+" 80", r+" 443")
	}
	var got []string
	for _, rule := range list(group.Properties["SecurityGroupIngress"]) {
		assert.Equal(t, at(rule, "FromPort"), at(rule, "ToPort"))
		got = append(got, text(at(rule, "CidrIp"))+" "+text(at(rule, "FromPort")))
	}
	assert.ElementsMatch(t, want, got)
}

func TestS6_withAHostedZoneTheStackMakesCertificateAndRecord(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.LoadBalancer.CertificateARN = ""
	cfg.GitLab.LoadBalancer.HostedZone = &config.HostedZone{ID: "Z0123456789ABCDEFGHIJ", Name: "example.com"}
	gitlab := synthesiseGitLab(t, cfg)

	id, certificate := gitlab.one(t, "AWS::CertificateManager::Certificate")
	assert.Equal(t, cfg.GitLab.LoadBalancer.DomainName, certificate.Properties["DomainName"])
	assert.Equal(t, "DNS", certificate.Properties["ValidationMethod"])
	assert.Equal(t, "Z0123456789ABCDEFGHIJ", at(certificate.Properties, "DomainValidationOptions", 0, "HostedZoneId"))
	used := false
	for _, l := range gitlab.ofType(t, "AWS::ElasticLoadBalancingV2::Listener") {
		used = used || text(at(gitlab.Resources[l].Properties, "Certificates", 0, "CertificateArn")) == text(ref(id))
	}
	assert.True(t, used)

	_, record := gitlab.one(t, "AWS::Route53::RecordSet")
	balancer, _ := gitlab.one(t, "AWS::ElasticLoadBalancingV2::LoadBalancer")
	assert.Equal(t, cfg.GitLab.LoadBalancer.DomainName+".", record.Properties["Name"])
	assert.Equal(t, "A", record.Properties["Type"])
	assert.Contains(t, text(at(record.Properties, "AliasTarget", "DNSName")), balancer)
}
