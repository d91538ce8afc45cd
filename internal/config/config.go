// Package config loads the settings of one environment from config/<environment>.yaml.
//
// It is plain data: it knows the rules of AWS and GitLab that can be checked without asking either of them, and
// nothing of their APIs or of the CDK. A file that loads is one that both stacks can be made from.
//
// Loading is strict and reports everything that is wrong in one go, a line for each problem:
//
//	config/staging.yaml:12: gitlab.network.vpcCidr: got "10.0.0.0/8", want a range from /16 to /28
//
// The work goes in three steps, a file for each: parse.go makes a tree of the text, decode.go fits the tree to the
// types below (keys, types, defaults), validate.go checks the values that fitted, with the rules of network.go,
// load_balancer.go, deploy.go and pipeline.go. A value has at most one problem: what is missing or of the wrong type is not checked
// any further.
//
// The tags of the fields drive decode.go: `yaml` is the key, `default` its value when it is left out, and
// ",omitempty" marks a key that may be left out without a default. Every other key is required; "-" is no key.
//
// GitLab's public keys lie beside the file, in config/<environment>.jwks.json: a program writes them, and nobody by hand.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gitlab-codedeploy/internal/trust"
)

// Config is one environment: a GitLab in account A, and in account B what deploys the artifacts built there.
type Config struct {
	// Environment is the name of the file without ".yaml"; it ends the names of both stacks.
	// A lower-case letter, then up to 19 lower-case letters, digits and hyphens.
	Environment string `yaml:"environment"`
	// Region holds both stacks, such as "ap-northeast-1": one for both accounts, because the S3 gateway endpoint of
	// account A reaches only buckets of its own Region.
	// https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-s3.html
	Region string `yaml:"region"`
	// TerminationProtection makes CloudFormation refuse to delete either stack.
	TerminationProtection bool   `yaml:"terminationProtection" default:"true"`
	GitLab                GitLab `yaml:"gitlab"`
	Deploy                Deploy `yaml:"deploy"`
	// Pipeline lets the pipeline of this repository itself review and deploy; nil when neither account trusts one.
	Pipeline *Pipeline `yaml:"pipeline,omitempty"`
	// Keys are those that GitLab signs the tokens of its jobs with, from the file beside this one; none as long as there is
	// no such file.
	Keys trust.Keys `yaml:"-" json:"-"`
}

// URL is GitLab's own.
func (g GitLab) URL() string { return "https://" + g.LoadBalancer.DomainName }

// Pipeline is the GitLab project whose jobs get roles in both accounts, by tokens of GitLab's instead of keys.
type Pipeline struct {
	// IssuerURL is what the tokens name as their issuer: AWS reads GitLab's public keys below it, from the internet.
	IssuerURL string `yaml:"issuerUrl"`
	// ProjectPath is the project's full path, such as "platform/gitlab-codedeploy".
	ProjectPath string `yaml:"projectPath"`
	// Branch is the protected branch whose jobs may deploy.
	Branch string `yaml:"branch" default:"main"`
	// ForkPipelines says why no pipeline of a fork's merge request can sign in as this project: [ForksFixed] or
	// [ForksOff]. Required: nothing but the operator knows it.
	ForkPipelines string `yaml:"forkPipelines,omitempty"`
	// ExistingProvider is for accounts that trust this issuer already: IAM takes each issuer once.
	ExistingProvider bool `yaml:"existingProvider" default:"false"`
}

// GitLab configures account A: network, load balancer, GitLab server and runner host.
type GitLab struct {
	// Account is the 12-digit id of account A. A string, because an id may begin with zeros.
	Account      string       `yaml:"account"`
	Network      Network      `yaml:"network"`
	LoadBalancer LoadBalancer `yaml:"loadBalancer"`
	Server       Server       `yaml:"server"`
	Runner       Runner       `yaml:"runner"`
	Backup       Backup       `yaml:"backup,omitempty"`
	// SecurityUpdates are those of both hosts' operating systems.
	SecurityUpdates SecurityUpdates `yaml:"securityUpdates,omitempty"`
	// LogRetentionDays is how long the VPC's flow logs are kept: one of the values that CloudWatch Logs takes.
	LogRetentionDays int `yaml:"logRetentionDays" default:"365"`
	// AlarmEmail receives the alarms; "" when nobody is to be written to.
	AlarmEmail string `yaml:"alarmEmail,omitempty"`
	// BreakGlassRoles are roles of account A, by name or ARN: those of the people who may read backups and snapshots,
	// and restore by hand. They exist.
	BreakGlassRoles []string `yaml:"breakGlassRoles,omitempty"`
}

