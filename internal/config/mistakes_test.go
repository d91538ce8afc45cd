package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// base has every key but hostedZone, backup, securityUpdates, gitlab's alarmEmail and breakGlassRoles, operatingSystem, readableBuckets,
// applications and what a runner is registered with, and no value that is a default. Its line numbers stand in the
// messages below.
const base = `environment: staging
region: eu-west-1
terminationProtection: false
gitlab:
  account: "012345678901"
  network:
    vpcCidr: 10.20.0.0/16
    zones: [eu-west-1a, eu-west-1b]
    publicSubnets:
      - 10.20.0.0/24
      - 10.20.1.0/24
    gitlabSubnet: 10.20.16.0/24
  loadBalancer:
    allowedRanges:
      - 203.0.113.0/24
      - 198.51.100.7/32
    domainName: gitlab.example.com
    certificateArn: arn:aws:acm:eu-west-1:012345678901:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25
  server:
    version: 13.10.2
    edition: ee
    imageId: ami-0123456789abcdef0
    instanceType: m5.xlarge
    rootVolumeGiB: 31
    dataVolumeGiB: 201
    dataVolumeId: vol-0123456789abcdef0
    snapshotKeepDays: 36
    generation: 2
    allowReplacement: true
    packageRepositoryUrl: https://mirror.example.com/gitlab
  runner:
    version: 13.10.0
    imageId: ami-0123456789abcdef1
    instanceType: t3.large
    rootVolumeGiB: 101
    packageRepositoryUrl: https://mirror.example.com:8443/runner
  logRetentionDays: 30
deploy:
  account: "222222222222"
  artifacts:
    bucketName: example-deploy
    prefix: releases/
    replacedVersionDays: 91
    allowReplacement: true
  logRetentionDays: 60
  longestDeploymentHours: 25
  statusRetentionDays: 366
  alarmEmail: team@example.com
  deploymentGroups:
    - {application: web, deploymentGroup: web-blue-green}
    - {application: web, deploymentGroup: web-canary}
pipeline:
  issuerUrl: https://ci.example.com/oidc
  projectPath: platform/infra/gitlab-codedeploy
  branch: release/main
  forkPipelines: switched-off-in-project
  existingProvider: true
`

const (
	pairsKey        = "  deploymentGroups:\n"
	certificateLine = "    certificateArn: arn:aws:acm:eu-west-1:012345678901:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25\n"
	zoneBlock       = "    hostedZone:\n      id: Z0123456789ABCDEFGHIJ\n      name: example.com\n"
	retentions      = "1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653"
)

// mistake is one change of base, and the whole answer to it without the file's name in front of each line.
type mistake struct {
	name     string
	old, new string
	want     []string
}

// value is a mistake in a single value.
func value(name, old, new, want string) mistake {
	return mistake{name, old, new, []string{want}}
}

func loadMistake(t *testing.T, m mistake) error {
	t.Helper()
	require.Equal(t, 1, strings.Count(base, m.old), "the change must have one place in base: %s", m.old)
	_, err := load("config/staging.yaml", "staging", []byte(strings.Replace(base, m.old, m.new, 1)))
	return err
}

func run(t *testing.T, mistakes []mistake) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			var want []string
			for _, line := range m.want {
				want = append(want, "config/staging.yaml:"+line)
			}
			assert.EqualError(t, loadMistake(t, m), strings.Join(want, "\n"))
		})
	}
}

func TestConfigKeyMistakes(t *testing.T) {
	run(t, []mistake{
		value("unknown key near another", "vpcCidr", "vpcCdir",
			`7: gitlab.network.vpcCdir: unknown key, did you mean vpcCidr?`),
		value("unknown key in other letters", "certificateArn", "certificateARN",
			`18: gitlab.loadBalancer.certificateARN: unknown key, did you mean certificateArn?`),
		value("unknown key like nothing", "  logRetentionDays: 30\n", "  logRetentionDays: 30\n  colour: blue\n",
			`38: gitlab.colour: unknown key, want one of account, network, loadBalancer, server, runner, backup, securityUpdates, logRetentionDays, alarmEmail, breakGlassRoles`),
		value("unknown key with a line break", "region: eu-west-1\n", "region: eu-west-1\n\"a\\nb\": 1\n",
			`3: "a\nb": unknown key, want one of environment, region, terminationProtection, gitlab, deploy, pipeline`),
		value("unknown key beside the one meant", "region: eu-west-1\n", "region: eu-west-1\nregoin: us-east-1\n",
			`3: regoin: unknown key, did you mean region?`),
		value("unknown key of an element", "application: web, deploymentGroup: web-canary", "app: web, deploymentGroup: web-canary",
			`51: deploy.deploymentGroups[1].app: unknown key, want one of application, deploymentGroup, projects, refs, requireProtectedRef`+"\n"+
				`config/staging.yaml:51: deploy.deploymentGroups[1].application: missing, want a string`),
		value("key twice", "region: eu-west-1\n", "region: eu-west-1\nregion: us-east-1\n",
			`3: region: got this key again, want it once (first on line 2)`),
		value("key twice, once with a wrong value", "region: eu-west-1\n", "region: europe\nregion: eu-west-1\n",
			`3: region: got this key again, want it once (first on line 2)`),
		value("mapping twice", "deploy:\n", "gitlab: {}\ndeploy:\n",
			`38: gitlab: got this key again, want it once (first on line 4)`),
		value("text missing", "region: eu-west-1\n", "",
			`1: region: missing, want a string`),
		value("list missing", "    zones: [eu-west-1a, eu-west-1b]\n", "",
			`6: gitlab.network.zones: missing, want a list of strings`),
		value("mapping missing", "  artifacts:\n    bucketName: example-deploy\n    prefix: releases/\n    replacedVersionDays: 91\n    allowReplacement: true\n", "",
			`38: deploy.artifacts: missing, want a mapping with the keys bucketName, prefix, replacedVersionDays, allowReplacement`),
		value("list of mappings missing", base[strings.Index(base, "  deploymentGroups:"):], "",
			`38: deploy.deploymentGroups: missing, want a list of mappings with the keys application, deploymentGroup, projects, refs, requireProtectedRef`),
		value("wrong indentation", "  network:\n    vpcCidr: 10.20.0.0/16\n", "  network:\n  vpcCidr: 10.20.0.0/16\n",
			`7: not valid YAML at column 12: mapping value is not allowed in this context`),
	})
}

func TestConfigSystemMistakes(t *testing.T) {
	const (
		onServer  = "    edition: ee\n"
		onRunner  = "    imageId: ami-0123456789abcdef1\n"
		published = "a version that GitLab publishes a package of: amazon-linux-2 x86_64 from 7.0.0 to 19.2, aarch64 from 14.9.0 to 19.2; amazon-linux-2023 x86_64 from 16.3.0, aarch64 from 16.3.0"
		runners   = "a version that GitLab publishes a package of: amazon-linux-2 x86_64 from 10.0.0, aarch64 from 12.9.0; amazon-linux-2023 x86_64 from 10.0.0, aarch64 from 12.9.0"
	)
	both := func(server, runner string) *strings.Replacer {
		return strings.NewReplacer("version: 13.10.2", "version: "+server, "version: 13.10.0", "version: "+runner)
	}
	run(t, []mistake{
		value("an old GitLab on Amazon Linux 2023", onServer, onServer+"    operatingSystem: amazon-linux-2023\n",
			`20: gitlab.server.version: got "13.10.2" for amazon-linux-2023 on x86_64 (m5.xlarge), want `+published),
		value("a server on another system", onServer, onServer+"    operatingSystem: debian-13\n",
			`22: gitlab.server.operatingSystem: got "debian-13", want one of amazon-linux-2, amazon-linux-2023`),
		value("a runner on another system", onRunner, onRunner+"    operatingSystem: amazon-linux-2022\n",
			`34: gitlab.runner.operatingSystem: got "amazon-linux-2022", want one of amazon-linux-2, amazon-linux-2023`),
		value("a system by its number", onRunner, onRunner+"    operatingSystem: 2023\n",
			`34: gitlab.runner.operatingSystem: got 2023 (a number), want a string: write "2023"`),
		value("an old GitLab on Graviton", "instanceType: m5.xlarge", "instanceType: m6g.xlarge",
			`20: gitlab.server.version: got "13.10.2" for amazon-linux-2 on aarch64 (m6g.xlarge), want `+published),
		value("a Mac", "instanceType: t3.large", "instanceType: mac2.metal",
			`34: gitlab.runner.instanceType: got "mac2.metal", want an instance type that runs Linux such as m5.xlarge`),
	})
	for _, c := range []struct{ text, want string }{
		{both("19.3.0", "19.3.0").Replace(base), `:20: gitlab.server.version: got "19.3.0" for amazon-linux-2 on x86_64 (m5.xlarge), want ` + published},
		{strings.Replace(both("12.8.1", "12.8.0").Replace(base), "t3.large", "t4g.large", 1),
			`:32: gitlab.runner.version: got "12.8.0" for amazon-linux-2023 on aarch64 (t4g.large), want ` + runners},
		{strings.Replace(both("12.8.1", "12.8.0").Replace(base), "t3.large", "t3.xlarge", 1), ""},
		{strings.Replace(base, onRunner, onRunner+"    operatingSystem: amazon-linux-2\n", 1), ""},
		{strings.Replace(both("16.2.9", "16.2.0").Replace(base), onServer, onServer+"    operatingSystem: amazon-linux-2023\n", 1),
			`:20: gitlab.server.version: got "16.2.9" for amazon-linux-2023 on x86_64 (m5.xlarge), want ` + published},
		{strings.Replace(both("16.3.0", "16.3.0").Replace(base), onServer, onServer+"    operatingSystem: amazon-linux-2023\n", 1), ""},
		{strings.Replace(both("15.4.6", "15.4.2").Replace(base), "m5.xlarge", "m7g.xlarge", 1), ""},
	} {
		_, err := load("config/staging.yaml", "staging", []byte(c.text))
		if c.want == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, "config/staging.yaml"+c.want)
		}
	}
}

