package preflight

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	codedeploytypes "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	quotatypes "github.com/aws/aws-sdk-go-v2/service/servicequotas/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
)

const settings = `environment: test
region: ap-northeast-1
gitlab:
  account: "111111111111"
  network:
    vpcCidr: 10.20.0.0/16
    zones: [ap-northeast-1a, ap-northeast-1c]
    publicSubnets: [10.20.0.0/24, 10.20.1.0/24]
    gitlabSubnet: 10.20.16.0/24
  loadBalancer:
    allowedRanges: [203.0.113.0/24]
    domainName: gitlab.example.com
    certificateArn: arn:aws:acm:ap-northeast-1:111111111111:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25
  server:
    version: 13.10.2
    imageId: ami-00000000000000001
    instanceType: m5.xlarge
    dataVolumeId: vol-00000000000000001
  runner:
    version: 13.10.0
    imageId: ami-00000000000000002
    instanceType: t4g.large
  breakGlassRoles: [break-glass]
deploy:
  account: "222222222222"
  artifacts:
    bucketName: example-deploy-test
  applications: [{name: web, readerRoles: [web-instance, "arn:aws:iam::222222222222:role/service/batch-instance"]}]
  deploymentGroups:
    - application: web
      deploymentGroup: web-blue-green
pipeline:
  issuerUrl: https://ci.example.com
  projectPath: platform/gitlab-codedeploy
  forkPipelines: issuer-is-18.2.2-or-later
`

// withHostedZone is settings with a zone in the certificate's place.
var withHostedZone = strings.Replace(settings, "    certificateArn: arn:aws:acm:ap-northeast-1:111111111111:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25\n",
	"    hostedZone:\n      id: Z0123456789ABCDEFGHIJ\n      name: example.com\n", 1)

const (
	arnOfProviderA = "arn:aws:iam::111111111111:oidc-provider/ci.example.com"
	arnOfProviderB = "arn:aws:iam::222222222222:oidc-provider/ci.example.com"
)

var today = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// cloud plays both accounts. As newCloud makes it, nothing is wrong.
type cloud struct {
	refuse map[string]error // by operation: it fails with this

	stacks      map[string]cfntypes.Stack
	belongs     map[string]cfntypes.StackResource // by physical id
	certificate *acmtypes.CertificateDetail
	zone        *route53.GetHostedZoneOutput
	zones       []ec2types.AvailabilityZone
	images      map[string]ec2types.Image
	types       map[string]ec2types.ArchitectureType
	offered     map[string][]string // zones by type
	instances   []ec2types.Instance
	volumes     map[string]ec2types.Volume
	quotas      map[string]float64 // by code; others have the default, 5
	vpcs        int
	addresses   int
	gateways    []string          // subnets
	subnets     map[string]string // zones
	providers   map[string][]string
	roles       map[string]string // ARNs
	buckets     map[string]string // of account B, with their Regions
	taken       map[string]string // of other accounts
	groups      map[string][]codedeploytypes.DeploymentGroupInfo

	mu    sync.Mutex
	calls map[string]int
	// before is called at the start of each call.
	before func(ctx context.Context, operation string) error
}

func newCloud() *cloud {
	return &cloud{
		refuse: map[string]error{},
		stacks: map[string]cfntypes.Stack{},
		certificate: &acmtypes.CertificateDetail{
			Status: acmtypes.CertificateStatusIssued, DomainName: aws.String("gitlab.example.com"), NotAfter: aws.Time(today.AddDate(0, 6, 0)),
		},
		zone: &route53.GetHostedZoneOutput{HostedZone: &route53types.HostedZone{
			Id: aws.String("/hostedzone/Z0123456789ABCDEFGHIJ"), Name: aws.String("example.com."), Config: &route53types.HostedZoneConfig{},
		}},
		zones: []ec2types.AvailabilityZone{zoneNamed("ap-northeast-1a"), zoneNamed("ap-northeast-1c"), zoneNamed("ap-northeast-1d")},
		images: map[string]ec2types.Image{
			"ami-00000000000000001": amazons("amzn2-ami-hvm-2.0.20260427.1-x86_64-gp2", ec2types.ArchitectureValuesX8664),
			"ami-00000000000000002": amazons("al2023-ami-2023.11.20260427.1-kernel-6.1-arm64", ec2types.ArchitectureValuesArm64),
		},
		types:   map[string]ec2types.ArchitectureType{"m5.xlarge": ec2types.ArchitectureTypeX8664, "t4g.large": ec2types.ArchitectureTypeArm64},
		offered: map[string][]string{"m5.xlarge": {"ap-northeast-1a", "ap-northeast-1c"}, "t4g.large": {"ap-northeast-1a"}},
		volumes: map[string]ec2types.Volume{"vol-00000000000000001": {State: ec2types.VolumeStateAvailable, AvailabilityZone: aws.String("ap-northeast-1a")}},
		vpcs:    1,
		roles: map[string]string{
			"break-glass":    "arn:aws:iam::111111111111:role/break-glass",
			"web-instance":   "arn:aws:iam::222222222222:role/web-instance",
			"batch-instance": "arn:aws:iam::222222222222:role/service/batch-instance",
		},
		groups: map[string][]codedeploytypes.DeploymentGroupInfo{"web": {blueGreen("web-blue-green")}},
		calls:  map[string]int{},
	}
}

