package beginning

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	cdtypes "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"golang.org/x/sync/errgroup"

	"gitlab-codedeploy/internal/config"
)

// GitLabCalls and DeployCalls are what is asked of each account; of CodeDeploy's groups all, for the environment names none yet.
var (
	GitLabCalls = []string{"ec2:DescribeAvailabilityZones", "ec2:DescribeVpcs", "acm:ListCertificates", "route53:ListHostedZones", "ssm:GetParameters"}
	DeployCalls = []string{"ec2:DescribeVpcs", "codedeploy:ListApplications", "codedeploy:ListDeploymentGroups everything", "codedeploy:GetDeploymentGroup everything"}
)

// Certificate is an issued one.
type Certificate struct {
	ARN   string
	Names []string
}

// Found is what there is in both accounts, in the Region.
type Found struct {
	Zones        []string
	Networks     []netip.Prefix // of all VPCs
	Certificates []Certificate
	HostedZones  []config.HostedZone
	Groups       []Group // blue/green
}

// Look asks both accounts side by side.
func Look(ctx context.Context, gitlab, deploy aws.Config) (Found, error) {
	var found Found
	var networks [2][]netip.Prefix
	asking, ctx := errgroup.WithContext(ctx)
	for i, account := range []aws.Config{gitlab, deploy} {
		asking.Go(func() (err error) {
			networks[i], err = networksOf(ctx, ec2.NewFromConfig(account))
			return err
		})
	}
	asking.Go(func() (err error) { found.Zones, err = zones(ctx, ec2.NewFromConfig(gitlab)); return err })
	asking.Go(func() (err error) { found.Certificates, err = certificates(ctx, acm.NewFromConfig(gitlab)); return err })
	asking.Go(func() (err error) {
		found.HostedZones, err = hostedZones(ctx, route53.NewFromConfig(gitlab))
		return err
	})
	asking.Go(func() (err error) { found.Groups, err = blueGreen(ctx, codedeploy.NewFromConfig(deploy)); return err })
	if err := asking.Wait(); err != nil {
		return Found{}, err
	}
	found.Networks = append(networks[0], networks[1]...)
	return found, nil
}

func zones(ctx context.Context, client *ec2.Client) ([]string, error) {
	out, err := client.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{})
	if err != nil {
		return nil, fmt.Errorf("list the zones: %w", err)
	}
	var names []string
	for _, zone := range out.AvailabilityZones {
		// No Local Zones: not all of them have NAT gateways.
		if zone.State == ec2types.AvailabilityZoneStateAvailable && aws.ToString(zone.ZoneType) != "local-zone" && aws.ToString(zone.ZoneType) != "wavelength-zone" {
			names = append(names, aws.ToString(zone.ZoneName))
		}
	}
	slices.Sort(names)
	if len(names) < 2 {
		return nil, fmt.Errorf("list the zones: got %d, want two for a load balancer", len(names))
	}
	return names[:2], nil
}

func networksOf(ctx context.Context, client *ec2.Client) ([]netip.Prefix, error) {
	var found []netip.Prefix
	pages := ec2.NewDescribeVpcsPaginator(client, &ec2.DescribeVpcsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the VPCs: %w", err)
		}
		for _, vpc := range page.Vpcs {
			blocks := []string{aws.ToString(vpc.CidrBlock)}
			for _, more := range vpc.CidrBlockAssociationSet {
				blocks = append(blocks, aws.ToString(more.CidrBlock))
			}
			for _, block := range blocks {
				if prefix, err := netip.ParsePrefix(block); err == nil {
					found = append(found, prefix)
				}
			}
		}
	}
	return found, nil
}

func certificates(ctx context.Context, client *acm.Client) ([]Certificate, error) {
	var found []Certificate
	// Without key types only those of RSA 2048 come.
	// https://docs.aws.amazon.com/acm/latest/APIReference/API_ListCertificates.html
	pages := acm.NewListCertificatesPaginator(client, &acm.ListCertificatesInput{
		CertificateStatuses: []acmtypes.CertificateStatus{acmtypes.CertificateStatusIssued},
		Includes:            &acmtypes.Filters{KeyTypes: acmtypes.KeyAlgorithm("").Values()},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the certificates: %w", err)
		}
		for _, c := range page.CertificateSummaryList {
			found = append(found, Certificate{aws.ToString(c.CertificateArn), append([]string{aws.ToString(c.DomainName)}, c.SubjectAlternativeNameSummaries...)})
		}
	}
	return found, nil
}

func hostedZones(ctx context.Context, client *route53.Client) ([]config.HostedZone, error) {
	var found []config.HostedZone
	pages := route53.NewListHostedZonesPaginator(client, &route53.ListHostedZonesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the hosted zones: %w", err)
		}
		for _, zone := range page.HostedZones {
			if zone.Config == nil || !zone.Config.PrivateZone {
				found = append(found, config.HostedZone{ID: strings.TrimPrefix(aws.ToString(zone.Id), "/hostedzone/"), Name: strings.TrimSuffix(aws.ToString(zone.Name), ".")})
			}
		}
	}
	return found, nil
}

// reading is how many deployment groups are asked for at a time.
const reading = 8

