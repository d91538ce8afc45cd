package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gitlab-codedeploy/internal/gitlab"
)

// rule is what a value has to follow.
type rule[T any] struct {
	// want answers what a value should be, or "" when it is right.
	want func(value T) string
	// As far as the rule is data: what config/schema.json says of the value.
	limits limits
}

// limits are the rules that JSON Schema has words for.
type limits struct {
	pattern     string // of all of the text
	least, most *int
	allowed     []any
}

// by is a rule that is no data.
func by[T any](want func(value T) string) rule[T] { return rule[T]{want: want} }

// check applies a rule to a value that is sound so far, and answers whether it still is.
func check[T any](d *document, value *T, follow rule[T]) bool {
	if d.collect != nil {
		d.collect(d.places[value].path, follow.limits)
		d.places[value].sound = false // nothing more is to be said of it
		return false
	}
	if !d.sound(value) {
		return false
	}
	want := follow.want(*value)
	if want != "" {
		d.refuse(value, gotValue(*value), want)
	}
	return want == ""
}

func checkEach[T any](d *document, values []T, follow rule[T]) {
	for i := range values {
		check(d, &values[i], follow)
	}
}

func gotValue(value any) string {
	if text, ok := value.(string); ok {
		return quote(text)
	}
	return fmt.Sprint(value)
}

func matches(pattern, want string) rule[string] {
	re := regexp.MustCompile(`^(?:` + pattern + `)$`)
	return rule[string]{limits: limits{pattern: re.String()}, want: func(value string) string {
		if re.MatchString(value) {
			return ""
		}
		return want
	}}
}

func between(least, most int, unit string) rule[int] {
	return rule[int]{limits: limits{least: &least, most: &most}, want: func(value int) string {
		if least <= value && value <= most {
			return ""
		}
		return fmt.Sprintf("%d to %d %s", least, most, unit)
	}}
}

func oneOf[T comparable](allowed ...T) rule[T] {
	var names []string
	for _, a := range allowed {
		names = append(names, fmt.Sprint(a))
	}
	return only("one of "+strings.Join(names, ", "), allowed...)
}

// only is oneOf in words of its own.
func only[T comparable](want string, allowed ...T) rule[T] {
	r := by(func(value T) string {
		if slices.Contains(allowed, value) {
			return ""
		}
		return want
	})
	for _, a := range allowed {
		r.limits.allowed = append(r.limits.allowed, a)
	}
	return r
}