// BreakGlassRoleARNs are the break-glass roles by their ARNs.
func (g GitLab) BreakGlassRoleARNs(region string) []string {
	return roleARNs(region, g.Account, g.BreakGlassRoles)
}

// Network is the VPC of account A. All ranges are canonical IPv4 CIDR blocks; the subnets do not overlap.
type Network struct {
	// VPCCIDR is a private range from /16 to /28.
	VPCCIDR string `yaml:"vpcCidr"`
	// Zones are two different availability zones of the region: an ALB needs two.
	Zones []string `yaml:"zones"`
	// PublicSubnets, one for each zone in that order, hold the ALB and the NAT gateway; /27 or larger.
	PublicSubnets []string `yaml:"publicSubnets"`
	// GitLabSubnet is the private subnet, in the first zone, of server, runner and interface endpoints; /28 or larger.
	GitLabSubnet string `yaml:"gitlabSubnet"`
	// ReadableBuckets are other buckets of the region that jobs may read through the S3 endpoint.
	ReadableBuckets []string `yaml:"readableBuckets,omitempty"`
}

// LoadBalancer is the public way in to GitLab.
type LoadBalancer struct {
	// AllowedRanges may reach ports 80 and 443: one to 29 IPv4 CIDR blocks.
	AllowedRanges []string `yaml:"allowedRanges"`
	// DomainName is the host name in GitLab's URL.
	DomainName string `yaml:"domainName"`
	// CertificateARN is an ACM certificate of account A and the region; "" when HostedZone is set.
	CertificateARN string `yaml:"certificateArn,omitempty"`
	// HostedZone makes the stack create and renew the certificate and point DomainName at the load balancer;
	// nil when CertificateARN is set.
	HostedZone *HostedZone `yaml:"hostedZone,omitempty"`
}

// HostedZone is a public Route 53 zone of account A.
type HostedZone struct {
	// ID is the zone's id without "/hostedzone/".
	ID string `yaml:"id"`
	// Name is the zone's domain name without the dot at its end; DomainName lies in it.
	Name string `yaml:"name"`
}

// Server is the GitLab host.
type Server struct {
	// Version is the exact GitLab version to install, as X.Y.Z.
	Version string `yaml:"version"`
	// Edition is "ce" or "ee"; a backup can only be restored on the edition that made it.
	Edition string `yaml:"edition" default:"ce"`
	// OperatingSystem is that of the image: [AmazonLinux2] or, from GitLab 16.3.0 on, [AmazonLinux2023]. A server that
	// there is never changes it: docs/amazon-linux-2023.md.
	OperatingSystem string `yaml:"operatingSystem" default:"amazon-linux-2"`
	// ImageID is an image of OperatingSystem. It is fixed here so that a newer image never replaces the server; changing
	// it is refused unless AllowReplacement is set.
	ImageID string `yaml:"imageId"`
	// InstanceType has the processor architecture of the image.
	InstanceType string `yaml:"instanceType"`
	// RootVolumeGiB is the size of the system's gp3 volume in GiB.
	RootVolumeGiB int `yaml:"rootVolumeGiB" default:"30"`
	// DataVolumeGiB is the size of the gp3 volume with everything GitLab stores, in GiB; it can grow, never shrink.
	DataVolumeGiB int `yaml:"dataVolumeGiB" default:"200"`
	// DataVolumeID is an existing volume that takes the place of the stack's own, such as one made from a snapshot;
	// "" for the stack's own.
	DataVolumeID string `yaml:"dataVolumeId,omitempty"`
	// SnapshotKeepDays is how many days the daily snapshot of the data volume is kept.
	SnapshotKeepDays int `yaml:"snapshotKeepDays" default:"35"`
	// Generation counts the servers of this environment: a higher one is a new server.
	Generation int `yaml:"generation" default:"1"`
	// AllowReplacement lets one deploy replace or delete what the stack's policy protects.
	AllowReplacement bool `yaml:"allowReplacement" default:"false"`
	// PackageRepositoryURL is the https base URL below which the repositories gitlab-ce and gitlab-ee lie.
	PackageRepositoryURL string `yaml:"packageRepositoryUrl" default:"https://packages.gitlab.com/gitlab"`
}

