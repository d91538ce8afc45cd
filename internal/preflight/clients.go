package preflight

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
)

// Clients are an account's, each as small as the check that uses it.
type Clients struct {
	Stacks        StackReader
	Certificates  CertificateReader
	HostedZones   HostedZoneReader
	Zones         ZoneReader
	Images        ImageReader
	InstanceTypes InstanceTypeReader
	Instances     InstanceReader
	Volumes       VolumeReader
	Quotas        QuotaReader
	Addresses     AddressReader
	Gateways      GatewayReader
	Providers     ProviderReader
	Roles         RoleReader
	Buckets       BucketReader
	Groups        GroupReader
}

// NewClients makes the clients of an account.
func NewClients(loaded aws.Config) *Clients {
	ec2Client, iamClient := ec2.NewFromConfig(loaded), iam.NewFromConfig(loaded)
	return &Clients{
		Stacks:        cloudformation.NewFromConfig(loaded),
		Certificates:  acm.NewFromConfig(loaded),
		HostedZones:   route53.NewFromConfig(loaded),
		Zones:         ec2Client,
		Images:        ec2Client,
		InstanceTypes: ec2Client,
		Instances:     ec2Client,
		Volumes:       ec2Client,
		Quotas:        servicequotas.NewFromConfig(loaded),
		Addresses:     ec2Client,
		Gateways:      ec2Client,
		Providers:     iamClient,
		Roles:         iamClient,
		Buckets:       s3.NewFromConfig(loaded, pathStyle),
		Groups:        codedeploy.NewFromConfig(loaded),
	}
}

// pathStyle keeps a bucket's name out of the host's, where an endpoint of one's own would need a name server for it.
func pathStyle(o *s3.Options) { o.UsePathStyle = aws.ToString(o.BaseEndpoint) != "" }