func TestConfigArchitectureFollowsFromTheInstanceType(t *testing.T) {
	for want, types := range map[string]string{
		"aarch64": "a1.xlarge t4g.large m6g.xlarge m6gd.metal m7g.xlarge c6gn.large c7gn.xlarge c8gb.large r8g.xlarge x2gd.large im4gn.large is4gen.large i8ge.large g5g.xlarge hpc7g.4xlarge x8g.large",
		"x86_64":  "t3.large t3a.large m5.xlarge m5ad.large m7i-flex.large m7a.xlarge c5n.large r5b.large g4dn.xlarge g5.xlarge g6e.xlarge p4de.24xlarge u-6tb1.metal u7i-12tb.224xlarge trn1.2xlarge inf2.xlarge z1d.large d3en.large vt1.3xlarge x2iedn.xlarge",
	} {
		for name := range strings.FieldsSeq(types) {
			assert.Empty(t, instanceType.want(name), name)
			assert.Equal(t, want, Server{InstanceType: name}.Architecture(), name)
			assert.Equal(t, want, Runner{InstanceType: name}.Architecture(), name)
		}
	}
}

func TestConfigBackupMistakes(t *testing.T) {
	const after = "  logRetentionDays: 30\n"
	run(t, []mistake{
		value("an hour that no day has", after, after+"  backup: {time: \"24:00\"}\n",
			`38: gitlab.backup.time: got "24:00", want a time of day in UTC such as "18:00"`),
		value("a time with more in it", after, after+"  backup: {time: \"18:00 * * ? *\"}\n",
			`38: gitlab.backup.time: got "18:00 * * ? *", want a time of day in UTC such as "18:00"`),
		value("a number for the time", after, after+"  backup: {time: 18}\n",
			`38: gitlab.backup.time: got 18 (a number), want a string: write "18"`),
		value("no day to keep backups", after, after+"  backup: {keepDays: 0}\n",
			`38: gitlab.backup.keepDays: got 0, want 1 to 3650 days`),
		value("more days than S3 counts", after, after+"  backup: {deletedDays: 3651}\n",
			`38: gitlab.backup.deletedDays: got 3651, want 1 to 3650 days`),
		value("a key of the backup that is none", after, after+"  backup: {keepDay: 3}\n",
			`38: gitlab.backup.keepDay: unknown key, did you mean keepDays?`),
		value("a time for the backup itself", after, after+"  backup: \"18:00\"\n",
			`38: gitlab.backup: got "18:00" (a string), want a mapping with the keys time, keepDays, deletedDays`),
		value("an address without a domain", after, after+"  alarmEmail: ops\n",
			`38: gitlab.alarmEmail: got "ops", want an e-mail address such as team@example.com`),
	})
}

func TestConfigSecurityUpdateMistakes(t *testing.T) {
	const after = "  logRetentionDays: 30\n"
	run(t, []mistake{
		value("a day in full", after, after+"  securityUpdates: {day: Saturday}\n",
			`38: gitlab.securityUpdates.day: got "Saturday", want one of SUN, MON, TUE, WED, THU, FRI, SAT`),
		value("a day with more in it", after, after+"  securityUpdates: {day: \"SAT *\"}\n",
			`38: gitlab.securityUpdates.day: got "SAT *", want one of SUN, MON, TUE, WED, THU, FRI, SAT`),
		value("an hour that no day has", after, after+"  securityUpdates: {time: \"24:00\"}\n",
			`38: gitlab.securityUpdates.time: got "24:00", want a time of day in UTC such as "18:00"`),
		value("a word for the switch", after, after+"  securityUpdates: {enabled: \"off\"}\n",
			`38: gitlab.securityUpdates.enabled: got "off" (a string), want true or false`),
		value("soon after the backup", after, after+"  securityUpdates: {time: \"19:59\"}\n",
			`38: gitlab.securityUpdates.time: got "19:59", 119 minutes from the nightly backup at 18:00 (gitlab.backup.time), want 2 hours or more between the two: updates may restart the server`),
		value("soon before the backup, over midnight", after, after+"  backup: {time: \"00:30\"}\n  securityUpdates: {time: \"23:00\"}\n",
			`39: gitlab.securityUpdates.time: got "23:00", 90 minutes from the nightly backup at 00:30 (gitlab.backup.time), want 2 hours or more between the two: updates may restart the server`),
		value("a backup moved to the updates", after, after+"  backup: {time: \"20:00\"}\n",
			`4: gitlab.securityUpdates.time: got "20:00", 0 minutes from the nightly backup at 20:00 (gitlab.backup.time), want 2 hours or more between the two: updates may restart the server`),
	})
	for _, text := range []string{
		"  securityUpdates: {enabled: false, time: \"18:00\"}\n", "  securityUpdates: {day: MON, time: \"16:00\"}\n", "  backup: {time: \"22:00\"}\n",
	} {
		_, err := load("config/staging.yaml", "staging", []byte(strings.Replace(base, after, after+text, 1)))
		assert.NoError(t, err, text)
	}
}

func TestConfigTypeMistakes(t *testing.T) {
	run(t, []mistake{
		value("account without quotes", `"222222222222"`, `222222222222`,
			`39: deploy.account: got 222222222222 (a number), want a string: write "222222222222"`),
		value("account without quotes that begins with 0", `"012345678901"`, `012345670123`,
			`5: gitlab.account: got 012345670123 (a number), want a string: write "012345670123"`),
		value("version that is a number", "version: 13.10.2", "version: 13.10",
			`20: gitlab.server.version: got 13.10 (a number), want a string: write "13.10"`),
		value("number in quotes", "rootVolumeGiB: 31", `rootVolumeGiB: "31"`,
			`24: gitlab.server.rootVolumeGiB: got "31" (a string), want a whole number`),
		value("number with a fraction", "rootVolumeGiB: 31", "rootVolumeGiB: 30.5",
			`24: gitlab.server.rootVolumeGiB: got 30.5 (a number), want a whole number`),
		value("number with a unit", "rootVolumeGiB: 31", "rootVolumeGiB: 31GiB",
			`24: gitlab.server.rootVolumeGiB: got "31GiB" (a string), want a whole number`),
		value("octal number", "rootVolumeGiB: 31", "rootVolumeGiB: 031",
			`24: gitlab.server.rootVolumeGiB: got 031 (a number), want a whole number`),
		value("number too large for any computer", "rootVolumeGiB: 31", "rootVolumeGiB: 18446744073709551615",
			`24: gitlab.server.rootVolumeGiB: got 18446744073709551615 (a number), want a whole number`),
		value("yes", "terminationProtection: false", "terminationProtection: yes",
			`3: terminationProtection: got "yes" (a string), want true or false`),
		value("true for a text", "edition: ee", "edition: true",
			`21: gitlab.server.edition: got true (a boolean), want a string`),
		value("nothing", "region: eu-west-1", "region:",
			`2: region: got nothing, want a string`),
		value("nothing for a default", "edition: ee", "edition: ~",
			`21: gitlab.server.edition: got nothing, want a string`),
		value("text for a list", "zones: [eu-west-1a, eu-west-1b]", "zones: eu-west-1a",
			`8: gitlab.network.zones: got "eu-west-1a" (a string), want a list of strings`),
		value("list for a text", "vpcCidr: 10.20.0.0/16", "vpcCidr: [10.20.0.0/16]",
			`7: gitlab.network.vpcCidr: got a list, want a string`),
		value("mapping for a list", "zones: [eu-west-1a, eu-west-1b]", "zones: {a: eu-west-1a}",
			`8: gitlab.network.zones: got a mapping, want a list of strings`),
		value("number in a list", "      - 10.20.1.0/24", "      - 10.20",
			`11: gitlab.network.publicSubnets[1]: got 10.20 (a number), want a string: write "10.20"`),
		value("text for a mapping", "    - {application: web, deploymentGroup: web-canary}", "    - web-canary",
			`51: deploy.deploymentGroups[1]: got "web-canary" (a string), want a mapping with the keys application, deploymentGroup, projects, refs, requireProtectedRef`),
		value("text for the hosted zone", certificateLine, "    hostedZone: example.com\n",
			`18: gitlab.loadBalancer.hostedZone: got "example.com" (a string), want a mapping with the keys id, name`),
	})
}

