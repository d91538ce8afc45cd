package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ZoneReader is the part of the EC2 client that tells of availability zones.
type ZoneReader interface {
	DescribeAvailabilityZones(context.Context, *ec2.DescribeAvailabilityZonesInput, ...func(*ec2.Options)) (*ec2.DescribeAvailabilityZonesOutput, error)
}

// availabilityZones asks for all zones, for the names of those that there are: accounts do not have the same ones.
// Without AllAvailabilityZones, Local Zones that the account has not opted in to would be missing, not explained.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAvailabilityZones.html
func availabilityZones(ctx context.Context, a *asking) []Finding {
	wanted := a.config.GitLab.Network.Zones
	out, err := ask(ctx, a, a.Zones.DescribeAvailabilityZones, &ec2.DescribeAvailabilityZonesInput{AllAvailabilityZones: aws.Bool(true)})
	if err != nil {
		return []Finding{a.unchecked(&a.config.GitLab.Network.Zones, "ec2:DescribeAvailabilityZones", err)}
	}
	zones := map[string]types.AvailabilityZone{}
	var usable []string
	for _, zone := range out.AvailabilityZones {
		zones[aws.ToString(zone.ZoneName)] = zone
		if whole(zone) && zone.State == types.AvailabilityZoneStateAvailable {
			usable = append(usable, aws.ToString(zone.ZoneName))
		}
	}
	slices.Sort(usable)
	want := fmt.Sprintf("one of %s", harmless(strings.Join(usable, ", ")))
	const remedy = "choose two of these zones; accounts do not all have the same ones"
	var found []Finding
	for i := range wanted {
		switch zone, ok := zones[wanted[i]]; {
		case !ok:
			found = append(found, a.wrong(&wanted[i], quote(wanted[i])+", which account "+a.accountID()+" does not have", want, remedy))
		case !whole(zone):
			found = append(found, a.wrong(&wanted[i], fmt.Sprintf("%s, which is a %s", quote(wanted[i]), harmless(aws.ToString(zone.ZoneType))), want,
				"choose two availability zones; zones of other kinds lack much of what the stack is made of"))
		case zone.State != types.AvailabilityZoneStateAvailable:
			found = append(found, a.wrong(&wanted[i], fmt.Sprintf("%s, which is %s", quote(wanted[i]), quote(zone.State)), want, remedy))
		}
	}
	return found
}

// whole is false for Local Zones and Wavelength Zones.
func whole(zone types.AvailabilityZone) bool {
	return aws.ToString(zone.ZoneType) == "availability-zone" || zone.ZoneType == nil
}