func blueGreen(ctx context.Context, client *codedeploy.Client) ([]Group, error) {
	var found []Group
	applications := codedeploy.NewListApplicationsPaginator(client, &codedeploy.ListApplicationsInput{})
	for applications.HasMorePages() {
		page, err := applications.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list CodeDeploy's applications: %w", err)
		}
		for _, application := range page.Applications {
			of, err := blueGreenOf(ctx, client, application)
			if err != nil {
				return nil, err
			}
			found = append(found, of...)
		}
	}
	return found, nil
}

func blueGreenOf(ctx context.Context, client *codedeploy.Client, application string) ([]Group, error) {
	var names []string
	pages := codedeploy.NewListDeploymentGroupsPaginator(client, &codedeploy.ListDeploymentGroupsInput{ApplicationName: &application})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the deployment groups of %s: %w", application, err)
		}
		names = append(names, page.DeploymentGroups...)
	}
	styles := make([]cdtypes.DeploymentType, len(names))
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(reading)
	for i, name := range names {
		asking.Go(func() error {
			out, err := client.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: &application, DeploymentGroupName: &name})
			if err != nil {
				return fmt.Errorf("read the deployment group %s of %s: %w", name, application, err)
			}
			if info := out.DeploymentGroupInfo; info != nil && info.DeploymentStyle != nil {
				styles[i] = info.DeploymentStyle.DeploymentType
			}
			return nil
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	var found []Group
	for i, name := range names {
		if styles[i] == cdtypes.DeploymentTypeBlueGreen {
			found = append(found, Group{application, name})
		}
	}
	return found, nil
}

// Images are the newest images of the systems for the instance types of server and runner.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters-ami.html
func Images(ctx context.Context, client *ssm.Client, server config.Server, runner config.Runner) (ofServer, ofRunner string, err error) {
	names := []string{imageParameter(server.OperatingSystem, server.Architecture()), imageParameter(runner.OperatingSystem, runner.Architecture())}
	out, err := client.GetParameters(ctx, &ssm.GetParametersInput{Names: slices.Compact(slices.Clone(names))})
	if err != nil {
		return "", "", fmt.Errorf("find the newest images: %w", err)
	}
	images := map[string]string{}
	for _, parameter := range out.Parameters {
		images[aws.ToString(parameter.Name)] = aws.ToString(parameter.Value)
	}
	for _, name := range names {
		if images[name] == "" {
			return "", "", fmt.Errorf("find the newest images: the Region has no parameter %s", name)
		}
	}
	return images[names[0]], images[names[1]], nil
}

func imageParameter(system, architecture string) string {
	if architecture == "aarch64" {
		architecture = "arm64"
	}
	if system == config.AmazonLinux2 {
		return "/aws/service/ami-amazon-linux-latest/amzn2-ami-hvm-" + architecture + "-gp2"
	}
	return "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-" + architecture
}

// CertificateFor is an issued certificate that is right for a name: one of that very name before one with a wildcard.
func (f Found) CertificateFor(name string) (arn string, exists bool) {
	_, parent, _ := strings.Cut(name, ".")
	for _, wanted := range []string{name, "*." + parent} {
		for _, c := range f.Certificates {
			if slices.Contains(c.Names, wanted) {
				return c.ARN, true
			}
		}
	}
	return "", false
}

// HostedZoneFor is the zone that a name lies in: the longest one.
func (f Found) HostedZoneFor(name string) (zone config.HostedZone, exists bool) {
	for _, z := range f.HostedZones {
		if (name == z.Name || strings.HasSuffix(name, "."+z.Name)) && len(z.Name) > len(zone.Name) {
			zone, exists = z, true
		}
	}
	return zone, exists
}

// Network is the ranges of a VPC and its subnets.
type Network struct {
	VPC    string
	Public []string
	GitLab string
}

// ErrNoRange says that every range that would be proposed is taken.
var ErrNoRange = errors.New("each of 10.0.0.0/16 to 10.255.0.0/16 overlaps with a VPC that there is: name a range with --vpc-cidr")

// FreeNetwork is a network that overlaps with no VPC of either account.
func (f Found) FreeNetwork() (Network, error) {
	for i := range 256 {
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(20 + i)}), 16) // 10.20, as in the example, and round
		if !slices.ContainsFunc(f.Networks, candidate.Overlaps) {
			return Divide(candidate.String())
		}
	}
	return Network{}, ErrNoRange
}

// Divide cuts a range into two public subnets and a private one.
func Divide(text string) (Network, error) {
	vpc, err := netip.ParsePrefix(text)
	if err != nil || !vpc.Addr().Is4() || vpc != vpc.Masked() || vpc.Bits() < 16 || vpc.Bits() > 25 {
		return Network{}, fmt.Errorf("got %q, want a range from /16 to /25 such as 10.20.0.0/16", text)
	}
	bits := max(24, vpc.Bits()+2)
	subnet := func(number int) string {
		address := vpc.Addr().As4()
		offset := number << (32 - bits)
		value := int(address[0])<<24 | int(address[1])<<16 | int(address[2])<<8 | int(address[3])
		value += offset
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), bits).String()
	}
	private := 2
	if vpc.Bits() <= 19 {
		private = 16 // room for more public ones
	}
	return Network{VPC: vpc.String(), Public: []string{subnet(0), subnet(1)}, GitLab: subnet(private)}, nil
}
