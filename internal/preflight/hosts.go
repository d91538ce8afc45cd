package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"gitlab-codedeploy/internal/config"
)

// ImageReader is the part of the EC2 client that tells of images.
type ImageReader interface {
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
}

// InstanceTypeReader is the part of the EC2 client that tells of instance types.
type InstanceTypeReader interface {
	DescribeInstanceTypes(context.Context, *ec2.DescribeInstanceTypesInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error)
	DescribeInstanceTypeOfferings(context.Context, *ec2.DescribeInstanceTypeOfferingsInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceTypeOfferingsOutput, error)
}

// InstanceReader is the part of the EC2 client that tells of instances.
type InstanceReader interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
}

// host is an instance that the stack makes in the first zone.
type host struct {
	image, instanceType, operatingSystem *string
	output                               string // of the stack, with the instance's id
	// keepsSystem is for a host whose data is of its system. mayGo says that the deploy may replace it all the same.
	keepsSystem, mayGo bool
}

func hosts(ctx context.Context, a *asking) []Finding {
	server, runner := &a.config.GitLab.Server, &a.config.GitLab.Runner
	both := []host{
		{&server.ImageID, &server.InstanceType, &server.OperatingSystem, "ServerInstanceId", true, server.AllowReplacement},
		{&runner.ImageID, &runner.InstanceType, &runner.OperatingSystem, "RunnerInstanceId", false, false},
	}
	return each(len(both), func(i int) []Finding { return both[i].check(ctx, a) })
}

func (h host) check(ctx context.Context, a *asking) []Finding {
	running, stays := h.runsAlready(ctx, a)
	found := h.checkRunning(ctx, a, running, stays)
	if stays {
		return found
	}
	image, more := h.checkImage(ctx, a)
	found = append(found, more...)
	architectures, more := h.checkType(ctx, a)
	found = append(found, more...)
	if image != nil && len(architectures) > 0 && !slices.Contains(architectures, types.ArchitectureType(image.Architecture)) {
		found = append(found, a.wrong(h.instanceType,
			fmt.Sprintf("%s, of %s, for an image of %s", quote(*h.instanceType), joined(architectures), harmless(string(image.Architecture))),
			"an instance type of the image's processor architecture", "choose another instance type, or the image for this one"))
	}
	return append(found, h.checkOffering(ctx, a)...)
}

// runsAlready finds the host that the stack has, nil for none. A deploy leaves it as it is when image and type are those that
// it has. Images go, with the years, and the hosts made from them stay: their deploys must not fail on that. Not knowing
// means asking.
func (h host) runsAlready(ctx context.Context, a *asking) (running *types.Instance, stays bool) {
	s, err := a.stack()
	id := s.outputs[h.output]
	if err != nil || !s.exists || id == "" {
		return nil, false
	}
	out, err := ask(ctx, a, a.Instances.DescribeInstances, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return nil, false
	}
	for _, reservation := range out.Reservations {
		for _, instance := range reservation.Instances {
			return &instance, aws.ToString(instance.ImageId) == *h.image && string(instance.InstanceType) == *h.instanceType
		}
	}
	return nil, false
}

// checkRunning compares the system of the host that there is with the configuration's. An image that is gone tells nothing.
//
// The server's database is in the order that its system has for text: ADR 0049.
func (h host) checkRunning(ctx context.Context, a *asking, running *types.Instance, stays bool) []Finding {
	if running == nil || !stays && !h.keepsSystem {
		return nil // a new one will be made
	}
	out, err := ask(ctx, a, a.Images.DescribeImages, &ec2.DescribeImagesInput{ImageIds: []string{aws.ToString(running.ImageId)}})
	if err != nil || len(out.Images) == 0 {
		return nil
	}
	system := operatingSystem(out.Images[0])
	if system == "" || system == *h.operatingSystem {
		return nil
	}
	got := fmt.Sprintf("%s, and %s of this environment is %s", quote(*h.operatingSystem), quote(aws.ToString(running.InstanceId)), system)
	switch {
	case stays:
		return []Finding{a.wrong(h.operatingSystem, got, "the system that the host has: security updates are chosen by it", "write "+system+"; to move to another system: docs/amazon-linux-2023.md")}
	case h.mayGo:
		return []Finding{a.warning(h.operatingSystem, got, "a data volume that no server of another system has used: the installation refuses it otherwise",
			"take a backup over to a new server with a new data volume: docs/amazon-linux-2023.md")}
	}
	return []Finding{a.wrong(h.operatingSystem, got, "the system that the server has: its data volume is not for another one",
		"take a backup over to a new server with a new data volume: docs/amazon-linux-2023.md")}
}

// remedy is the command that names the current image.
// https://docs.aws.amazon.com/linux/al2023/ug/ec2.html
func (h host) remedy(a *asking, architecture string) string {
	parameter := "amzn2-ami-hvm-" + architecture + "-gp2"
	if *h.operatingSystem == config.AmazonLinux2023 {
		parameter = "al2023-ami-kernel-default-" + architecture
	}
	return "take the id that this prints: aws ssm get-parameter --region " + a.config.Region +
		" --name /aws/service/ami-amazon-linux-latest/" + parameter + " --query Parameter.Value --output text"
}

