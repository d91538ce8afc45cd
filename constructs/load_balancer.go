package constructs

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscertificatemanager"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2targets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsroute53"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsroute53targets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// LoadBalancerProps configures [NewLoadBalancer].
type LoadBalancerProps struct {
	// Network holds the load balancer, in its public subnets. Required.
	Network *Network

	// Server is what requests are sent to. Required.
	Server *GitLabServer

	// AllowedRanges are the IPv4 ranges that may connect. Required.
	AllowedRanges []string

	// DomainName is the host name that users see. Required.
	DomainName string

	// CertificateARN is the ACM certificate of DomainName. Without it,
	// certificate and alias record are made in the hosted zone.
	CertificateARN string

	// HostedZoneID and HostedZoneName are the Route 53 zone that DomainName
	// is in. Required without CertificateARN, otherwise unused.
	HostedZoneID, HostedZoneName string

	// AccessLogs receives the access log. Required.
	AccessLogs awss3.IBucket

	// Protected is when the deletion of the load balancer is refused. Optional;
	// without it, never.
	Protected awscdk.CfnCondition
}

// LoadBalancer is the only way in from the internet: an Application Load
// Balancer that ends TLS. It lives as long as its stack.
//
//	allowed ranges, NAT address ── 443 ──▶ load balancer ── 80 ──▶ server
//	                            ── 80 ──▶ redirect to 443
type LoadBalancer struct {
	DNSName *string
	// HealthyServers counts the servers that answer its health check, each minute.
	HealthyServers awscloudwatch.IMetric
}

// NewLoadBalancer defines a LoadBalancer under scope.
func NewLoadBalancer(scope constructs.Construct, id string, props LoadBalancerProps) *LoadBalancer {
	if (props.CertificateARN == "") == (props.HostedZoneID == "") {
		panic("LoadBalancer " + id + ": want either CertificateARN or HostedZoneID")
	}
	scope = constructs.NewConstruct(scope, &id)

	balancer := elb.NewApplicationLoadBalancer(scope, jsii.String("LoadBalancer"), &elb.ApplicationLoadBalancerProps{
		Vpc:                     props.Network.VPC,
		VpcSubnets:              &awsec2.SubnetSelection{Subnets: &props.Network.PublicSubnets},
		InternetFacing:          jsii.Bool(true),
		SecurityGroup:           newFrontGroup(scope, props),
		DropInvalidHeaderFields: jsii.Bool(true),
	})
	if props.Protected != nil {
		balancer.SetAttribute(jsii.String("deletion_protection.enabled"),
			awscdk.Fn_ConditionIf(props.Protected.LogicalId(), jsii.String("true"), jsii.String("false")).ToString())
	}
	acknowledge(balancer, finding{
		rule: "NIST.800.53.R5-ALBWAFEnabled",
		reason: "Only the ranges in the configuration are admitted, GitLab limits requests itself, and large pushes do not pass a firewall's limits. " +
			"An account that has a web ACL for all can still associate it.",
	})
	acknowledge(balancer, finding{
		rule:   "NIST.800.53.R5-ELBDeletionProtectionEnabled CT.ELASTICLOADBALANCING.PR.5",
		reason: "Deletion protection is on, but for the first deploy: the parameter Protection, which these rules do not work out.",
	})
	balancer.LogAccessLogs(props.AccessLogs, jsii.String("load-balancer"))

	zone := hostedZone(scope, props)
	https := balancer.AddListener(jsii.String("Https"), &elb.BaseApplicationListenerProps{
		Port:         jsii.Number(443),
		Certificates: &[]elb.IListenerCertificate{elb.ListenerCertificate_FromCertificateManager(certificate(scope, props, zone))},
		SslPolicy:    elb.SslPolicy_RECOMMENDED_TLS,
		// The group's rules say who may connect; the CDK's own would open
		// the listener to the world.
		Open: jsii.Bool(false),
	})
	targets := serverTargets(scope, props)
	https.AddTargetGroups(jsii.String("Server"), &elb.AddApplicationTargetGroupsProps{
		TargetGroups: &[]elb.IApplicationTargetGroup{targets},
	})
	http := balancer.AddListener(jsii.String("Http"), &elb.BaseApplicationListenerProps{
		Port: jsii.Number(80),
		Open: jsii.Bool(false),
		DefaultAction: elb.ListenerAction_Redirect(&elb.RedirectOptions{
			Protocol: jsii.String("HTTPS"), Port: jsii.String("443"), Permanent: jsii.Bool(true),
		}),
	})
	acknowledge(http, finding{
		rule:   "NIST.800.53.R5-ELBv2ACMCertificateRequired",
		reason: "This listener only sends to the one with a certificate.",
	})

	if zone != nil {
		awsroute53.NewARecord(scope, jsii.String("Alias"), &awsroute53.ARecordProps{
			Zone:       zone,
			RecordName: &props.DomainName,
			Target:     awsroute53.RecordTarget_FromAlias(awsroute53targets.NewLoadBalancerTarget(balancer, nil)),
		})
	}
	return &LoadBalancer{
		DNSName: balancer.LoadBalancerDnsName(),
		// Maximum: each of its nodes counts.
		HealthyServers: metricOf("AWS/ApplicationELB", "HealthyHostCount", "Maximum", 1, map[string]*string{
			"LoadBalancer": balancer.LoadBalancerFullName(), "TargetGroup": targets.TargetGroupFullName(),
		}),
	}
}

