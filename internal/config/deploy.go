package config

import (
	"fmt"
	"net/mail"
	"regexp"
	"strings"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/internal/trust"
)

const (
	// The state of every deployment is written below this prefix of the same bucket.
	statePrefix = "deployments/"
	// The order of each deployment group's uploads below this one, and the tokens of jobs below that one.
	recordPrefix, tokenPrefix = "groups/", trust.Prefix
	// What operators order lies below this one.
	orderPrefix = order.Prefix
	// A key has 1,024 bytes at most: the prefix, an application's name of up to 100, and "/artifact.gz".
	maxPrefix = 1024 - 100 - len("/artifact.gz")
	// A message comes back every 6 minutes at the earliest, and SQS hands it out 1,000 times at most. CodeDeploy's own longest
	// waits, 48 hours for the traffic and 48 hours for the old instances, fit in.
	maxWaitHours = 96
)

func (d *document) validateDeploy(deploy *Deploy) {
	check(d, &deploy.Account, accountID)
	// The bucket policy that account B gives to account A's endpoint, and the two sets of roles, are the product: in one
	// account they would prove nothing.
	if gitlab := &d.config.GitLab.Account; d.sound(gitlab, &deploy.Account) && *gitlab == deploy.Account {
		d.refuse(&deploy.Account, quote(deploy.Account), "another account than gitlab.account: what runs CI jobs must not be able to deploy by itself")
	}
	check(d, &deploy.Artifacts.BucketName, by(bucketName))
	check(d, &deploy.Artifacts.Prefix, by(artifactPrefix))
	check(d, &deploy.Artifacts.ReplacedVersionDays, between(1, 3650, "days"))
	check(d, &deploy.LogRetentionDays, logRetention)
	check(d, &deploy.LongestDeploymentHours, between(1, maxWaitHours, "hours"))
	check(d, &deploy.StatusRetentionDays, between(1, 3650, "days"))
	if deploy.AlarmEmail != "" {
		check(d, &deploy.AlarmEmail, by(emailAddress))
	}
	d.validateDeploymentGroups(deploy)
	d.validateApplications(deploy)
}

func (d *document) validateDeploymentGroups(deploy *Deploy) {
	groups := deploy.DeploymentGroups
	if d.sound(&deploy.DeploymentGroups) && len(groups) == 0 {
		d.refuse(&deploy.DeploymentGroups, "an empty list", "at least one pair: nothing else is deployed")
	}
	type pair struct{ application, group string }
	first := map[pair]*DeploymentGroup{}
	for i := range groups {
		group := &groups[i]
		d.validateProjects(group)
		application := check(d, &group.Application, by(codeDeployName))
		if !check(d, &group.DeploymentGroup, by(codeDeployName)) || !application {
			continue
		}
		if before := first[pair{group.Application, group.DeploymentGroup}]; before != nil {
			d.refuse(group, fmt.Sprintf("%s of %s again", group.DeploymentGroup, group.Application),
				fmt.Sprintf("each pair once (also %s)", d.places[before].path))
			continue
		}
		first[pair{group.Application, group.DeploymentGroup}] = group
	}
}

// maxReaderRoles is how many roles an application has at most, so that one with ARNs of their full length of 600 fits the
// bucket's policy.
const maxReaderRoles = 20

func (d *document) validateApplications(deploy *Deploy) {
	listed, groups := map[string]bool{}, d.sound(&deploy.DeploymentGroups)
	for i := range deploy.DeploymentGroups {
		application := &deploy.DeploymentGroups[i].Application
		listed[*application] = true
		groups = groups && d.sound(application)
	}
	first := map[string]*string{}
	applications := deploy.Applications
	for i := range applications {
		application := &applications[i]
		d.validateRoles(&application.ReaderRoles, &deploy.Account, "deploy.account", maxReaderRoles,
			"the bucket's policy names each; give the others s3:GetObject and s3:GetObjectVersion yourself")
		name := &application.Name
		switch before := first[*name]; {
		case !check(d, name, by(codeDeployName)):
			continue
		case before != nil:
			d.refuse(name, quote(*name)+" again", fmt.Sprintf("each application once (also %s)", d.places[before].path))
			continue
		case groups && !listed[*name]:
			d.refuse(name, quote(*name), "an application that deploy.deploymentGroups names")
		}
		first[*name] = name
	}
	d.refuseLongPolicy(deploy)
}

// MaxReadersBytes is the part of the artifact bucket's policy that may be about readers. S3 takes 20 KB; what else is in
// the policy takes 5 of them with the longest names.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html
const MaxReadersBytes = 15 << 10

