package preflight

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"gitlab-codedeploy/internal/config"
)

// VolumeReader is the part of the EC2 client that tells of volumes.
type VolumeReader interface {
	DescribeVolumes(context.Context, *ec2.DescribeVolumesInput, ...func(*ec2.Options)) (*ec2.DescribeVolumesOutput, error)
}

func hasDataVolume(c *config.Config) bool { return c.GitLab.Server.DataVolumeID != "" }

// dataVolume asks for the volume that takes the place of the stack's own. It has to be where the server is, and free,
// unless it is this very server's.
func dataVolume(ctx context.Context, a *asking) []Finding {
	id := &a.config.GitLab.Server.DataVolumeID
	zone := a.config.GitLab.Network.Zones[0]
	out, err := ask(ctx, a, a.Volumes.DescribeVolumes, &ec2.DescribeVolumesInput{VolumeIds: []string{*id}})
	switch {
	case code(err) == "InvalidVolume.NotFound" || err == nil && len(out.Volumes) == 0:
		return []Finding{a.wrong(id, quote(*id)+", which does not exist in "+a.config.Region, "a volume of account "+a.accountID(), "docs/recovery.md says how to make one from a snapshot")}
	case err != nil:
		return []Finding{a.unchecked(id, "ec2:DescribeVolumes", err)}
	}
	volume := out.Volumes[0]
	var found []Finding
	if in := aws.ToString(volume.AvailabilityZone); in != zone {
		found = append(found, a.wrong(id, quote(*id)+", which is in "+harmless(in), "a volume of "+zone+", where the server is", "make one there from a snapshot of this one: docs/recovery.md"))
	}
	switch volume.State {
	case types.VolumeStateAvailable:
		return found
	case types.VolumeStateInUse:
		return append(found, attached(a, id, volume)...)
	}
	return append(found, a.wrong(id, fmt.Sprintf("%s, which is %s", quote(*id), quote(volume.State)), "a volume that is available", "wait until it is, or name another one"))
}

func attached(a *asking, id *string, volume types.Volume) []Finding {
	s, err := a.stack()
	if err != nil {
		return []Finding{a.unchecked(id, describeStacks, err)}
	}
	for _, attachment := range volume.Attachments {
		instance := aws.ToString(attachment.InstanceId)
		if instance != s.outputs["ServerInstanceId"] || instance == "" {
			return []Finding{a.wrong(id, quote(*id)+", which is attached to "+quote(instance), "a volume that is free, or this stack's server's",
				"detach it there, after unmounting it: docs/recovery.md")}
		}
	}
	return nil
}
