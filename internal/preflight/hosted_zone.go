package preflight

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"gitlab-codedeploy/internal/config"
)

// HostedZoneReader is the part of the Route 53 client that tells of zones.
type HostedZoneReader interface {
	GetHostedZone(context.Context, *route53.GetHostedZoneInput, ...func(*route53.Options)) (*route53.GetHostedZoneOutput, error)
}

func hasHostedZone(c *config.Config) bool { return c.GitLab.LoadBalancer.HostedZone != nil }

// hostedZone asks for the zone that the stack makes its records in.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetHostedZone.html
func hostedZone(ctx context.Context, a *asking) []Finding {
	zone := a.config.GitLab.LoadBalancer.HostedZone
	wanted := "a public hosted zone of account " + a.accountID()
	out, err := ask(ctx, a, a.HostedZones.GetHostedZone, &route53.GetHostedZoneInput{Id: &zone.ID})
	switch {
	case code(err) == "NoSuchHostedZone":
		return []Finding{a.wrong(&zone.ID, quote(zone.ID)+", which does not exist", wanted, "write the id that Route 53's console shows for "+zone.Name)}
	case ofAnotherAccount(err):
		return []Finding{a.wrong(&zone.ID, quote(zone.ID)+", a zone of another account", wanted,
			"use certificateArn instead of hostedZone, and point the name at the load balancer yourself")}
	case err != nil:
		return []Finding{a.unchecked(&zone.ID, "route53:GetHostedZone", err)}
	}
	var found []Finding
	if name := strings.TrimSuffix(aws.ToString(out.HostedZone.Name), "."); name != zone.Name {
		found = append(found, a.wrong(&zone.Name, quote(zone.Name)+" for a zone that is named "+quote(name), "the zone's own name", "correct the id or the name"))
	}
	if config := out.HostedZone.Config; config != nil && config.PrivateZone {
		found = append(found, a.wrong(&zone.ID, quote(zone.ID)+", a private zone", wanted, "ACM validates by public DNS only: name the public zone of "+zone.Name))
	}
	return found
}

// ofAnotherAccount tells Route 53's refusal of a zone that is not the account's from IAM's, which names the missing action.
func ofAnotherAccount(err error) bool {
	return code(err) == "AccessDenied" && strings.Contains(err.Error(), "is not authorized to access this resource")
}