// newFrontGroup defines the load balancer's security group, and the rules of
// both groups that let it reach the server. An instance target does not bring
// them, and without them every request ends in a 504.
func newFrontGroup(scope constructs.Construct, props LoadBalancerProps) awsec2.SecurityGroup {
	group := awsec2.NewSecurityGroup(scope, jsii.String("SecurityGroup"), &awsec2.SecurityGroupProps{
		Vpc:              props.Network.VPC,
		Description:      jsii.String("Load balancer: HTTP and HTTPS from the allowed ranges"),
		AllowAllOutbound: jsii.Bool(false),
	})
	type source struct{ cidr, is string }
	sources := []source{}
	world := false
	for _, cidr := range props.AllowedRanges {
		sources = append(sources, source{cidr, "an allowed range"})
		world = world || cidr == "0.0.0.0/0"
	}
	if world {
		acknowledge(group, finding{
			rule:   "AwsSolutions-EC23 CKV_AWS_260",
			reason: "The configuration opens this load balancer to the internet; it cannot, as long as GitLab has a known takeover hole.",
		})
	} else {
		// The runner calls GitLab by its public name, through the NAT gateway.
		sources = append(sources, source{*props.Network.NATAddress + "/32", "the runner, by way of the NAT gateway"})
		acknowledge(group, finding{
			rule:   "CdkNagValidationFailure",
			reason: "AwsSolutions-EC23 cannot read the NAT gateway's address, which is known once it is deployed; the other ranges are in the configuration.",
		})
	}
	for _, s := range sources {
		for _, port := range []float64{443, 80} {
			group.AddIngressRule(awsec2.Peer_Ipv4(jsii.String(s.cidr)), awsec2.Port_Tcp(&port), jsii.String("From "+s.is), nil)
		}
	}
	port := awsec2.Port_Tcp(jsii.Number(80))
	group.AddEgressRule(props.Server.SecurityGroup, port, jsii.String("HTTP to the server"), nil)
	props.Server.SecurityGroup.AddIngressRule(group, port, jsii.String("HTTP from the load balancer"), nil)
	return group
}

func serverTargets(scope constructs.Construct, props LoadBalancerProps) elb.ApplicationTargetGroup {
	return elb.NewApplicationTargetGroup(scope, jsii.String("ServerTargets"), &elb.ApplicationTargetGroupProps{
		Vpc:      props.Network.VPC,
		Protocol: elb.ApplicationProtocol_HTTP,
		Port:     jsii.Number(80),
		Targets: &[]elb.IApplicationLoadBalancerTarget{
			awselasticloadbalancingv2targets.NewInstanceIdTarget(props.Server.InstanceID, jsii.Number(80)),
		},
		HealthCheck: &elb.HealthCheck{
			// Answers 200 as soon as GitLab is up and a root password is set.
			Path:             jsii.String("/users/sign_in"),
			Port:             jsii.String("80"),
			HealthyHttpCodes: jsii.String("200"),
			// GitLab renders this page slowly right after a restart.
			Timeout:  awscdk.Duration_Seconds(jsii.Number(15)),
			Interval: awscdk.Duration_Seconds(jsii.Number(30)),
		},
	})
}

// hostedZone returns the zone to make records in, or nil.
func hostedZone(scope constructs.Construct, props LoadBalancerProps) awsroute53.IHostedZone {
	if props.HostedZoneID == "" {
		return nil
	}
	return awsroute53.HostedZone_FromHostedZoneAttributes(scope, jsii.String("HostedZone"), &awsroute53.HostedZoneAttributes{
		HostedZoneId: &props.HostedZoneID,
		ZoneName:     &props.HostedZoneName,
	})
}

func certificate(scope constructs.Construct, props LoadBalancerProps, zone awsroute53.IHostedZone) awscertificatemanager.ICertificate {
	if zone == nil {
		return awscertificatemanager.Certificate_FromCertificateArn(scope, jsii.String("Certificate"), &props.CertificateARN)
	}
	return awscertificatemanager.NewCertificate(scope, jsii.String("Certificate"), &awscertificatemanager.CertificateProps{
		DomainName: &props.DomainName,
		Validation: awscertificatemanager.CertificateValidation_FromDns(zone),
	})
}