// Runner is the host that runs CI jobs.
type Runner struct {
	// Version is the exact GitLab Runner version to install, as X.Y.Z; X.Y is the server's.
	Version string `yaml:"version"`
	// OperatingSystem is that of the image: [AmazonLinux2023] or [AmazonLinux2].
	OperatingSystem string `yaml:"operatingSystem" default:"amazon-linux-2023"`
	// ImageID is an image of OperatingSystem.
	ImageID string `yaml:"imageId"`
	// InstanceType has the processor architecture of the image.
	InstanceType string `yaml:"instanceType"`
	// RootVolumeGiB is the size of the only volume, with Docker's images and the jobs' files, in GiB.
	RootVolumeGiB int `yaml:"rootVolumeGiB" default:"100"`
	// Generation counts the runner's hosts of this environment: a higher one is a new host.
	Generation int `yaml:"generation" default:"1"`
	// PackageRepositoryURL is the https base URL below which the repository gitlab-runner lies.
	PackageRepositoryURL string `yaml:"packageRepositoryUrl" default:"https://packages.gitlab.com/runner"`
	// ConcurrentJobs is how many jobs the host runs at a time.
	ConcurrentJobs int `yaml:"concurrentJobs" default:"2"`
	// JobImage is the Docker image of jobs that name none.
	JobImage string `yaml:"jobImage" default:"alpine:3.20"`
	// Tags are those of the jobs that the runner takes; without any, it takes jobs that have none.
	Tags []string `yaml:"tags,omitempty"`
}

// Backup is the nightly backup of GitLab, and how long backups are kept.
type Backup struct {
	// Time is when the backup begins each day, as HH:MM in UTC.
	Time string `yaml:"time" default:"18:00"`
	// KeepDays is how many days a backup is kept; the newest three stay however old they are.
	KeepDays int `yaml:"keepDays" default:"30"`
	// DeletedDays is for how many more days a removed backup can be brought back.
	DeletedDays int `yaml:"deletedDays" default:"30"`
}

// SecurityUpdates says when security updates are installed, each week. They restart a host that had some.
type SecurityUpdates struct {
	// Enabled is false when updates are made in another way.
	Enabled bool `yaml:"enabled" default:"true"`
	// Day is the day of the week in UTC, "SUN" to "SAT".
	Day string `yaml:"day" default:"SAT"`
	// Time is when they begin on that day, as HH:MM in UTC.
	Time string `yaml:"time" default:"20:00"`
}

// Deploy configures account B: the artifact bucket and what starts deployments from it.
type Deploy struct {
	// Account is the 12-digit id of account B, another one than GitLab's.
	Account   string    `yaml:"account"`
	Artifacts Artifacts `yaml:"artifacts"`
	// LogRetentionDays is how long the functions' logs are kept: one of the values that CloudWatch Logs takes.
	LogRetentionDays int `yaml:"logRetentionDays" default:"365"`
	// LongestDeploymentHours is for how many hours an artifact waits at least for a busy deployment group.
	LongestDeploymentHours int `yaml:"longestDeploymentHours" default:"24"`
	// StatusRetentionDays is how many days the state of a deployment can be read.
	StatusRetentionDays int `yaml:"statusRetentionDays" default:"365"`
	// AlarmEmail receives the alarms; "" when nobody is to be written to.
	AlarmEmail string `yaml:"alarmEmail,omitempty"`
	// Applications are those of DeploymentGroups that there is something to say of; the others have no reader roles.
	Applications []Application `yaml:"applications,omitempty"`
	// DeploymentGroups is the allow-list: artifacts that name any other pair are rejected. At least one.
	DeploymentGroups []DeploymentGroup `yaml:"deploymentGroups"`
}

// Artifacts is the bucket that jobs upload to.
type Artifacts struct {
	// BucketName is unique in all of AWS and has no dots.
	BucketName string `yaml:"bucketName"`
	// Prefix begins the keys that start deployments. It ends with "/" and lies apart from "deployments/",
	// where the state of each deployment is written, from "groups/", where the order of uploads is kept, from "orders/" of
	// operators, and from "tokens/".
	Prefix string `yaml:"prefix" default:"artifacts/"`
	// ReplacedVersionDays is how many days a version is kept that is not wanted any more: rejected, superseded, or
	// deployed before the last successful one and the ten before it. Those never expire.
	ReplacedVersionDays int `yaml:"replacedVersionDays" default:"90"`
	// AllowReplacement lets one deploy replace or delete what the stack's policy protects.
	AllowReplacement bool `yaml:"allowReplacement" default:"false"`
}