func TestConfigRegionAndAccountMistakes(t *testing.T) {
	run(t, []mistake{
		value("environment of another file", "environment: staging", "environment: production",
			`1: environment: got "production", want "staging": it must be the name of the file`),
		value("zone for the region", "region: eu-west-1", "region: eu-west-1a",
			`2: region: got "eu-west-1a", want the name of a region such as ap-northeast-1`),
		value("account too short", `"222222222222"`, `"22222222222"`,
			`39: deploy.account: got "22222222222", want 12 digits`),
		value("account with hyphens", `"222222222222"`, `"2222-2222-2222"`,
			`39: deploy.account: got "2222-2222-2222", want 12 digits`),
		value("one account for both", `"222222222222"`, `"012345678901"`,
			`39: deploy.account: got "012345678901", want another account than gitlab.account: what runs CI jobs must not be able to deploy by itself`),
		value("text of many lines and characters", `"222222222222"`, `"`+strings.Repeat("2", 200)+`\n"`,
			`39: deploy.account: got "`+strings.Repeat("2", 120)+`…", want 12 digits`),
	})
}

// S1: the network that a VPC, its subnets and an ALB can be made of.
func TestConfigS1NetworkMistakes(t *testing.T) {
	vpc := func(name, text, want string) mistake {
		return value(name, "vpcCidr: 10.20.0.0/16", "vpcCidr: "+text, fmt.Sprintf("7: gitlab.network.vpcCidr: got %q, want %s", text, want))
	}
	subnet := func(name, text, want string) mistake {
		return value(name, "gitlabSubnet: 10.20.16.0/24", "gitlabSubnet: "+text, fmt.Sprintf("12: gitlab.network.gitlabSubnet: got %q, want %s", text, want))
	}
	public := func(name, text, want string) mistake {
		return value(name, "- 10.20.1.0/24", "- "+text, fmt.Sprintf("11: gitlab.network.publicSubnets[1]: got %q, want %s", text, want))
	}
	run(t, []mistake{
		vpc("VPC too large", "10.0.0.0/8", "a range from /16 to /28"),
		vpc("VPC too small", "10.20.0.0/29", "a range from /16 to /28"),
		vpc("VPC with public addresses", "8.8.0.0/16", "a private range: inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"),
		vpc("VPC before the private range", "172.15.0.0/16", "a private range: inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"),
		vpc("VPC behind the private range", "172.32.0.0/16", "a private range: inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"),
		vpc("VPC on Docker's bridge", "172.17.128.0/20", "a range outside 172.17.0.0/16, which Docker uses on the runner"),
		vpc("VPC with host bits", "10.20.0.1/16", "10.20.0.0/16: no address bits behind the /16"),
		vpc("VPC of IPv6", "fd00::/16", "an IPv4 range: the VPC has no IPv6"),
		vpc("VPC without length", "10.20.0.0", "a range: 10.20.0.0/32 for this one address"),
		vpc("VPC that is no range", "10.20/16", "an IPv4 range such as 10.20.0.0/16"),
		vpc("VPC with zeros in front", "10.020.0.0/16", "an IPv4 range such as 10.20.0.0/16"),

		subnet("subnet outside the VPC", "10.21.16.0/24", "a range inside gitlab.network.vpcCidr, 10.20.0.0/16"),
		subnet("subnet larger than the VPC", "10.20.0.0/15", "a range inside gitlab.network.vpcCidr, 10.20.0.0/16"),
		subnet("subnet too small", "10.20.16.0/29", "/28 or larger: a VPC has no smaller subnets"),
		subnet("subnet in another", "10.20.1.128/25", "a range apart from gitlab.network.publicSubnets[1], 10.20.1.0/24"),
		subnet("subnet around others", "10.20.0.0/20", "a range apart from gitlab.network.publicSubnets[0], 10.20.0.0/24"),
		subnet("subnet with host bits", "10.20.16.5/24", "10.20.16.0/24: no address bits behind the /24"),
		public("public subnet too small for an ALB", "10.20.1.0/28", "/27 or larger: an ALB needs 8 free addresses in each of its subnets"),
		public("public subnet twice", "10.20.0.0/24", "a range apart from gitlab.network.publicSubnets[0], 10.20.0.0/24"),
		value("public subnet too many", "      - 10.20.1.0/24\n", "      - 10.20.1.0/24\n      - 10.20.2.0/24\n",
			`9: gitlab.network.publicSubnets: got a list of 3, want one subnet for each of the two zones`),

		value("one zone", "zones: [eu-west-1a, eu-west-1b]", "zones: [eu-west-1a]",
			`8: gitlab.network.zones: got a list of 1, want two zones of the region: an ALB needs two`),
		value("three zones", "zones: [eu-west-1a, eu-west-1b]", "zones: [eu-west-1a, eu-west-1b, eu-west-1c]",
			`8: gitlab.network.zones: got a list of 3, want two zones of the region: an ALB needs two`),
		value("no zones", "zones: [eu-west-1a, eu-west-1b]", "zones: []",
			`8: gitlab.network.zones: got a list of 0, want two zones of the region: an ALB needs two`),
		value("zone twice", "zones: [eu-west-1a, eu-west-1b]", "zones: [eu-west-1a, eu-west-1a]",
			`8: gitlab.network.zones[1]: got "eu-west-1a", want another zone than the first: an ALB needs two`),
		value("zone of another region", "zones: [eu-west-1a, eu-west-1b]", "zones:\n      - eu-west-1a\n      - eu-west-2b",
			`10: gitlab.network.zones[1]: got "eu-west-2b", want a zone of the region, such as eu-west-1a`),
		value("id of a zone", "zones: [eu-west-1a, eu-west-1b]", "zones: [euw1-az1, eu-west-1b]",
			`8: gitlab.network.zones[0]: got "euw1-az1", want a zone of the region, such as eu-west-1a`),
	})
}