func zoneNamed(name string) ec2types.AvailabilityZone {
	return ec2types.AvailabilityZone{ZoneName: &name, ZoneType: aws.String("availability-zone"), State: ec2types.AvailabilityZoneStateAvailable}
}

func amazons(name string, architecture ec2types.ArchitectureValues) ec2types.Image {
	return ec2types.Image{
		Name: &name, Architecture: architecture, State: ec2types.ImageStateAvailable,
		ImageOwnerAlias: aws.String("amazon"), PlatformDetails: aws.String("Linux/UNIX"),
	}
}

func blueGreen(name string) codedeploytypes.DeploymentGroupInfo {
	return codedeploytypes.DeploymentGroupInfo{DeploymentGroupName: &name, DeploymentStyle: &codedeploytypes.DeploymentStyle{
		DeploymentType: codedeploytypes.DeploymentTypeBlueGreen, DeploymentOption: codedeploytypes.DeploymentOptionWithTrafficControl,
	}}
}

// failure is an error as the services answer it that have no types for theirs.
func failure(code, format string, args ...any) error {
	return &smithy.OperationError{ServiceID: "Any", OperationName: "Call",
		Err: &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...)}}
}

// everMade are the operations that the tests have made.
var everMade sync.Map

// TestMain looks for rights that no check needs, once all tests have run: a part of them cannot tell.
func TestMain(m *testing.M) {
	status := m.Run()
	if status != 0 || flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.list").Value.String() != "" {
		os.Exit(status)
	}
	// What IAM calls otherwise than S3 does.
	operation := map[string]string{"s3:ListAllMyBuckets": "ListBuckets", "s3:ListBucket": "HeadBucket"}
	for _, action := range append(Actions(A), Actions(B)...) {
		name := operation[action]
		if name == "" {
			_, name, _ = strings.Cut(action, ":")
		}
		if _, made := everMade.Load(name); !made {
			fmt.Fprintln(os.Stderr, "a right that no check has needed:", action)
			status = 1
		}
	}
	os.Exit(status)
}

func (c *cloud) call(ctx context.Context, operation string) error {
	c.mu.Lock()
	c.calls[operation]++
	everMade.Store(operation, true)
	c.mu.Unlock()
	if c.before != nil {
		if err := c.before(ctx, operation); err != nil {
			return err
		}
	}
	if err := c.refuse[operation]; err != nil {
		return err
	}
	return c.refuse["*"]
}

func (c *cloud) DescribeStacks(ctx context.Context, in *cloudformation.DescribeStacksInput, _ ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error) {
	if err := c.call(ctx, "DescribeStacks"); err != nil {
		return nil, err
	}
	s, ok := c.stacks[*in.StackName]
	if !ok {
		return nil, failure("ValidationError", "Stack with id %s does not exist", *in.StackName)
	}
	return &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{s}}, nil
}

func (c *cloud) DescribeStackResources(ctx context.Context, in *cloudformation.DescribeStackResourcesInput, _ ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourcesOutput, error) {
	if err := c.call(ctx, "DescribeStackResources"); err != nil {
		return nil, err
	}
	r, ok := c.belongs[*in.PhysicalResourceId]
	if !ok {
		return nil, failure("ValidationError", "Stack for %s does not exist", *in.PhysicalResourceId)
	}
	r.PhysicalResourceId = in.PhysicalResourceId
	return &cloudformation.DescribeStackResourcesOutput{StackResources: []cfntypes.StackResource{{PhysicalResourceId: aws.String("another")}, r}}, nil
}

