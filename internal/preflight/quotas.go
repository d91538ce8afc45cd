package preflight

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
)

// QuotaReader is the part of the Service Quotas client that tells of limits.
type QuotaReader interface {
	GetServiceQuota(context.Context, *servicequotas.GetServiceQuotaInput, ...func(*servicequotas.Options)) (*servicequotas.GetServiceQuotaOutput, error)
	GetAWSDefaultServiceQuota(context.Context, *servicequotas.GetAWSDefaultServiceQuotaInput, ...func(*servicequotas.Options)) (*servicequotas.GetAWSDefaultServiceQuotaOutput, error)
}

// AddressReader is the part of the EC2 client that lists VPCs and Elastic IPs.
type AddressReader interface {
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error)
	DescribeAddresses(context.Context, *ec2.DescribeAddressesInput, ...func(*ec2.Options)) (*ec2.DescribeAddressesOutput, error)
}

// GatewayReader is the part of the EC2 client that lists NAT gateways and where they are.
type GatewayReader interface {
	DescribeNatGateways(context.Context, *ec2.DescribeNatGatewaysInput, ...func(*ec2.Options)) (*ec2.DescribeNatGatewaysOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput, ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error)
}

// quota is a limit of which the stack takes one.
type quota struct {
	what, service, code string
	// count answers how much is taken, and the right that counting needs.
	count func(context.Context, *asking) (int, string, error)
}

// The codes are those that "aws service-quotas list-aws-default-service-quotas" prints.
// https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
var stackQuotas = []quota{
	{"VPCs in the Region", "vpc", "L-F678F1CE", countVPCs},
	{"Elastic IPs in the Region", "ec2", "L-0263D0A3", countAddresses},
	{"NAT gateways in the zone", "vpc", "L-FE5A380F", countGateways},
}

// quotas asks for room before there is a stack: a stack that is there has its own already.
func quotas(ctx context.Context, a *asking) []Finding {
	s, err := a.stack()
	if err != nil {
		return []Finding{a.unchecked(&a.config.GitLab.Network, describeStacks, err)}
	}
	if s.exists {
		return nil
	}
	return each(len(stackQuotas), func(i int) []Finding { return stackQuotas[i].check(ctx, a) })
}

func (q quota) check(ctx context.Context, a *asking) []Finding {
	at := &a.config.GitLab.Network
	limit, action, err := q.limit(ctx, a)
	if err != nil {
		return []Finding{a.unchecked(at, fmt.Sprintf("%s (%s)", action, q.what), err)}
	}
	taken, action, err := q.count(ctx, a)
	if err != nil {
		return []Finding{a.unchecked(at, action, err)}
	}
	if taken < limit {
		return nil
	}
	return []Finding{a.wrong(at, fmt.Sprintf("%d %s of account %s, of at most %d", taken, q.what, a.accountID(), limit), "room for one more",
		fmt.Sprintf("remove one, or ask for more: aws service-quotas request-service-quota-increase --service-code %s --quota-code %s --desired-value %d --region %s",
			q.service, q.code, limit+1, a.config.Region))}
}

// limit is the account's own, or AWS's default where the account has none of its own.
// https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
func (q quota) limit(ctx context.Context, a *asking) (limit int, action string, err error) {
	action = "servicequotas:GetServiceQuota"
	own, err := ask(ctx, a, a.Quotas.GetServiceQuota, &servicequotas.GetServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
	if err == nil && own.Quota != nil && own.Quota.Value != nil {
		return int(*own.Quota.Value), action, nil
	}
	if err != nil && code(err) != "NoSuchResourceException" {
		return 0, action, err
	}
	action = "servicequotas:GetAWSDefaultServiceQuota"
	common, err := ask(ctx, a, a.Quotas.GetAWSDefaultServiceQuota, &servicequotas.GetAWSDefaultServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
	if err != nil {
		return 0, action, err
	}
	if common.Quota == nil || common.Quota.Value == nil {
		return 0, action, fmt.Errorf("AWS answered without a value")
	}
	return int(*common.Quota.Value), action, nil
}

func countVPCs(ctx context.Context, a *asking) (int, string, error) {
	n := 0
	for in := (&ec2.DescribeVpcsInput{}); ; {
		out, err := ask(ctx, a, a.Addresses.DescribeVpcs, in)
		if err != nil {
			return 0, "ec2:DescribeVpcs", err
		}
		n += len(out.Vpcs)
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return n, "", nil
		}
	}
}

func countAddresses(ctx context.Context, a *asking) (int, string, error) {
	// The call knows no pages.
	out, err := ask(ctx, a, a.Addresses.DescribeAddresses, &ec2.DescribeAddressesInput{})
	if err != nil {
		return 0, "ec2:DescribeAddresses", err
	}
	return len(out.Addresses), "", nil
}

// countGateways counts those in the first zone: a gateway names its subnet, and not its zone. Those that failed or are
// gone do not count.
func countGateways(ctx context.Context, a *asking) (int, string, error) {
	subnets := map[string]bool{}
	for in := (&ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{{Name: aws.String("availability-zone"), Values: a.config.GitLab.Network.Zones[:1]}}}); ; {
		out, err := ask(ctx, a, a.Gateways.DescribeSubnets, in)
		if err != nil {
			return 0, "ec2:DescribeSubnets", err
		}
		for _, s := range out.Subnets {
			subnets[aws.ToString(s.SubnetId)] = true
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			break
		}
	}
	n := 0
	for in := (&ec2.DescribeNatGatewaysInput{Filter: []ec2types.Filter{{Name: aws.String("state"), Values: []string{"pending", "available", "deleting"}}}}); ; {
		out, err := ask(ctx, a, a.Gateways.DescribeNatGateways, in)
		if err != nil {
			return 0, "ec2:DescribeNatGateways", err
		}
		for _, g := range out.NatGateways {
			if subnets[aws.ToString(g.SubnetId)] {
				n++
			}
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return n, "", nil
		}
	}
}