// S6: what reaches GitLab, and under which name.
func TestConfigS6LoadBalancerMistakes(t *testing.T) {
	const wantARN = `arn:aws:acm:eu-west-1:012345678901:certificate/<id>, an ACM certificate of gitlab.account in the region`
	arn := func(name, text string) mistake {
		return value(name, certificateLine, "    certificateArn: "+text+"\n", fmt.Sprintf("18: gitlab.loadBalancer.certificateArn: got %q, want %s", text, wantARN))
	}
	domain := func(name, text string) mistake {
		return value(name, "domainName: gitlab.example.com", fmt.Sprintf("domainName: %q", text),
			fmt.Sprintf("17: gitlab.loadBalancer.domainName: got %q, want a domain name in lower case such as gitlab.example.com", text))
	}
	zone := func(name, block, want string) mistake { return value(name, certificateLine, block, want) }
	longName := strings.Repeat("a", 53) + ".example.com"
	run(t, []mistake{
		value("no range", "    allowedRanges:\n      - 203.0.113.0/24\n      - 198.51.100.7/32\n", "    allowedRanges: []\n",
			`14: gitlab.loadBalancer.allowedRanges: got a list of 0, want 1 to 29 ranges: a security group holds 60 rules`),
		value("more ranges than a security group holds", "      - 203.0.113.0/24\n      - 198.51.100.7/32\n", ranges(30),
			`14: gitlab.loadBalancer.allowedRanges: got a list of 30, want 1 to 29 ranges: a security group holds 60 rules`),
		value("range twice", "- 198.51.100.7/32", "- 203.0.113.0/24",
			`16: gitlab.loadBalancer.allowedRanges[1]: got "203.0.113.0/24" again, want each range once (also gitlab.loadBalancer.allowedRanges[0])`),
		value("address for a range", "- 198.51.100.7/32", "- 198.51.100.7",
			`16: gitlab.loadBalancer.allowedRanges[1]: got "198.51.100.7", want a range: 198.51.100.7/32 for this one address`),
		value("range with host bits", "- 203.0.113.0/24", "- 203.0.113.9/24",
			`15: gitlab.loadBalancer.allowedRanges[0]: got "203.0.113.9/24", want 203.0.113.0/24: no address bits behind the /24`),

		domain("domain name in capitals", "GitLab.example.com"),
		domain("domain name with a dot at its end", "gitlab.example.com."),
		domain("domain name that is a URL", "https://gitlab.example.com"),
		domain("domain name of one label", "gitlab"),
		domain("domain name that is an address", "203.0.113.1"),
		domain("domain name with a star", "*.example.com"),
		domain("domain name with a hyphen at an end", "-gitlab.example.com"),
		value("domain name that is too long", "gitlab.example.com", strings.Repeat("a.", 124)+"example",
			`17: gitlab.loadBalancer.domainName: got "`+strings.Repeat("a.", 60)+`…", want a domain name in lower case such as gitlab.example.com`),
		domain("domain name with an empty label", "gitlab..example.com"),
		domain("no domain name", ""),

		arn("certificate of another region", "arn:aws:acm:us-east-1:012345678901:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25"),
		arn("certificate of another account", "arn:aws:acm:eu-west-1:222222222222:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25"),
		arn("certificate of another partition", "arn:aws-cn:acm:eu-west-1:012345678901:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25"),
		arn("certificate of IAM", "arn:aws:iam::012345678901:server-certificate/gitlab"),
		arn("certificate without ARN", "2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25"),
		arn("certificate with a shortened id", "arn:aws:acm:eu-west-1:012345678901:certificate/2f5a1c9e"),

		zone("neither certificate nor hosted zone", "",
			`13: gitlab.loadBalancer: got neither certificateArn nor hostedZone, want exactly one of certificateArn and hostedZone`),
		zone("certificate and hosted zone", certificateLine+zoneBlock,
			`19: gitlab.loadBalancer.hostedZone: got a hosted zone beside a certificate, want exactly one of certificateArn and hostedZone`),
		zone("domain name outside the hosted zone", strings.Replace(zoneBlock, "example.com", "ample.com", 1),
			`17: gitlab.loadBalancer.domainName: got "gitlab.example.com", want a name inside gitlab.loadBalancer.hostedZone.name, ample.com`),
		zone("hosted zone with its path", strings.Replace(zoneBlock, "Z0123", "/hostedzone/Z0123", 1),
			`19: gitlab.loadBalancer.hostedZone.id: got "/hostedzone/Z0123456789ABCDEFGHIJ", want the id of a hosted zone such as Z0123456789ABCDEFGHIJ, without /hostedzone/`),
		zone("hosted zone with a dot at its end", strings.Replace(zoneBlock, "example.com", "example.com.", 1),
			`20: gitlab.loadBalancer.hostedZone.name: got "example.com.", want a domain name in lower case such as gitlab.example.com`),
		zone("hosted zone without name", strings.Replace(zoneBlock, "      name: example.com\n", "", 1),
			`18: gitlab.loadBalancer.hostedZone.name: missing, want a string`),
		value("domain name too long for ACM", "    domainName: gitlab.example.com\n"+certificateLine, "    domainName: "+longName+"\n"+zoneBlock,
			`17: gitlab.loadBalancer.domainName: got "`+longName+`", want at most 64 characters: ACM makes no certificate for a longer one`),
	})
}

// ARNs of China and GovCloud begin differently; a certificate there is not taken for one of another region.
func TestConfigS6CertificatesOfOtherPartitionsLoad(t *testing.T) {
	for region, partition := range map[string]string{"cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov", "eu-central-1": "aws"} {
		text := strings.ReplaceAll(strings.Replace(base, "arn:aws:", "arn:"+partition+":", 1), "eu-west-1", region)
		_, err := load("config/staging.yaml", "staging", []byte(text))
		assert.NoError(t, err, region)
	}
}

func TestConfigHostMistakes(t *testing.T) {
	server := func(name, old, new, want string) mistake {
		line := 1 + strings.Count(base[:strings.Index(base, old)], "\n")
		key, text, _ := strings.Cut(new, ": ")
		got := strconv.Quote(text)
		if _, err := strconv.Atoi(text); err == nil {
			got = text
		}
		path := "gitlab.server."
		if strings.Contains(base[:strings.Index(base, old)], "\n  runner:") {
			path = "gitlab.runner."
		}
		return value(name, old, new, fmt.Sprintf("%d: %s%s: got %s, want %s", line, path, key, got, want))
	}
	const (
		wantVersion  = "an exact GitLab version X.Y.Z such as 13.10.2"
		wantImage    = "the id of an image: ami- and 17 (or 8) hexadecimal digits"
		wantInstance = "an instance type such as m5.xlarge"
		wantURL      = "an https URL of host and path, without a / at its end"
	)
	run(t, []mistake{
		server("package version", "version: 13.10.2", "version: 13.10.2-ce.0", wantVersion),
		server("tag for a version", "version: 13.10.2", "version: v13.10.2", wantVersion),
		server("latest", "version: 13.10.2", "version: latest", wantVersion),
		server("zeros in a version", "version: 13.10.2", "version: 13.010.2", wantVersion),
		server("edition in words", "edition: ee", "edition: enterprise", "one of ce, ee"),
		server("image by name", "imageId: ami-0123456789abcdef0", "imageId: amzn2-ami-hvm", wantImage),
		server("image id too short", "imageId: ami-0123456789abcdef0", "imageId: ami-0123456789abcdef", wantImage),
		server("instance type without size", "instanceType: m5.xlarge", "instanceType: m5", wantInstance),
		server("instance type with unknown size", "instanceType: m5.xlarge", "instanceType: m5.big", wantInstance),
		server("root volume too small", "rootVolumeGiB: 31", "rootVolumeGiB: 7", "8 to 16384 GiB"),
		server("root volume negative", "rootVolumeGiB: 31", "rootVolumeGiB: -1", "8 to 16384 GiB"),
		server("data volume too small", "dataVolumeGiB: 201", "dataVolumeGiB: 9", "10 to 16384 GiB"),
		server("data volume too large", "dataVolumeGiB: 201", "dataVolumeGiB: 16385", "10 to 16384 GiB"),
		server("snapshot for a volume", "dataVolumeId: vol-0123456789abcdef0", "dataVolumeId: snap-0123456789abcdef0",
			"the id of an EBS volume: vol- and 17 (or 8) hexadecimal digits"),
		value("empty volume id", "dataVolumeId: vol-0123456789abcdef0", `dataVolumeId: ""`,
			`26: gitlab.server.dataVolumeId: got "", want the id of an EBS volume: vol- and 17 (or 8) hexadecimal digits`),
		server("snapshots that are not kept", "snapshotKeepDays: 36", "snapshotKeepDays: 0", "1 to 3650 days"),
		server("generation of no server", "generation: 2", "generation: 0", "1 to 99 servers"),
		server("packages over http", "packageRepositoryUrl: https://mirror.example.com/gitlab", "packageRepositoryUrl: http://mirror.example.com/gitlab", wantURL),
		server("packages with a slash at the end", "packageRepositoryUrl: https://mirror.example.com/gitlab", "packageRepositoryUrl: https://mirror.example.com/gitlab/", wantURL),
		server("packages with a password", "packageRepositoryUrl: https://mirror.example.com/gitlab", "packageRepositoryUrl: https://me:secret@mirror.example.com/gitlab", wantURL),
		server("packages with a command", "packageRepositoryUrl: https://mirror.example.com/gitlab", "packageRepositoryUrl: https://mirror.example.com/$(id)", wantURL),

		server("runner without patch", "version: 13.10.0", "version: 13.x.0", "an exact GitLab Runner version X.Y.Z such as 13.10.0"),
		server("runner newer than the server", "version: 13.10.0", "version: 13.11.0", "13.10.x: the runner's major.minor is that of gitlab.server.version"),
		server("runner of another major version", "version: 13.10.0", "version: 14.10.0", "13.10.x: the runner's major.minor is that of gitlab.server.version"),
		server("runner's image", "imageId: ami-0123456789abcdef1", "imageId: ami-0123456789ABCDEF1", wantImage),
		server("runner's instance type", "instanceType: t3.large", "instanceType: T3.large", wantInstance),
		server("runner's volume too small", "rootVolumeGiB: 101", "rootVolumeGiB: 0", "8 to 16384 GiB"),
		server("runner's packages", "packageRepositoryUrl: https://mirror.example.com:8443/runner", "packageRepositoryUrl: mirror.example.com/runner", wantURL),
		value("flow logs kept for a time that CloudWatch does not offer", "logRetentionDays: 30", "logRetentionDays: 31",
			"37: gitlab.logRetentionDays: got 31, want one of "+retentions),
	})
}