func (c *cloud) DescribeCertificate(ctx context.Context, in *acm.DescribeCertificateInput, _ ...func(*acm.Options)) (*acm.DescribeCertificateOutput, error) {
	if err := c.call(ctx, "DescribeCertificate"); err != nil {
		return nil, err
	}
	if c.certificate == nil {
		return nil, &acmtypes.ResourceNotFoundException{Message: aws.String("Could not find certificate " + *in.CertificateArn)}
	}
	return &acm.DescribeCertificateOutput{Certificate: c.certificate}, nil
}

func (c *cloud) GetHostedZone(ctx context.Context, in *route53.GetHostedZoneInput, _ ...func(*route53.Options)) (*route53.GetHostedZoneOutput, error) {
	if err := c.call(ctx, "GetHostedZone"); err != nil {
		return nil, err
	}
	if c.zone == nil {
		return nil, &route53types.NoSuchHostedZone{Message: aws.String("No hosted zone found with ID: " + *in.Id)}
	}
	return c.zone, nil
}

func (c *cloud) DescribeAvailabilityZones(ctx context.Context, in *ec2.DescribeAvailabilityZonesInput, _ ...func(*ec2.Options)) (*ec2.DescribeAvailabilityZonesOutput, error) {
	if err := c.call(ctx, "DescribeAvailabilityZones"); err != nil {
		return nil, err
	}
	return &ec2.DescribeAvailabilityZonesOutput{AvailabilityZones: c.zones}, nil
}

func (c *cloud) DescribeImages(ctx context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	if err := c.call(ctx, "DescribeImages"); err != nil {
		return nil, err
	}
	image, ok := c.images[in.ImageIds[0]]
	if !ok {
		return nil, failure("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", in.ImageIds[0])
	}
	return &ec2.DescribeImagesOutput{Images: []ec2types.Image{image}}, nil
}

func (c *cloud) DescribeInstanceTypes(ctx context.Context, in *ec2.DescribeInstanceTypesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error) {
	if err := c.call(ctx, "DescribeInstanceTypes"); err != nil {
		return nil, err
	}
	architecture, ok := c.types[string(in.InstanceTypes[0])]
	if !ok {
		return nil, failure("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", in.InstanceTypes[0])
	}
	return &ec2.DescribeInstanceTypesOutput{InstanceTypes: []ec2types.InstanceTypeInfo{{
		ProcessorInfo: &ec2types.ProcessorInfo{SupportedArchitectures: []ec2types.ArchitectureType{architecture}},
	}}}, nil
}

func (c *cloud) DescribeInstanceTypeOfferings(ctx context.Context, in *ec2.DescribeInstanceTypeOfferingsInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceTypeOfferingsOutput, error) {
	if err := c.call(ctx, "DescribeInstanceTypeOfferings"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeInstanceTypeOfferingsOutput{}
	for _, zone := range c.offered[in.Filters[0].Values[0]] {
		out.InstanceTypeOfferings = append(out.InstanceTypeOfferings, ec2types.InstanceTypeOffering{Location: &zone})
	}
	return out, nil
}

func (c *cloud) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	if err := c.call(ctx, "DescribeInstances"); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(c.instances, func(i ec2types.Instance) bool { return aws.ToString(i.InstanceId) == in.InstanceIds[0] })
	if i < 0 {
		return nil, failure("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", in.InstanceIds[0])
	}
	return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: c.instances[i : i+1]}}}, nil
}

func (c *cloud) DescribeVolumes(ctx context.Context, in *ec2.DescribeVolumesInput, _ ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error) {
	if err := c.call(ctx, "DescribeVolumes"); err != nil {
		return nil, err
	}
	volume, ok := c.volumes[in.VolumeIds[0]]
	if !ok {
		return nil, failure("InvalidVolume.NotFound", "The volume '%s' does not exist.", in.VolumeIds[0])
	}
	return &ec2.DescribeVolumesOutput{Volumes: []ec2types.Volume{volume}}, nil
}