// Application is a CodeDeploy application of DeploymentGroups, with who may read its artifacts.
type Application struct {
	Name string `yaml:"name"`
	// ReaderRoles are roles of account B, by name or ARN, that may read the application's artifacts: those of the
	// instances that CodeDeploy deploys it to.
	ReaderRoles []string `yaml:"readerRoles,omitempty"`
}

// ReaderRoleARNs are an application's reader roles by their ARNs.
func (d Deploy) ReaderRoleARNs(region string, application Application) []string {
	return roleARNs(region, d.Account, application.ReaderRoles)
}

// KeyPrefix begins the keys that instances of an application read. Artifacts of a single application may also lie right
// below [Artifacts.Prefix], in the source's own form; there nothing else is, so its instances read all of it.
func (d Deploy) KeyPrefix(application string) string {
	for _, group := range d.DeploymentGroups {
		if group.Application != application {
			return d.Artifacts.Prefix + application + "/"
		}
	}
	return d.Artifacts.Prefix
}

// DeploymentGroup names one existing blue/green deployment group of CodeDeploy in account B, and who may deploy to it.
type DeploymentGroup struct {
	Application     string `yaml:"application"`
	DeploymentGroup string `yaml:"deploymentGroup"`
	// Projects may deploy to the group, proven by the token that GitLab signs for each job. Without any, nothing may.
	Projects Projects `yaml:"projects,omitempty"`
	// Refs are the branches and tags, by their exact names, whose pipelines may. Required with projects.
	Refs []string `yaml:"refs,omitempty"`
	// RequireProtectedRef is false when refs may deploy that GitLab does not protect.
	RequireProtectedRef bool `yaml:"requireProtectedRef" default:"true"`
}

// Projects are GitLab's projects, or the scalar "any", which switches the proof off.
type Projects struct {
	Any  bool
	List []Project
}

// Project is one of GitLab's. Both have to be right: an id stays for ever, a path can come to be another project's.
type Project struct {
	ID   int    `yaml:"id"`
	Path string `yaml:"path"`
}

// maxBytes bounds a file; a thousand deployment groups with names of full length take half of it.
const maxBytes = 1 << 20

var environmentName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,19}$`)

// Load reads dir/<environment>.yaml, fills in the defaults and checks every value.
//
// The error of a file that is not right has one line for each problem, in the order of the file. An environment
// without a file is answered with those that there are; environment may come from outside and never leaves dir.
func Load(dir, environment string) (Config, error) {
	file, text, err := readFile(dir, environment)
	if err != nil {
		return Config{}, err
	}
	config, err := load(file, environment, text)
	if err != nil {
		return Config{}, err
	}
	config.Keys, err = readKeys(dir, environment)
	return config, err
}

func readFile(dir, environment string) (file string, text []byte, err error) {
	file = filepath.Join(dir, environment+".yaml")
	if !environmentName.MatchString(environment) || !isFile(file) {
		return "", nil, unknownEnvironment(dir, environment)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if text, err = io.ReadAll(io.LimitReader(f, maxBytes+1)); err != nil {
		return "", nil, fmt.Errorf("read configuration: %w", err)
	}
	return file, text, nil
}

func load(file, environment string, text []byte) (Config, error) {
	d, err := readDocument(file, environment, text)
	if err != nil {
		return Config{}, err
	}
	return d.config, nil
}

// readDocument answers a document without problems.
func readDocument(file, environment string, text []byte) (*document, error) {
	d := newDocument(file)
	if root := d.parse(text); root != nil {
		d.decode(root)
		d.validate(environment)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return d, nil
}

func unknownEnvironment(dir, environment string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list environments: %w", err)
	}
	var names []string
	for _, entry := range entries {
		name, isYAML := strings.CutSuffix(entry.Name(), ".yaml")
		if isYAML && environmentName.MatchString(name) && isFile(filepath.Join(dir, entry.Name())) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("environment: got %s, but there are none: want a file <environment>.yaml in %s", quote(environment), dir)
	}
	return fmt.Errorf("environment: got %s, want one of %s (the .yaml files in %s)", quote(environment), strings.Join(names, ", "), dir)
}

// isFile keeps Load from waiting for ever on a pipe of that name.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