func TestConfigS13MistakesInTheOptionalKeysOfARunnerAreNamed(t *testing.T) {
	const before = "    packageRepositoryUrl: https://mirror.example.com:8443/runner\n"
	line := 1 + strings.Count(base[:strings.Index(base, before)], "\n") + 1
	for text, want := range map[string]string{
		"generation: 0":           "generation: got 0, want 1 to 99 hosts",
		"concurrentJobs: 0":       "concurrentJobs: got 0, want 1 to 999 jobs",
		"concurrentJobs: 1000":    "concurrentJobs: got 1000, want 1 to 999 jobs",
		"jobImage: $(id)":         `jobImage: got "$(id)", want a Docker image such as alpine:3.20`,
		"jobImage: --privileged":  `jobImage: got "--privileged", want a Docker image such as alpine:3.20`,
		"tags: [deploy, \"a b\"]": `tags[1]: got "a b", want 1 to 64 letters, digits and . _ -, the first a letter or digit`,
	} {
		_, err := load("config/staging.yaml", "staging", []byte(strings.Replace(base, before, before+"    "+text+"\n", 1)))
		assert.EqualError(t, err, fmt.Sprintf("config/staging.yaml:%d: gitlab.runner.%s", line, want))
	}
	got, err := load("config/staging.yaml", "staging", []byte(strings.Replace(base, before,
		before+"    concurrentJobs: 3\n    jobImage: public.ecr.aws/docker/library/debian:12-slim\n    tags: [deploy, linux.x86]\n", 1)))
	require.NoError(t, err)
	assert.Equal(t, 3, got.GitLab.Runner.ConcurrentJobs)
	assert.Equal(t, "public.ecr.aws/docker/library/debian:12-slim", got.GitLab.Runner.JobImage)
	assert.Equal(t, []string{"deploy", "linux.x86"}, got.GitLab.Runner.Tags)
}

// A version that anybody can take over and a load balancer that anybody can reach, together.
func TestConfigS6ExposedGitLabIsRefused(t *testing.T) {
	load := func(t *testing.T, version string, ranges ...string) error {
		t.Helper()
		minor := version[:strings.LastIndex(version, ".")]
		text := strings.NewReplacer("version: 13.10.2", "version: "+version, "version: 13.10.0", "version: "+minor+".0",
			"      - 203.0.113.0/24\n      - 198.51.100.7/32\n", "      - "+strings.Join(ranges, "\n      - ")+"\n").Replace(base)
		_, err := load("config/staging.yaml", "staging", []byte(text))
		return err
	}
	refusal := func(line, index int, cidr, version, safe, holes string) string {
		return fmt.Sprintf("config/staging.yaml:%d: gitlab.loadBalancer.allowedRanges[%d]: got %q with GitLab %s, want ranges of /8 or smaller "+
			"until GitLab is %s or later: anybody who reaches an earlier one can take it over without a login (%s)",
			line, index, cidr, version, safe, holes)
	}
	const (
		regex = "CVE-2026-110264, fixed in 18.11.13"
		both  = "CVE-2021-22205, fixed in 13.10.3; " + regex
	)
	for version, holes := range map[string]string{
		"11.8.10": regex,
		"13.8.7":  "CVE-2021-22205, fixed in 13.8.8; " + regex,
		"13.10.2": both,
		"13.10.3": regex,
		"15.4.6":  regex,
		"16.3.6":  "CVE-2023-7028, fixed in 16.3.7; " + regex,
	} {
		assert.EqualError(t, load(t, version, "0.0.0.0/0"), refusal(15, 0, "0.0.0.0/0", version, "18.11.13", holes))
	}
	for _, version := range []string{"18.11.13", "19.0.10", "19.1.9", "19.2.9"} {
		assert.NoError(t, load(t, version, "0.0.0.0/0"), version)
	}
	assert.EqualError(t, load(t, "13.10.2", "0.0.0.0/1", "128.0.0.0/1"),
		refusal(15, 0, "0.0.0.0/1", "13.10.2", "18.11.13", both)+"\n"+refusal(16, 1, "128.0.0.0/1", "13.10.2", "18.11.13", both))
	assert.EqualError(t, load(t, "13.10.2", "203.0.113.0/24", "16.0.0.0/7"), refusal(16, 1, "16.0.0.0/7", "13.10.2", "18.11.13", both))
	assert.NoError(t, load(t, "13.10.2", "16.0.0.0/8"))
}

// S9: names that S3 refuses only when the stack is already half deployed.
func TestConfigS9BucketMistakes(t *testing.T) {
	bucket := func(name, text, want string) mistake {
		return value(name, "bucketName: example-deploy", "bucketName: "+text, fmt.Sprintf("41: deploy.artifacts.bucketName: got %q, want %s", text, want))
	}
	prefix := func(name, text, want string) mistake {
		shown := text
		if len(shown) > 120 {
			shown = shown[:120] + "…"
		}
		return value(name, "prefix: releases/", fmt.Sprintf("prefix: %q", text), fmt.Sprintf("42: deploy.artifacts.prefix: got %q, want %s", shown, want))
	}
	const (
		wantCharacters = "lower-case letters, digits and hyphens, a letter or digit at both ends"
		wantNoDots     = "a name without dots: over TLS a client does not accept S3's certificate for it"
		wantFolders    = "folders of letters, digits, hyphens, underscores and dots (not in front), each followed by one /"
		wantApart      = "a prefix apart from deployments/, where the state of deployments is written"
	)
	run(t, []mistake{
		bucket("too short", "ab", "3 to 63 characters (it has 2)"),
		bucket("too long", strings.Repeat("a", 64), "3 to 63 characters (it has 64)"),
		bucket("capitals", "Example-deploy", wantCharacters),
		bucket("underscore", "example_deploy", wantCharacters),
		bucket("hyphen in front", "-example", wantCharacters),
		bucket("hyphen at the end", "example-", wantCharacters),
		bucket("dots", "deploy.example.com", wantNoDots),
		bucket("address", "192.168.5.4", wantNoDots),
		bucket("punycode", "xn--example", "a name that does not begin with xn--, which S3 reserves"),
		bucket("reserved prefix", "sthree-configurator", "a name that does not begin with sthree-, which S3 reserves"),
		bucket("reserved for examples", "amzn-s3-demo-bucket", "a name that does not begin with amzn-s3-demo-, which S3 reserves"),
		bucket("alias of an access point", "example-s3alias", "a name that does not end with -s3alias, which S3 reserves"),
		bucket("alias of Object Lambda", "example--ol-s3", "a name that does not end with --ol-s3, which S3 reserves"),
		bucket("alias of a multi-region access point", "example.mrap", wantNoDots),
		bucket("directory bucket", "example--apne1-az1--x-s3", "a name that does not end with --x-s3, which S3 reserves"),
		bucket("table bucket", "example--table-s3", "a name that does not end with --table-s3, which S3 reserves"),
		bucket("account namespace", "example-222222222222-eu-west-1-an", "a name of the global namespace: -<account>-<region>-an is reserved by S3"),

		prefix("no slash at the end", "releases", "a prefix with a / at its end"),
		prefix("slash in front", "/releases/", "a prefix without a / in front: S3 would look for a folder without a name"),
		prefix("whole bucket", "", "a prefix with a / at its end"),
		prefix("only a slash", "/", "a prefix without a / in front: S3 would look for a folder without a name"),
		prefix("two slashes", "releases//web/", wantFolders),
		prefix("parent folder", "releases/../", wantFolders),
		prefix("wildcard", "releases/*/", wantFolders),
		prefix("space", "my releases/", wantFolders),
		prefix("state of deployments", "deployments/", wantApart),
		prefix("below the state of deployments", "deployments/web/", wantApart),
		prefix("records of groups", "groups/", "a prefix apart from groups/, where the order of uploads is kept"),
		prefix("too long for a key", strings.Repeat("a", 912)+"/", "at most 912 characters (it has 913)"),
		value("no day for replaced versions", "replacedVersionDays: 91", "replacedVersionDays: 0",
			`43: deploy.artifacts.replacedVersionDays: got 0, want 1 to 3650 days`),
	})
}

func TestConfigBreakGlassMistakes(t *testing.T) {
	roles := func(name, list, want string) mistake {
		return value(name, "  logRetentionDays: 30\n", "  logRetentionDays: 30\n  breakGlassRoles: "+list+"\n", "38: gitlab.breakGlassRoles"+want)
	}
	const want = "the name of a role in gitlab.account, or its ARN: arn:…:iam::012345678901:role/<name>"
	run(t, []mistake{
		roles("everybody", `["*"]`, `[0]: got "*", want `+want),
		roles("the account", `["arn:aws:iam::012345678901:root"]`, `[0]: got "arn:aws:iam::012345678901:root", want `+want),
		roles("a role of account B", `["arn:aws:iam::222222222222:role/people"]`, `[0]: got "arn:aws:iam::222222222222:role/people", want `+want),
		roles("a role twice", `[people, "arn:aws:iam::012345678901:role/people"]`,
			`[1]: got "arn:aws:iam::012345678901:role/people" again, want each role once (also gitlab.breakGlassRoles[0])`),
		roles("one that is no list", `people`, `: got "people" (a string), want a list of strings`),
		roles("more than a few", `[a, b, c, d, e, f, g, h, i, j, k]`,
			`: got a list of 11, want at most 10 roles: they read everything that GitLab holds, and the keys' policies name each`),
	})
}

