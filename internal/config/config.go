// Package config loads the settings of one environment from config/<environment>.yaml.
package config

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
)

// Config is one environment: a GitLab in account A and the deployment of what it builds in account B.
type Config struct {
	Environment           string `yaml:"environment"`
	Region                string `yaml:"region"`
	TerminationProtection bool   `yaml:"terminationProtection"`
	GitLab                GitLab `yaml:"gitlab"`
	Deploy                Deploy `yaml:"deploy"`
}

// GitLab is account A.
type GitLab struct {
	Account          string       `yaml:"account"`
	Network          Network      `yaml:"network"`
	LoadBalancer     LoadBalancer `yaml:"loadBalancer"`
	Server           Server       `yaml:"server"`
	Runner           Runner       `yaml:"runner"`
	LogRetentionDays int          `yaml:"logRetentionDays"`
}

// Network is the VPC of account A.
type Network struct {
	VPCCIDR       string   `yaml:"vpcCidr"`
	Zones         []string `yaml:"zones"`
	PublicSubnets []string `yaml:"publicSubnets"`
	GitLabSubnet  string   `yaml:"gitlabSubnet"`
}

// LoadBalancer is the public entry to GitLab.
type LoadBalancer struct {
	AllowedRanges  []string    `yaml:"allowedRanges"`
	DomainName     string      `yaml:"domainName"`
	CertificateARN string      `yaml:"certificateArn"`
	HostedZone     *HostedZone `yaml:"hostedZone"`
}

// HostedZone is a public Route 53 zone of account A.
type HostedZone struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
}

// Server is the GitLab host.
type Server struct {
	Version              string `yaml:"version"`
	Edition              string `yaml:"edition"`
	ImageID              string `yaml:"imageId"`
	InstanceType         string `yaml:"instanceType"`
	RootVolumeGiB        int    `yaml:"rootVolumeGiB"`
	DataVolumeGiB        int    `yaml:"dataVolumeGiB"`
	PackageRepositoryURL string `yaml:"packageRepositoryUrl"`
}

// Runner is the host that runs CI jobs.
type Runner struct {
	Version              string `yaml:"version"`
	ImageID              string `yaml:"imageId"`
	InstanceType         string `yaml:"instanceType"`
	RootVolumeGiB        int    `yaml:"rootVolumeGiB"`
	PackageRepositoryURL string `yaml:"packageRepositoryUrl"`
}

// Deploy is account B.
type Deploy struct {
	Account          string            `yaml:"account"`
	Artifacts        Artifacts         `yaml:"artifacts"`
	LogRetentionDays int               `yaml:"logRetentionDays"`
	DeploymentGroups []DeploymentGroup `yaml:"deploymentGroups"`
}

// Artifacts is the bucket that takes what the jobs upload.
type Artifacts struct {
	BucketName          string `yaml:"bucketName"`
	Prefix              string `yaml:"prefix"`
	ReplacedVersionDays int    `yaml:"replacedVersionDays"`
}

// DeploymentGroup names an existing CodeDeploy group that may be deployed to.
type DeploymentGroup struct {
	Application     string `yaml:"application"`
	DeploymentGroup string `yaml:"deploymentGroup"`
}

// Load reads dir/<environment>.yaml.
func Load(dir, environment string) (Config, error) {
	file := filepath.Join(dir, environment+".yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return Config{}, err
	}
	var config Config
	if err := yaml.UnmarshalWithOptions(text, &config, yaml.Strict()); err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return config, nil
}