// refuseLongPolicy keeps the policy under S3's limit, which a deploy would meet half-way.
func (d *document) refuseLongPolicy(deploy *Deploy) {
	if !d.sound(&deploy.Applications, &deploy.Account, &d.config.Region, &deploy.Artifacts.BucketName, &deploy.Artifacts.Prefix) {
		return
	}
	if size := deploy.ReadersBytes(d.config.Region); size > MaxReadersBytes {
		d.refuse(&deploy.Applications, fmt.Sprintf("reader roles that take %d bytes of the bucket's policy", size),
			fmt.Sprintf("at most %d bytes: give some roles s3:GetObject and s3:GetObjectVersion by policies of their own, and take them out here", MaxReadersBytes))
	}
}

// ReadersBytes is the length of the statements that let readers in, one for each application that has any.
func (d Deploy) ReadersBytes(region string) int {
	// As constructs/artifact_bucket.go makes it: a test compares the two.
	const statement = `{"Action":["s3:GetObject","s3:GetObjectVersion"],"Effect":"Allow","Principal":{"AWS":[]},"Resource":"/*","Sid":"AgentsReadArtifacts1000"},`
	size := 0
	for _, application := range d.Applications {
		arns := d.ReaderRoleARNs(region, application)
		if len(arns) == 0 {
			continue
		}
		size += len(statement) + len("arn:"+partitionOf(region)+":s3:::"+d.Artifacts.BucketName) + len(d.KeyPrefix(application.Name))
		for _, arn := range arns {
			size += len(arn) + len(`"",`)
		}
	}
	return size
}

var (
	bucketCharacters = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	// Names of this form need a property of the bucket that the stack does not set.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/gpbucketnamespaces.html
	accountNamespace = regexp.MustCompile(`-[0-9]{12}-[a-z0-9-]+-an$`)
)

// bucketName is the rule of S3 for general purpose buckets, without the dots that it allows: S3's certificate
// is for *.s3.<region>.amazonaws.com, and the star stands for no dot. That also rules out the form of an IP address, two
// adjacent dots, and the reserved suffix ".mrap".
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func bucketName(name string) string {
	switch {
	case len(name) < 3 || len(name) > 63:
		return fmt.Sprintf("3 to 63 characters (it has %d)", len(name))
	case strings.Contains(name, "."):
		return "a name without dots: over TLS a client does not accept S3's certificate for it"
	case !bucketCharacters.MatchString(name):
		return "lower-case letters, digits and hyphens, a letter or digit at both ends"
	case accountNamespace.MatchString(name):
		return "a name of the global namespace: -<account>-<region>-an is reserved by S3"
	}
	for _, prefix := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, prefix) {
			return fmt.Sprintf("a name that does not begin with %s, which S3 reserves", prefix)
		}
	}
	for _, suffix := range []string{"-s3alias", "--ol-s3", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, suffix) {
			return fmt.Sprintf("a name that does not end with %s, which S3 reserves", suffix)
		}
	}
	return ""
}

// The characters are safe in a key, and none of them is a wildcard in a policy's resource.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
var prefixCharacters = regexp.MustCompile(`^([A-Za-z0-9_-][A-Za-z0-9._-]*/)+$`)

func artifactPrefix(prefix string) string {
	switch {
	case len(prefix) > maxPrefix:
		return fmt.Sprintf("at most %d characters (it has %d)", maxPrefix, len(prefix))
	case strings.HasPrefix(prefix, "/"):
		return "a prefix without a / in front: S3 would look for a folder without a name"
	case !strings.HasSuffix(prefix, "/"):
		return "a prefix with a / at its end"
	case !prefixCharacters.MatchString(prefix):
		return "folders of letters, digits, hyphens, underscores and dots (not in front), each followed by one /"
	case strings.HasPrefix(prefix, statePrefix):
		return fmt.Sprintf("a prefix apart from %s, where the state of deployments is written", statePrefix)
	case strings.HasPrefix(prefix, recordPrefix):
		return fmt.Sprintf("a prefix apart from %s, where the order of uploads is kept", recordPrefix)
	case strings.HasPrefix(prefix, orderPrefix):
		return fmt.Sprintf("a prefix apart from %s, where operators' orders lie", orderPrefix)
	case strings.HasPrefix(prefix, tokenPrefix):
		return fmt.Sprintf("a prefix apart from %s, where the tokens of jobs lie", tokenPrefix)
	}
	return ""
}

var codeDeployCharacters = regexp.MustCompile(`^[A-Za-z0-9._+=,@-]{1,100}$`)

// codeDeployName is CodeDeploy's rule for names of applications and of deployment groups.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/limits.html
func codeDeployName(name string) string {
	switch {
	case !codeDeployCharacters.MatchString(name):
		return "1 to 100 letters, digits and . _ + = , @ -"
	case strings.Trim(name, ".") == "":
		return "a name of more than dots: it becomes a folder in the artifact's key"
	}
	return ""
}

// emailAddress is the plain form that SNS takes: no display name, no comments.
func emailAddress(text string) string {
	if address, err := mail.ParseAddress(text); err != nil || address.Address != text || !strings.Contains(text, ".") {
		return "an e-mail address such as team@example.com"
	}
	return ""
}