// S9: who may read artifacts, and what else is read through the endpoint.
func TestConfigS9ReaderMistakes(t *testing.T) {
	roles := func(name, list, want string) mistake {
		return value(name, pairsKey, "  applications:\n    - {name: web, readerRoles: "+list+"}\n"+pairsKey, "50: deploy.applications[0].readerRoles"+want)
	}
	applications := func(name, list, want string) mistake {
		return value(name, pairsKey, "  applications:\n"+list+pairsKey, want)
	}
	buckets := func(name, list, want string) mistake {
		return value(name, "    gitlabSubnet: 10.20.16.0/24\n", "    gitlabSubnet: 10.20.16.0/24\n    readableBuckets: "+list+"\n", "13: gitlab.network.readableBuckets"+want)
	}
	const (
		wantRole   = "the name of a role in deploy.account, or its ARN: arn:…:iam::222222222222:role/<name>"
		wantBucket = "the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens"
	)
	many := func(n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("name-%d", i))
		}
		return "[" + strings.Join(names, ", ") + "]"
	}
	run(t, []mistake{
		roles("everybody", `["*"]`, `[0]: got "*", want `+wantRole),
		roles("a group of names", `["web-*"]`, `[0]: got "web-*", want `+wantRole),
		roles("a user", `["arn:aws:iam::222222222222:user/web"]`, `[0]: got "arn:aws:iam::222222222222:user/web", want `+wantRole),
		roles("a role of account A", `["arn:aws:iam::012345678901:role/web"]`, `[0]: got "arn:aws:iam::012345678901:role/web", want `+wantRole),
		roles("a role of another partition", `["arn:aws-cn:iam::222222222222:role/web"]`, `[0]: got "arn:aws-cn:iam::222222222222:role/web", want `+wantRole),
		roles("a session instead of a role", `["arn:aws:sts::222222222222:assumed-role/web/i-1"]`, `[0]: got "arn:aws:sts::222222222222:assumed-role/web/i-1", want `+wantRole),
		roles("a role twice", `[web, "arn:aws:iam::222222222222:role/web"]`,
			`[1]: got "arn:aws:iam::222222222222:role/web" again, want each role once (also deploy.applications[0].readerRoles[0])`),
		roles("one that is no list", `web`, `: got "web" (a string), want a list of strings`),
		roles("more roles than a policy takes", many(21),
			`: got a list of 21, want at most 20 roles: the bucket's policy names each; give the others s3:GetObject and s3:GetObjectVersion yourself`),
		value("where they were once", "    replacedVersionDays: 91\n", "    replacedVersionDays: 91\n    readerRoles: [web]\n",
			`44: deploy.artifacts.readerRoles: moved, want the roles of each application at deploy.applications, a list of mappings with the keys name, readerRoles: `+
				`an application's instances read its own artifacts only`),
		applications("an application that nothing deploys", "    - {name: shop, readerRoles: [shop]}\n",
			`50: deploy.applications[0].name: got "shop", want an application that deploy.deploymentGroups names`),
		applications("an application twice", "    - {name: web}\n    - {name: web, readerRoles: [web]}\n",
			`51: deploy.applications[1].name: got "web" again, want each application once (also deploy.applications[0].name)`),
		applications("an application without a name", "    - {readerRoles: [web]}\n", `50: deploy.applications[0].name: missing, want a string`),
		applications("a name that CodeDeploy does not take", "    - {name: web/shop}\n", `50: deploy.applications[0].name: got "web/shop", want 1 to 100 letters, digits and . _ + = , @ -`),

		buckets("every bucket", `["*"]`, `[0]: got "*", want `+wantBucket),
		buckets("a folder", `[example/data]`, `[0]: got "example/data", want `+wantBucket),
		buckets("an ARN", `["arn:aws:s3:::example"]`, `[0]: got "arn:aws:s3:::example", want `+wantBucket),
		buckets("a bucket twice", `[example-data, example-data]`, `[1]: got "example-data" again, want each bucket once (also gitlab.network.readableBuckets[0])`),
		buckets("more buckets than a policy takes", many(51), `: got a list of 51, want at most 50 buckets: the endpoint's policy names each`),
	})
}

func TestConfigS9ReaderRolesByNameOrARN(t *testing.T) {
	got, err := load("config/staging.yaml", "staging", []byte(strings.Replace(base, pairsKey,
		"  applications:\n    - name: web\n      readerRoles: [web, \"arn:aws:iam::222222222222:role/teams/shop/web\"]\n"+pairsKey, 1)))
	require.NoError(t, err)
	assert.Equal(t, []string{"arn:aws:iam::222222222222:role/web", "arn:aws:iam::222222222222:role/teams/shop/web"},
		got.Deploy.ReaderRoleARNs(got.Region, got.Deploy.Applications[0]))
}

// S9: an application's instances read its own folder; a single application's read what is beside it, too.
func TestConfigS9WhatInstancesOfAnApplicationRead(t *testing.T) {
	got, err := load("config/staging.yaml", "staging", []byte(base))
	require.NoError(t, err)
	assert.Equal(t, "releases/", got.Deploy.KeyPrefix("web"), "two groups of one application")
	got.Deploy.DeploymentGroups = append(got.Deploy.DeploymentGroups, DeploymentGroup{Application: "shop", DeploymentGroup: "shop-blue-green"})
	assert.Equal(t, "releases/web/", got.Deploy.KeyPrefix("web"))
	assert.Equal(t, "releases/shop/", got.Deploy.KeyPrefix("shop"))
}

// S9: S3 refuses a policy of more than 20 KB, and a deploy would meet that half-way.
func TestConfigS9RefusesReadersThatTheBucketsPolicyHasNoRoomFor(t *testing.T) {
	configured := func(applications int) error {
		var entries, pairs strings.Builder
		for i := range applications {
			fmt.Fprintf(&entries, "    - {name: app-%03d, readerRoles: [app-%03d-instance, shared-instance]}\n", i, i)
			fmt.Fprintf(&pairs, "    - {application: app-%03d, deploymentGroup: blue-green}\n", i)
		}
		text := strings.Replace(base, pairsKey, "  applications:\n"+entries.String()+pairsKey+pairs.String(), 1)
		_, err := load("config/staging.yaml", "staging", []byte(text))
		return err
	}
	require.NoError(t, configured(54))
	assert.EqualError(t, configured(55), "config/staging.yaml:49: deploy.applications: got reader roles that take 15455 bytes of the bucket's policy, "+
		"want at most 15360 bytes: give some roles s3:GetObject and s3:GetObjectVersion by policies of their own, and take them out here")
}

// S14: pairs that CodeDeploy could not have.
func TestConfigS14DeploymentGroupMistakes(t *testing.T) {
	const wantName = "1 to 100 letters, digits and . _ + = , @ -"
	run(t, []mistake{
		value("log kept for a time that CloudWatch does not offer", "logRetentionDays: 60", "logRetentionDays: 0",
			"45: deploy.logRetentionDays: got 0, want one of "+retentions),
		value("a wait that SQS cannot keep", "longestDeploymentHours: 25", "longestDeploymentHours: 97",
			"46: deploy.longestDeploymentHours: got 97, want 1 to 96 hours"),
		value("states kept for no day", "statusRetentionDays: 366", "statusRetentionDays: 0",
			"47: deploy.statusRetentionDays: got 0, want 1 to 3650 days"),
		value("an address with a name", "alarmEmail: team@example.com", "alarmEmail: Team <team@example.com>",
			`48: deploy.alarmEmail: got "Team <team@example.com>", want an e-mail address such as team@example.com`),
		value("an address without a domain", "alarmEmail: team@example.com", "alarmEmail: team@localhost",
			`48: deploy.alarmEmail: got "team@localhost", want an e-mail address such as team@example.com`),
		value("no pairs", base[strings.Index(base, "  deploymentGroups:"):], "  deploymentGroups: []\n",
			`49: deploy.deploymentGroups: got an empty list, want at least one pair: nothing else is deployed`),
		value("pair twice", "deploymentGroup: web-canary", "deploymentGroup: web-blue-green",
			`51: deploy.deploymentGroups[1]: got web-blue-green of web again, want each pair once (also deploy.deploymentGroups[0])`),
		value("space in a name", "{application: web, deploymentGroup: web-canary}", "{application: my web, deploymentGroup: web-canary}",
			`51: deploy.deploymentGroups[1].application: got "my web", want `+wantName),
		value("slash in a name", "deploymentGroup: web-canary", "deploymentGroup: web/canary",
			`51: deploy.deploymentGroups[1].deploymentGroup: got "web/canary", want `+wantName),
		value("name too long", "deploymentGroup: web-canary", "deploymentGroup: "+strings.Repeat("a", 101),
			`51: deploy.deploymentGroups[1].deploymentGroup: got "`+strings.Repeat("a", 101)+`", want `+wantName),
		value("empty name", "deploymentGroup: web-canary", `deploymentGroup: ""`,
			`51: deploy.deploymentGroups[1].deploymentGroup: got "", want `+wantName),
		value("name of dots", "{application: web, deploymentGroup: web-canary}", "{application: .., deploymentGroup: web-canary}",
			`51: deploy.deploymentGroups[1].application: got "..", want a name of more than dots: it becomes a folder in the artifact's key`),
		value("pair without group", "{application: web, deploymentGroup: web-canary}", "{application: web}",
			`51: deploy.deploymentGroups[1].deploymentGroup: missing, want a string`),
	})
}