func (c *cloud) GetServiceQuota(ctx context.Context, in *servicequotas.GetServiceQuotaInput, _ ...func(*servicequotas.Options)) (*servicequotas.GetServiceQuotaOutput, error) {
	if err := c.call(ctx, "GetServiceQuota"); err != nil {
		return nil, err
	}
	value, ok := c.quotas[*in.QuotaCode]
	if !ok {
		return nil, &quotatypes.NoSuchResourceException{Message: aws.String("The request failed because the specified service quota does not exist.")}
	}
	return &servicequotas.GetServiceQuotaOutput{Quota: &quotatypes.ServiceQuota{Value: &value}}, nil
}

func (c *cloud) GetAWSDefaultServiceQuota(ctx context.Context, in *servicequotas.GetAWSDefaultServiceQuotaInput, _ ...func(*servicequotas.Options)) (*servicequotas.GetAWSDefaultServiceQuotaOutput, error) {
	if err := c.call(ctx, "GetAWSDefaultServiceQuota"); err != nil {
		return nil, err
	}
	return &servicequotas.GetAWSDefaultServiceQuotaOutput{Quota: &quotatypes.ServiceQuota{Value: aws.Float64(5)}}, nil
}

// Lists come in pages of two.
func page[T any](all []T, token *string) (part []T, next *string) {
	from := 0
	_, _ = fmt.Sscan(aws.ToString(token), &from)
	if len(all) > from+2 {
		return all[from : from+2], aws.String(fmt.Sprint(from + 2))
	}
	return all[from:], nil
}

