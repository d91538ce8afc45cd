package config

import (
	"fmt"
	"net/mail"
	"regexp"
	"strings"
)

const (
	// The state of every deployment is written below this prefix of the same bucket.
	statePrefix = "deployments/"
	// And the order of each deployment group's uploads below this one.
	recordPrefix = "groups/"
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
	check(d, &deploy.Artifacts.BucketName, bucketName)
	check(d, &deploy.Artifacts.Prefix, artifactPrefix)
	check(d, &deploy.Artifacts.ReplacedVersionDays, between(1, 3650, "days"))
	d.validateReaderRoles(deploy)
	check(d, &deploy.LogRetentionDays, logRetention)
	check(d, &deploy.LongestDeploymentHours, between(1, maxWaitHours, "hours"))
	check(d, &deploy.StatusRetentionDays, between(1, 3650, "days"))
	if deploy.AlarmEmail != "" {
		check(d, &deploy.AlarmEmail, emailAddress)
	}
	d.validateDeploymentGroups(deploy)
}

func (d *document) validateDeploymentGroups(deploy *Deploy) {
	groups := deploy.DeploymentGroups
	if d.sound(&deploy.DeploymentGroups) && len(groups) == 0 {
		d.refuse(&deploy.DeploymentGroups, "an empty list", "at least one pair: nothing else is deployed")
	}
	first := map[DeploymentGroup]*DeploymentGroup{}
	for i := range groups {
		group := &groups[i]
		application := check(d, &group.Application, codeDeployName)
		if !check(d, &group.DeploymentGroup, codeDeployName) || !application {
			continue
		}
		if before := first[*group]; before != nil {
			d.refuse(group, fmt.Sprintf("%s of %s again", group.DeploymentGroup, group.Application),
				fmt.Sprintf("each pair once (also %s)", d.places[before].path))
			continue
		}
		first[*group] = group
	}
}

// maxReaderRoles keeps the bucket's policy under the 20 KB that S3 takes, with ARNs of their full length of 600.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html
const maxReaderRoles = 20

func (d *document) validateReaderRoles(deploy *Deploy) {
	d.validateRoles(&deploy.Artifacts.ReaderRoles, &deploy.Account, "deploy.account", maxReaderRoles,
		"the bucket's policy names each; give the others s3:GetObject and s3:GetObjectVersion yourself")
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