var (
	accountID    = matches(`[0-9]{12}`, "12 digits")
	regionName   = matches(`[a-z]{2}(-[a-z]+)+-[0-9]`, "the name of a region such as ap-northeast-1")
	imageID      = matches(`ami-([0-9a-f]{8}|[0-9a-f]{17})`, "the id of an image: ami- and 17 (or 8) hexadecimal digits")
	instanceType = matches(`[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|[0-9]*xlarge|metal(-[0-9]+xl)?)`,
		"an instance type such as m5.xlarge")
	// It ends up in a package manager's configuration and in arguments of scripts, so no other characters.
	repositoryURL = matches(`https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*`,
		"an https URL of host and path, without a / at its end")

	timeOfDay = matches(`([01][0-9]|2[0-3]):[0-5][0-9]`, "a time of day in UTC such as \"18:00\"")

	// The image's snapshot has 8 GiB, and a volume cannot be smaller; gp3's limit of old, 16 TiB, works everywhere.
	// https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
	rootVolume = between(8, 16384, "GiB")
	dataVolume = between(10, 16384, "GiB")
	volumeID   = matches(`vol-([0-9a-f]{8}|[0-9a-f]{17})`, "the id of an EBS volume: vol- and 17 (or 8) hexadecimal digits")
	// A hundred years is what AWS Backup takes; ten are more than anybody restores.
	snapshotDays = between(1, 3650, "days")
	generation   = between(1, 99, "servers")
	runnerHosts  = between(1, 99, "hosts")

	// They end up in arguments of scripts, so no other characters.
	concurrentJobs = between(1, 999, "jobs")
	jobImage       = matches(`[a-z0-9][A-Za-z0-9._/:@-]{0,254}`, "a Docker image such as alpine:3.20")
	jobTag         = matches(`[A-Za-z0-9][A-Za-z0-9._-]{0,63}`, "1 to 64 letters, digits and . _ -, the first a letter or digit")

	// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
	logRetention = oneOf(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
)

// validate checks every value, and the values against each other.
func (d *document) validate(environment string) {
	c := &d.config
	check(d, &c.Environment, by(func(name string) string {
		if name == environment {
			return ""
		}
		return quote(environment) + ": it must be the name of the file"
	}))
	check(d, &c.Region, regionName)

	check(d, &c.GitLab.Account, accountID)
	d.validateNetwork(&c.GitLab.Network)
	d.validateLoadBalancer(&c.GitLab.LoadBalancer)
	d.validateHosts(&c.GitLab.Server, &c.GitLab.Runner)
	d.refuseExposed(&c.GitLab)
	check(d, &c.GitLab.Backup.Time, timeOfDay)
	check(d, &c.GitLab.Backup.KeepDays, between(1, 3650, "days"))
	check(d, &c.GitLab.Backup.DeletedDays, between(1, 3650, "days"))
	d.validateSecurityUpdates(&c.GitLab.SecurityUpdates, &c.GitLab.Backup)
	check(d, &c.GitLab.LogRetentionDays, logRetention)
	if c.GitLab.AlarmEmail != "" {
		check(d, &c.GitLab.AlarmEmail, by(emailAddress))
	}
	d.validateRoles(&c.GitLab.BreakGlassRoles, &c.GitLab.Account, "gitlab.account", maxBreakGlassRoles,
		"they read everything that GitLab holds, and the keys' policies name each")

	d.validateDeploy(&c.Deploy)
	if c.Pipeline != nil {
		d.validatePipeline(c.Pipeline)
	}
}

func (d *document) validateHosts(server *Server, runner *Runner) {
	check(d, &server.Version, gitlabVersion)
	check(d, &server.Edition, oneOf("ce", "ee"))
	check(d, &server.ImageID, imageID)
	check(d, &server.InstanceType, instanceType)
	check(d, &server.RootVolumeGiB, rootVolume)
	check(d, &server.DataVolumeGiB, dataVolume)
	if d.present(&server.DataVolumeID) {
		check(d, &server.DataVolumeID, volumeID)
	}
	check(d, &server.SnapshotKeepDays, snapshotDays)
	check(d, &server.Generation, generation)
	check(d, &server.PackageRepositoryURL, repositoryURL)

	check(d, &runner.Version, runnerVersion)
	check(d, &runner.ImageID, imageID)
	check(d, &runner.InstanceType, instanceType)
	check(d, &runner.RootVolumeGiB, rootVolume)
	check(d, &runner.Generation, runnerHosts)
	check(d, &runner.PackageRepositoryURL, repositoryURL)
	check(d, &runner.ConcurrentJobs, concurrentJobs)
	check(d, &runner.JobImage, jobImage)
	checkEach(d, runner.Tags, jobTag)
	d.validateSystems(server, runner)

	// https://docs.gitlab.com/runner/#gitlab-runner-versions
	if d.sound(&server.Version, &runner.Version) {
		s, r := parseVersion(server.Version), parseVersion(runner.Version)
		if !slices.Equal(s[:2], r[:2]) {
			d.refuse(&runner.Version, quote(runner.Version),
				fmt.Sprintf("%d.%d.x: the runner's major.minor is that of gitlab.server.version", s[0], s[1]))
		}
	}
}

const versionPattern = `(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)`

var (
	gitlabVersion = matches(versionPattern, "an exact GitLab version X.Y.Z such as 13.10.2")
	runnerVersion = matches(versionPattern, "an exact GitLab Runner version X.Y.Z such as 13.10.0")
)

// parseVersion takes a text that follows versionPattern.
func parseVersion(text string) []int {
	var version []int
	for part := range strings.SplitSeq(text, ".") {
		n, _ := strconv.Atoi(part)
		version = append(version, n)
	}
	return version
}

// refuseExposed keeps a GitLab that anybody can take over from being open to everybody.
func (d *document) refuseExposed(g *GitLab) {
	if !d.sound(&g.Server.Version) {
		return
	}
	version, err := gitlab.ParseVersion(g.Server.Version)
	if err != nil {
		return // refused as a version
	}
	holes := gitlab.HolesOf(version)
	if len(holes) == 0 {
		return
	}
	want := fmt.Sprintf("ranges of /8 or smaller until GitLab is %s or later: anybody who reaches an earlier one can take it over without a login (%s)",
		gitlab.SafeFrom(version), describeHoles(holes, version))
	ranges := g.LoadBalancer.AllowedRanges
	for i := range ranges {
		if d.sound(&ranges[i]) && isWorld(ranges[i]) {
			d.refuse(&ranges[i], fmt.Sprintf("%s with GitLab %s", quote(ranges[i]), g.Server.Version), want)
		}
	}
}

// describeHoles names each hole of a version with the version that closed it.
func describeHoles(holes []gitlab.Hole, version gitlab.Version) string {
	var named []string
	for _, hole := range holes {
		named = append(named, fmt.Sprintf("%s, fixed in %s", hole.CVE, hole.FixFor(version)))
	}
	return strings.Join(named, "; ")
}