func (c *cloud) DescribeVpcs(ctx context.Context, in *ec2.DescribeVpcsInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error) {
	if err := c.call(ctx, "DescribeVpcs"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeVpcsOutput{}
	out.Vpcs, out.NextToken = page(make([]ec2types.Vpc, c.vpcs), in.NextToken)
	return out, nil
}

func (c *cloud) DescribeAddresses(ctx context.Context, _ *ec2.DescribeAddressesInput, _ ...func(*ec2.Options)) (*ec2.DescribeAddressesOutput, error) {
	if err := c.call(ctx, "DescribeAddresses"); err != nil {
		return nil, err
	}
	return &ec2.DescribeAddressesOutput{Addresses: make([]ec2types.Address, c.addresses)}, nil
}

func (c *cloud) DescribeSubnets(ctx context.Context, in *ec2.DescribeSubnetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error) {
	if err := c.call(ctx, "DescribeSubnets"); err != nil {
		return nil, err
	}
	var all []ec2types.Subnet
	for id, zone := range c.subnets {
		if slices.Contains(in.Filters[0].Values, zone) {
			all = append(all, ec2types.Subnet{SubnetId: &id})
		}
	}
	slices.SortFunc(all, func(a, b ec2types.Subnet) int { return strings.Compare(*a.SubnetId, *b.SubnetId) })
	out := &ec2.DescribeSubnetsOutput{}
	out.Subnets, out.NextToken = page(all, in.NextToken)
	return out, nil
}

func (c *cloud) DescribeNatGateways(ctx context.Context, in *ec2.DescribeNatGatewaysInput, _ ...func(*ec2.Options)) (*ec2.DescribeNatGatewaysOutput, error) {
	if err := c.call(ctx, "DescribeNatGateways"); err != nil {
		return nil, err
	}
	var all []ec2types.NatGateway
	for _, subnet := range c.gateways {
		all = append(all, ec2types.NatGateway{SubnetId: &subnet})
	}
	out := &ec2.DescribeNatGatewaysOutput{}
	out.NatGateways, out.NextToken = page(all, in.NextToken)
	return out, nil
}

func (c *cloud) GetOpenIDConnectProvider(ctx context.Context, in *iam.GetOpenIDConnectProviderInput, _ ...func(*iam.Options)) (*iam.GetOpenIDConnectProviderOutput, error) {
	if err := c.call(ctx, "GetOpenIDConnectProvider"); err != nil {
		return nil, err
	}
	audiences, ok := c.providers[*in.OpenIDConnectProviderArn]
	if !ok {
		return nil, &iamtypes.NoSuchEntityException{Message: aws.String("OpenIDConnect Provider not found for arn " + *in.OpenIDConnectProviderArn)}
	}
	return &iam.GetOpenIDConnectProviderOutput{ClientIDList: audiences}, nil
}

func (c *cloud) GetRole(ctx context.Context, in *iam.GetRoleInput, _ ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	if err := c.call(ctx, "GetRole"); err != nil {
		return nil, err
	}
	arn, ok := c.roles[*in.RoleName]
	if !ok {
		return nil, &iamtypes.NoSuchEntityException{Message: aws.String("The role with name " + *in.RoleName + " cannot be found.")}
	}
	return &iam.GetRoleOutput{Role: &iamtypes.Role{Arn: &arn}}, nil
}

func (c *cloud) BatchGetDeploymentGroups(ctx context.Context, in *codedeploy.BatchGetDeploymentGroupsInput, _ ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentGroupsOutput, error) {
	if err := c.call(ctx, "BatchGetDeploymentGroups"); err != nil {
		return nil, err
	}
	if len(in.DeploymentGroupNames) > 100 {
		return nil, &codedeploytypes.BatchLimitExceededException{}
	}
	groups, ok := c.groups[*in.ApplicationName]
	if !ok {
		return nil, &codedeploytypes.ApplicationDoesNotExistException{Message: aws.String("No application found for name: " + *in.ApplicationName)}
	}
	// Names that it does not know are left out, and told in a text.
	out := &codedeploy.BatchGetDeploymentGroupsOutput{ErrorMessage: aws.String("")}
	for _, g := range groups {
		if slices.Contains(in.DeploymentGroupNames, *g.DeploymentGroupName) {
			out.DeploymentGroupsInfo = append(out.DeploymentGroupsInfo, g)
		}
	}
	return out, nil
}

// s3Client is the SDK's own, on a server: HeadBucket's answers are a status and headers, and nothing else.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
func (c *cloud) s3Client(t *testing.T) *s3.Client {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		operation := map[string]string{http.MethodHead: "HeadBucket", http.MethodGet: "ListBuckets"}[r.Method]
		if err := c.call(r.Context(), operation); err != nil {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>User: me is not authorized to perform: s3:ListAllMyBuckets</Message></Error>")
			return
		}
		if operation == "ListBuckets" {
			_, _ = fmt.Fprint(w, "<ListAllMyBucketsResult><Buckets>")
			for name := range c.buckets {
				_, _ = fmt.Fprintf(w, "<Bucket><Name>%s</Name></Bucket>", name)
			}
			_, _ = fmt.Fprint(w, "</Buckets></ListAllMyBucketsResult>")
			return
		}
		name := strings.Trim(r.URL.Path, "/")
		region, mine := c.buckets[name]
		if !mine {
			region = c.taken[name]
		}
		switch {
		case region == "":
			w.WriteHeader(http.StatusNotFound)
			return
		case region != "ap-northeast-1":
			w.Header().Set("x-amz-bucket-region", region)
			w.WriteHeader(http.StatusMovedPermanently)
			return
		}
		w.Header().Set("x-amz-bucket-region", region)
		if !mine || r.Header.Get("x-amz-expected-bucket-owner") != "222222222222" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	return s3.New(s3.Options{
		Region: "ap-northeast-1", BaseEndpoint: &server.URL, UsePathStyle: true, HTTPClient: server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Retryer:     aws.NopRetryer{},
	})
}

// clients are the same for both accounts; what they are asked for tells them apart.
func (c *cloud) clients(t *testing.T) *Clients {
	return &Clients{
		Stacks: c, Certificates: c, HostedZones: c, Zones: c, Images: c, InstanceTypes: c, Instances: c, Volumes: c, Quotas: c,
		Addresses: c, Gateways: c, Providers: c, Roles: c, Buckets: c.s3Client(t), Groups: c,
	}
}

func sourceOf(t *testing.T, text string) *config.Source {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "test.yaml"), []byte(text), 0o600))
	source, err := config.LoadSource(dir, "test")
	require.NoError(t, err)
	return source
}

// ask runs all checks of both accounts for a configuration.
func (c *cloud) ask(t *testing.T, text string, changes ...func(*Preflight)) Report {
	t.Helper()
	clients := c.clients(t)
	p := &Preflight{Source: sourceOf(t, text), Clients: map[Account]*Clients{A: clients, B: clients}, Now: func() time.Time { return today }}
	for _, change := range changes {
		change(p)
	}
	return p.Run(t.Context())
}