// Who may deploy is what everything else hangs on: nothing of it is guessed.
func TestConfigProjectMistakes(t *testing.T) {
	const (
		wantProjects = "a list of mappings with the keys id, path, or any"
		wantPath     = "the full path of a project such as platform/gitlab-codedeploy"
		exact        = "an exact name: patterns are none, for a branch that matches one can be made by anybody who may push"
	)
	group := func(name, rest string, want ...string) mistake {
		return mistake{name, "{application: web, deploymentGroup: web-canary}", "{application: web, deploymentGroup: web-canary, " + rest + "}", want}
	}
	at := "51: deploy.deploymentGroups[1]."
	ref := func(name, text, want string) mistake {
		return group(name, "projects: [{id: 1, path: team/web}], refs: ["+strconv.Quote(text)+"]", at+"refs[0]: got "+quote(text)+", want "+want)
	}
	const git = "the name of a branch or tag, as Git allows it"
	many := func(n int, form string) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(form, i+1))
		}
		return strings.Join(list, ", ")
	}
	run(t, []mistake{
		group("another word than any", "projects: all", at+`projects: got "all" (a string), want `+wantProjects),
		group("no list", "projects: {id: 1, path: team/web}", at+"projects: got a mapping, want "+wantProjects),
		group("nothing for projects", "projects:", at+"projects: got nothing, want "+wantProjects),
		group("an empty list", "projects: []", at+"projects: got an empty list, want at least one project; leave the key out as long as nothing may deploy"),
		group("a path alone", "projects: [team/web], refs: [main]", at+`projects[0]: got "team/web" (a string), want a mapping with the keys id, path`),
		group("any in a list", "projects: [any], refs: [main]", at+`projects[0]: got "any" (a string), want a mapping with the keys id, path`),
		group("no id", "projects: [{path: team/web}], refs: [main]", at+"projects[0].id: missing, want a whole number"),
		group("no path", "projects: [{id: 1}], refs: [main]", at+"projects[0].path: missing, want a string"),
		group("an id in quotes", `projects: [{id: "1", path: team/web}], refs: [main]`, at+`projects[0].id: got "1" (a string), want a whole number`),
		group("an id of 0", "projects: [{id: 0, path: team/web}], refs: [main]", at+"projects[0].id: got 0, want the project's id, a number above 0: it stands below the project's name in GitLab"),
		group("a path without a group", "projects: [{id: 1, path: web}], refs: [main]", at+`projects[0].path: got "web", want `+wantPath),
		group("a pattern for a path", "projects: [{id: 1, path: team/*}], refs: [main]", at+`projects[0].path: got "team/*", want `+wantPath),
		group("a project twice", "projects: [{id: 1, path: team/web}, {id: 1, path: team/shop}], refs: [main]",
			at+"projects[1]: got project 1 again, want each project once (also deploy.deploymentGroups[1].projects[0])"),
		group("too many projects", "projects: ["+many(51, "{id: %d, path: team/web}")+"], refs: [main]", at+"projects: got 51 projects, want at most 50"),
		group("projects without refs", "projects: [{id: 1, path: team/web}]", at+"refs: missing, want the branches and tags that may deploy, by their exact names"),
		group("refs without projects", "refs: [main]", at+"refs: got refs without projects, want projects beside them: whose refs they are"),
		group("refs beside any", "projects: any, refs: [main]", at+"refs: got refs beside projects: any, want no refs: nothing is proven, so nobody can look at them"),
		group("no refs", "projects: [{id: 1, path: team/web}], refs: []", at+"refs: got an empty list, want at least one branch or tag"),
		group("refs that are no list", "projects: [{id: 1, path: team/web}], refs: main", at+`refs: got "main" (a string), want a list of strings`),
		group("a ref twice", "projects: [{id: 1, path: team/web}], refs: [main, main]", at+`refs[1]: got "main" again, want each ref once (also deploy.deploymentGroups[1].refs[0])`),
		group("too many refs", "projects: [{id: 1, path: team/web}], refs: ["+many(51, "r%d")+"]", at+"refs: got 51 refs, want at most 50"),
		group("protected by a word", "projects: [{id: 1, path: team/web}], refs: [main], requireProtectedRef: no", at+`requireProtectedRef: got "no" (a string), want true or false`),
		ref("a pattern", "release/*", exact),
		ref("a pattern of one letter", "v?", exact),
		ref("a whole ref", "refs/heads/main", "the name of a branch or tag without refs/heads/ or refs/tags/"),
		ref("an empty ref", "", "the name of a branch or tag, up to 255 bytes"),
		ref("a long ref", strings.Repeat("a", 256), "the name of a branch or tag, up to 255 bytes"),
		ref("a ref with a blank", "my branch", git),
		ref("a ref with a control character", "main\x1b", git),
		ref("a ref with dots", "a..b", git),
		ref("a ref that is an option", "-f", git),
		ref("a ref with a slash at its end", "main/", git),
		value("artifacts among the orders", "prefix: releases/", "prefix: orders/releases/",
			`42: deploy.artifacts.prefix: got "orders/releases/", want a prefix apart from orders/, where operators' orders lie`),
		value("artifacts among the tokens", "prefix: releases/", "prefix: tokens/releases/",
			`42: deploy.artifacts.prefix: got "tokens/releases/", want a prefix apart from tokens/, where the tokens of jobs lie`),
	})
}

func TestConfigPipelineMistakes(t *testing.T) {
	const (
		issuer    = "issuerUrl: https://ci.example.com/oidc"
		url       = "an https URL without a port and without a / at its end, such as https://gitlab.com"
		path      = "projectPath: platform/infra/gitlab-codedeploy"
		branch    = "branch: release/main"
		forks     = "forkPipelines: switched-off-in-project"
		statement = "issuer-is-18.2.2-or-later or switched-off-in-project: before 18.2.2 a fork's merge request can sign in to both accounts as this project (CVE-2025-5819)"
		named     = "the name of a branch: up to 255 letters, digits and . _ / -, beginning with a letter, digit or _"
	)
	// at is a key's problem, with the line of base that the key is on.
	at := func(line, problem string) string {
		return fmt.Sprintf("%d: %s", 1+strings.Count(base[:strings.Index(base, line)], "\n"), problem)
	}
	var mistakes []mistake
	for _, text := range []string{"http://ci.example.com", "https://ci.example.com/", "https://ci.example.com:8443", "https://ci.example.com.", "ci.example.com", "https://*.example.com"} {
		mistakes = append(mistakes, value("issuer "+text, issuer, "issuerUrl: "+text, at(issuer, fmt.Sprintf("pipeline.issuerUrl: got %q, want %s", text, url))))
	}
	// However its name is written.
	for _, text := range []string{
		"https://gitlab.example.com", "https://GitLab.Example.com", "https://gitlab.example.com:443", "https://gitlab.example.com./", "https://gitlab.example.com/oidc",
		"http://user@gitlab.example.com",
	} {
		mistakes = append(mistakes, value("this environment's own GitLab as "+text, issuer, "issuerUrl: "+text, at(issuer, fmt.Sprintf("pipeline.issuerUrl: got %q, want %s", text,
			"the URL of another GitLab than gitlab.loadBalancer.domainName: the one of this environment could sign itself into both accounts"))))
	}
	// A wildcard would let other projects and branches in.
	for _, text := range []string{"platform", "platform/*", "platform/infra?", "/platform/infra", "platform//infra", "platform/infra/"} {
		mistakes = append(mistakes, value("project "+text, path, "projectPath: "+text,
			at(path, fmt.Sprintf("pipeline.projectPath: got %q, want the full path of a project such as platform/gitlab-codedeploy", text))))
	}
	for _, text := range []string{"release-*", "ma?n", "-main", "ma:in"} {
		mistakes = append(mistakes, value("branch "+text, branch, "branch: "+text, at(branch, fmt.Sprintf("pipeline.branch: got %q, want %s", text, named))))
	}
	run(t, append(mistakes,
		value("full name of a branch", branch, "branch: refs/heads/main",
			at(branch, `pipeline.branch: got "refs/heads/main", want the name of a branch without refs/heads/`)),
		value("no project", "  "+path+"\n", "", at("pipeline:", `pipeline.projectPath: missing, want a string`)),
		value("nothing said about forks", "  "+forks+"\n", "", at("pipeline:", "pipeline.forkPipelines: missing, want "+statement)),
		value("forks that nobody looked at", forks, "forkPipelines: on", at(forks, `pipeline.forkPipelines: got "on", want `+statement)),
		value("forks by a boolean", forks, "forkPipelines: false", at(forks, `pipeline.forkPipelines: got false (a boolean), want a string`)),
	))
}

