package test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// before returns the ids of the resources that CloudFormation makes before it
// begins with id: what it refers to, what it names in DependsOn, and what these
// need in turn.
func (tpl template) before(id string) map[string]bool {
	found := map[string]bool{}
	var look func(id string)
	look = func(id string) {
		r := tpl.Resources[id]
		next := references(r.Properties)
		for _, dependency := range list(r.DependsOn) {
			next = append(next, dependency.(string))
		}
		for _, n := range next {
			if _, inStack := tpl.Resources[n]; inStack && !found[n] {
				found[n] = true
				look(n)
			}
		}
	}
	look(id)
	return found
}

// Types whose creation looks at what a role may do, or loses something when it
// may not do it yet, with the page that says so. For those of Lambda, it is the
// role of the function that they name.
var needsRights = map[string]string{
	// "is not authorized to call tag:GetResources" ends the deploy.
	"AWS::Backup::BackupSelection": "https://docs.aws.amazon.com/aws-backup/latest/devguide/API_CreateBackupSelection.html",
	// Not refused, but what cannot be delivered is lost.
	"AWS::EC2::FlowLog": "https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-troubleshooting.html",
	// "The provided execution role does not have permissions to call ReceiveMessage on SQS"
	"AWS::Lambda::EventSourceMapping": "https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html",
	// Refused without the right to send to its destination.
	"AWS::Lambda::EventInvokeConfig": "https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html",
	// Its first call may come as soon as it is there.
	"AWS::Lambda::Function": "https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html",
}

// Types that name a role and ask nothing of it: it has to exist, and that is
// what a reference is for.
var onlyNamesRole = map[string]string{
	"AWS::IAM::Policy":          "is attached to it",
	"AWS::IAM::Role":            "trusts it; it is taken later, and asked for until it is",
	"AWS::SSM::Document":        "names it; what runs it asks for the role until it gets it",
	"AWS::IAM::InstanceProfile": "holds it; the instance gets its credentials later, and again and again",
	"AWS::KMS::Key":             "its policy names a principal",
	"AWS::KMS::Alias":           "names a key",
	"AWS::S3::BucketPolicy":     "names a principal",
	"AWS::SQS::QueuePolicy":     "names a principal",
	"AWS::SNS::TopicPolicy":     "names a principal",
	"AWS::Backup::BackupVault":  "its policy names a principal",
	"AWS::EC2::VPCEndpoint":     "its policy names a principal",
}

// rolesOf returns the ids of the roles that a resource names, a function's for
// what names a function.
func rolesOf(tpl template, r resource) []string {
	roles := map[string]bool{}
	for _, id := range references(r.Properties) {
		switch named := tpl.Resources[id]; named.Type {
		case "AWS::IAM::Role":
			roles[id] = true
		case "AWS::Lambda::Function":
			if _, looks := needsRights[r.Type]; looks {
				for _, role := range rolesOf(tpl, named) {
					roles[role] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(roles))
}

// policiesOf returns the ids of the policies that are attached to a role.
func policiesOf(tpl template, role string) []string {
	var found []string
	for id, r := range tpl.Resources {
		if strings.HasPrefix(r.Type, "AWS::IAM::") && strings.HasSuffix(r.Type, "Policy") && slices.Contains(references(r.Properties["Roles"]), role) {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	return found
}

// TestS13_S14_whatLooksAtARoleComesAfterItsPolicies: a role and its policies
// are resources of their own, and a reference to the role waits for the role
// alone.
func TestS13_S14_whatLooksAtARoleComesAfterItsPolicies(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	seen := map[string]int{}
	for _, tpl := range []template{gitlab, deploy} {
		for id, r := range tpl.Resources {
			roles := rolesOf(tpl, r)
			_, looks := needsRights[r.Type]
			_, names := onlyNamesRole[r.Type]
			require.True(t, len(roles) == 0 || looks || names,
				"%s is an %s with a role: say in needsRights or onlyNamesRole what it asks of it when it is made", id, r.Type)
			if !looks {
				continue
			}
			earlier := tpl.before(id)
			for _, role := range roles {
				for _, policy := range policiesOf(tpl, role) {
					seen[r.Type]++
					assert.True(t, earlier[policy], "%s (%s) may be made before %s, the policy of its role", id, r.Type, policy)
				}
			}
		}
	}
	for typ := range needsRights {
		assert.NotZero(t, seen[typ], "no %s with a role and a policy: the check of it proves nothing", typ)
	}
}

// TestS5_S11_everyHostBootsWhenItsWaysAreThere: an agent that does not reach
// AWS when the host boots sleeps longer and longer before it tries again.
func TestS5_S11_everyHostBootsWhenItsWaysAreThere(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	hosts := 0
	for _, id := range gitlab.ofType(t, "AWS::EC2::Instance") {
		subnet := text(at(gitlab.Resources[id].Properties, "SubnetId", "Ref"))
		require.Equal(t, "gitlab", tagOf(gitlab.Resources[subnet], "Name"))
		hosts++
		earlier := gitlab.before(id)
		ways := 0
		for _, endpoint := range gitlab.ofType(t, "AWS::EC2::VPCEndpoint") {
			ways++
			assert.True(t, earlier[endpoint], "%s may boot before the endpoint %s", id, endpoint)
		}
		for table, route := range routesOf(t, gitlab, subnet) {
			ways++
			assert.True(t, earlier[table], "%s may boot before %s, which gives its subnet the route table", id, table)
			assert.True(t, earlier[route], "%s may boot before the default route %s", id, route)
			assert.True(t, earlier[text(at(gitlab.Resources[route].Properties, "NatGatewayId", "Ref"))], "%s may boot before the NAT gateway", id)
		}
		assert.Equal(t, 5, ways, "four endpoints and a default route")
	}
	assert.Equal(t, 2, hosts)
}

// routesOf returns the default routes of a subnet, by the association that
// gives the subnet its route table.
func routesOf(t *testing.T, tpl template, subnet string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, association := range tpl.ofType(t, "AWS::EC2::SubnetRouteTableAssociation") {
		a := tpl.Resources[association].Properties
		if at(a, "SubnetId", "Ref") != subnet {
			continue
		}
		for _, route := range tpl.ofType(t, "AWS::EC2::Route") {
			r := tpl.Resources[route].Properties
			if at(r, "RouteTableId", "Ref") == at(a, "RouteTableId", "Ref") && r["DestinationCidrBlock"] == "0.0.0.0/0" {
				found[association] = route
			}
		}
	}
	return found
}