// checkImage answers nil for an image that there is nothing to learn from.
func (h host) checkImage(ctx context.Context, a *asking) (*types.Image, []Finding) {
	wanted := "an image that account " + a.accountID() + " can use in " + a.config.Region
	out, err := ask(ctx, a, a.Images.DescribeImages, &ec2.DescribeImagesInput{ImageIds: []string{*h.image}})
	switch {
	// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
	case code(err) == "InvalidAMIID.NotFound" || code(err) == "InvalidAMIID.Unavailable" || err == nil && len(out.Images) == 0:
		return nil, []Finding{a.wrong(h.image, quote(*h.image)+", which is not there, or not shared with the account", wanted, h.remedy(a, "x86_64"))}
	case err != nil:
		return nil, []Finding{a.unchecked(h.image, "ec2:DescribeImages", err)}
	}
	image := out.Images[0]
	if image.State != types.ImageStateAvailable {
		return &image, []Finding{a.wrong(h.image, fmt.Sprintf("%s, which is %s", quote(*h.image), quote(image.State)), wanted, h.remedy(a, string(image.Architecture)))}
	}
	return &image, h.checkSystem(a, image)
}

// checkSystem believes only what Amazon says about its own images: anybody can give any name to an image.
func (h host) checkSystem(a *asking, image types.Image) []Finding {
	system := operatingSystem(image)
	name := quote(aws.ToString(image.Name))
	switch {
	case system == "":
		return []Finding{a.unknown(h.image, "%s is not one of Amazon's own images (its name is %s): make sure that it is %s with the SSM Agent", *h.image, name, *h.operatingSystem)}
	case system != *h.operatingSystem:
		return []Finding{a.wrong(h.image, fmt.Sprintf("%s, which is %s (its name is %s)", quote(*h.image), system, name), *h.operatingSystem, h.remedy(a, string(image.Architecture)))}
	// https://docs.aws.amazon.com/linux/al2023/ug/AMI-minimal-and-standard-differences.html
	case strings.Contains(aws.ToString(image.Name), "-minimal-"):
		return []Finding{a.wrong(h.image, fmt.Sprintf("%s, which is minimal (its name is %s)", quote(*h.image), name),
			"an image with the SSM Agent in it: nothing else reaches the host", h.remedy(a, string(image.Architecture)))}
	}
	return nil
}

// operatingSystem is "" when nothing reliable tells it.
func operatingSystem(image types.Image) string {
	// Billing goes by it, so nobody can choose it.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/billing-info-fields.html
	if details := aws.ToString(image.PlatformDetails); details != "" && details != "Linux/UNIX" {
		return harmless(details)
	}
	if aws.ToString(image.ImageOwnerAlias) != "amazon" {
		return ""
	}
	for prefix, system := range map[string]string{
		"amzn2-ami-": config.AmazonLinux2, "al2023-ami-": config.AmazonLinux2023, "al2022-ami-": "Amazon Linux 2022", "amzn-ami-": "Amazon Linux 1", "ubuntu/": "Ubuntu",
	} {
		if strings.HasPrefix(aws.ToString(image.Name), prefix) {
			return system
		}
	}
	return ""
}

// checkType answers the architectures of the instance type; none when it does not know them.
func (h host) checkType(ctx context.Context, a *asking) ([]types.ArchitectureType, []Finding) {
	out, err := ask(ctx, a, a.InstanceTypes.DescribeInstanceTypes, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceType(*h.instanceType)}})
	switch {
	case code(err) == "InvalidInstanceType" || err == nil && len(out.InstanceTypes) == 0:
		return nil, []Finding{a.wrong(h.instanceType, quote(*h.instanceType)+", which there is not in "+a.config.Region, "an instance type of the Region", "choose another one")}
	case err != nil:
		return nil, []Finding{a.unchecked(h.instanceType, "ec2:DescribeInstanceTypes", err)}
	case out.InstanceTypes[0].ProcessorInfo == nil:
		return nil, []Finding{a.unknown(h.instanceType, "AWS does not name the processor architecture of %s", *h.instanceType)}
	}
	return out.InstanceTypes[0].ProcessorInfo.SupportedArchitectures, nil
}

// checkOffering asks whether the first zone has the type, which the Region has: checkType asks for that.
func (h host) checkOffering(ctx context.Context, a *asking) []Finding {
	zone := a.config.GitLab.Network.Zones[0]
	out, err := ask(ctx, a, a.InstanceTypes.DescribeInstanceTypeOfferings, &ec2.DescribeInstanceTypeOfferingsInput{
		LocationType: types.LocationTypeAvailabilityZone,
		Filters:      []types.Filter{{Name: aws.String("instance-type"), Values: []string{*h.instanceType}}},
	})
	if err != nil {
		return []Finding{a.unchecked(h.instanceType, "ec2:DescribeInstanceTypeOfferings", err)}
	}
	var zones []string
	for _, offering := range out.InstanceTypeOfferings {
		zones = append(zones, aws.ToString(offering.Location))
	}
	if len(zones) == 0 || slices.Contains(zones, zone) {
		return nil
	}
	slices.Sort(zones)
	return []Finding{a.wrong(h.instanceType, fmt.Sprintf("%s, which there is not in %s", quote(*h.instanceType), zone), "an instance type of the first zone",
		fmt.Sprintf("choose another type, or put one of its zones first in gitlab.network.zones: %s", harmless(strings.Join(zones, ", "))))}
}

func joined[T ~string](values []T) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, harmless(string(v)))
	}
	return strings.Join(texts, ", ")
}