func TestConfigAllProblemsComeAtOnceInTheOrderOfTheFile(t *testing.T) {
	text := strings.NewReplacer(
		`"222222222222"`, `222222222222`,
		"vpcCidr: 10.20.0.0/16", "vpcCidr: 10.0.0.0/8",
		"version: 13.10.0", "verison: 13.10.0",
		"bucketName: example-deploy", "bucketName: Example",
		"region: eu-west-1\n", "",
	).Replace(base)
	_, err := load("config/staging.yaml", "staging", []byte(text))
	assert.EqualError(t, err, strings.Join([]string{
		`config/staging.yaml:1: region: missing, want a string`,
		`config/staging.yaml:6: gitlab.network.vpcCidr: got "10.0.0.0/8", want a range from /16 to /28`,
		`config/staging.yaml:31: gitlab.runner.verison: unknown key, did you mean version?`,
		`config/staging.yaml:38: deploy.account: got 222222222222 (a number), want a string: write "222222222222"`,
		`config/staging.yaml:40: deploy.artifacts.bucketName: got "Example", want lower-case letters, digits and hyphens, a letter or digit at both ends`,
	}, "\n"))
}

// Each single value is replaced by one of a wrong type: exactly one problem, at its place, and nothing that follows.
func TestConfigAWrongTypeIsReportedOnce(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(base, "\n"), "\n")
	wrong := 0
	for i, line := range lines {
		key, text, scalar := strings.Cut(line, ": ")
		if !scalar || strings.Contains(line, "{") {
			continue
		}
		for _, other := range []string{"{}", "~", "1.5", "[[]]"} {
			if strings.HasPrefix(text, "[") && other == "[[]]" {
				continue // the list is right, its element is not
			}
			changed := append(append(append([]string{}, lines[:i]...), key+": "+other), lines[i+1:]...)
			_, err := load("config/staging.yaml", "staging", []byte(strings.Join(changed, "\n")))
			if assert.Error(t, err, "%s: %s", key, other) {
				assert.NotContains(t, err.Error(), "\n")
				assert.Contains(t, err.Error(), fmt.Sprintf("config/staging.yaml:%d: ", i+1))
				assert.Contains(t, err.Error(), strings.TrimLeft(key, " ")+": got ")
			}
			wrong++
		}
	}
	assert.Greater(t, wrong, 100)
}

func TestConfigFilesThatAreNoConfiguration(t *testing.T) {
	const keys = "want a mapping with the keys environment, region, terminationProtection, gitlab, deploy, pipeline"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", ":1: got an empty file, " + keys},
		{"only comments", "# nothing\n\n# here\n", ":1: got an empty file, " + keys},
		{"only a marker", "---\n", ":1: got an empty file, " + keys},
		{"a list", "- environment: staging\n", ":1: got a list, " + keys},
		{"a text", "staging\n", `:1: got "staging" (a string), ` + keys},
		{"not closed", "environment: staging\nregion: [eu-west-1\n", ":2: not valid YAML at column 9: sequence end token ']' not found"},
		{"quote not closed", "environment: \"staging\nregion: eu-west-1\n", ":1: not valid YAML at column 14: could not find end character of double-quoted text"},
		{"tabs", "gitlab:\n\taccount: x\n", ":2: not valid YAML at column 1: found character '\t' that cannot start any token"},
		{"anchor", "environment: &name staging\n", ":1: got an anchor (&), want plain keys, lists and values"},
		{"alias", "region: eu-west-1\nenvironment: *name\n", ":2: got an alias (*), want plain keys, lists and values"},
		{"merge key", "gitlab:\n  <<: {}\n", ":2: got a merge key (<<), want plain keys, lists and values"},
		{"tag", "environment: !!str staging\n", ":1: got a tag (!), want plain keys, lists and values"},
		{"block of text", "environment: |\n  staging\n", ":1: got a block of text (|), want plain keys, lists and values"},
		{"folded text", "environment: >\n  staging\n", ":1: got a block of text (>), want plain keys, lists and values"},
		{"complex key", "? environment\n: staging\n", ":1: got a complex key (?), want plain keys, lists and values"},
		{"directive", "%YAML 1.2\n---\nenvironment: staging\n", ":1: got a directive (%), want plain keys, lists and values"},
		{"two documents", "environment: staging\n---\nenvironment: local\n", ":2: got a second document (---), want one environment in a file"},
		{"document end", "environment: staging\n...\n", ":2: got the end of a document (...), want plain keys, lists and values"},
		{"not UTF-8", "environment: staging\nregion: \xff\n", ":2: got bytes that are not UTF-8, want a text file in UTF-8"},
		{"too large", strings.Repeat("#\n", maxBytes/2) + "#", ":1: got more than 1024 KiB, want a smaller file"},
		{"nested brackets", "region:\n  " + strings.Repeat("[", 100_000), ":2: got more than 16 lists or mappings inside one another, want the keys of this configuration"},
		{"nested dashes", strings.Repeat("- ", 100_000), ":1: got more than 16 lists or mappings inside one another, want the keys of this configuration"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load("config/staging.yaml", "staging", []byte(c.text))
			assert.EqualError(t, err, "config/staging.yaml"+c.want)
		})
	}
}

func TestConfigOtherSpellingsOfARightFileLoad(t *testing.T) {
	want, err := load("config/staging.yaml", "staging", []byte(base))
	require.NoError(t, err)
	for name, text := range map[string]string{
		"document marker": "---\n" + base,
		"Windows lines":   strings.ReplaceAll(base, "\n", "\r\n"),
		"byte order mark": "\uFEFF" + base,
		"quoted keys":     strings.Replace(base, "region:", `"region":`, 1),
		"comments":        strings.ReplaceAll(base, "\n", " # why\n"),
	} {
		got, err := load("config/staging.yaml", "staging", []byte(text))
		if assert.NoError(t, err, name) {
			assert.Equal(t, want, got, name)
		}
	}
}

func TestConfigWindowsLinesAreCountedOnce(t *testing.T) {
	text := strings.Replace(strings.ReplaceAll(base, "\n", "\r\n"), "bucketName: example-deploy", "bucketName: ab", 1)
	_, err := load("config/staging.yaml", "staging", []byte(text))
	assert.EqualError(t, err, `config/staging.yaml:41: deploy.artifacts.bucketName: got "ab", want 3 to 63 characters (it has 2)`)
}

// The size that the requirements ask for: as many pairs, and not near the bound of the file.
func TestConfigS14AThousandDeploymentGroupsLoad(t *testing.T) {
	var text strings.Builder
	text.WriteString(base[:strings.Index(base, "    - {application")])
	name := strings.Repeat("a", 96)
	for i := range 1000 {
		fmt.Fprintf(&text, "    - {application: %s%04d, deploymentGroup: %s%04d, projects: [{id: %d, path: platform/applications/project-%d}], refs: [main, release]}\n", name, i, name, i, i+1, i)
	}
	got, err := load("config/staging.yaml", "staging", []byte(text.String()))
	require.NoError(t, err)
	assert.Len(t, got.Deploy.DeploymentGroups, 1000)
	assert.Equal(t, name+"0999", got.Deploy.DeploymentGroups[999].Application)
}

// FuzzConfig looks for texts that make loading panic, or answer with anything but lines of the one form.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(base))
	for _, name := range []string{"staging.yaml", "local.yaml"} {
		text, err := os.ReadFile(filepath.Join(realConfigs, name))
		require.NoError(f, err)
		f.Add(text)
	}
	for _, text := range []string{"", "---", "a: [b, {c: d}]", "? a\n: b", "&a b", "gitlab: {account: 1, account: 2}", "deploy:\n - - -"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := load("config/staging.yaml", "staging", text)
		if err == nil {
			require.Equal(t, "staging", config.Environment)
			return
		}
		require.Equal(t, Config{}, config)
		lines := strings.Split(err.Error(), "\n")
		for _, line := range lines {
			rest, ok := strings.CutPrefix(line, "config/staging.yaml:")
			require.True(t, ok, line)
			number, _, _ := strings.Cut(rest, ": ")
			n, err := strconv.Atoi(number)
			require.NoError(t, err, line)
			require.Positive(t, n, line)
		}
		slices.Sort(lines)
		require.Len(t, slices.Compact(slices.Clone(lines)), len(lines), "the same problem twice: %q", lines)
	})
}

func ranges(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "      - 203.0.113.%d/32\n", i)
	}
	return text.String()
}
