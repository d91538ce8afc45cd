package config

import (
	"fmt"
	"regexp"
	"strings"

	"gitlab-codedeploy/internal/gitlab"
)

// What OperatingSystem may say. Amazon Linux 2 has had no updates since 2026-06-30.
// https://aws.amazon.com/amazon-linux-2/faqs/
const (
	AmazonLinux2    = "amazon-linux-2"
	AmazonLinux2023 = "amazon-linux-2023"
)

// Architecture is the processor architecture of the server, as "uname -m" says it: "x86_64" or "aarch64".
func (s Server) Architecture() string { return architecture(s.InstanceType) }

// Architecture is the processor architecture of the runner's host, as that of the server.
func (r Runner) Architecture() string { return architecture(r.InstanceType) }

// instanceParts are the family's letters, its generation, and the letters behind it, of which g stands for AWS's own
// Arm processors. A1, the first of them, has none.
// https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
var instanceParts = regexp.MustCompile(`^([a-z]+)([0-9]+)([a-z]*)`)

func architecture(instanceType string) string {
	family, _, _ := strings.Cut(instanceType, ".")
	parts := instanceParts.FindStringSubmatch(family)
	if parts != nil && (parts[1] == "a" || strings.Contains(parts[3], "g")) {
		return "aarch64"
	}
	return "x86_64"
}

func (d *document) validateSystems(server *Server, runner *Runner) {
	for _, system := range []*string{&server.OperatingSystem, &runner.OperatingSystem} {
		check(d, system, oneOf(AmazonLinux2, AmazonLinux2023))
	}
	// There are machines with Apple's processors, too: they run macOS.
	for _, instanceType := range []*string{&server.InstanceType, &runner.InstanceType} {
		check(d, instanceType, by(func(name string) string {
			if strings.HasPrefix(name, "mac") {
				return "an instance type that runs Linux such as m5.xlarge"
			}
			return ""
		}))
	}

	if d.sound(&server.Version, &server.OperatingSystem, &server.InstanceType) {
		d.requirePackage(&server.Version, "gitlab", server.OperatingSystem, server.InstanceType)
	}
	if d.sound(&runner.Version, &runner.OperatingSystem, &runner.InstanceType) {
		d.requirePackage(&runner.Version, "gitlab-runner", runner.OperatingSystem, runner.InstanceType)
	}
}

// requirePackage refuses a version that GitLab publishes no package of for that system and processor.
func (d *document) requirePackage(version *string, product, system, instanceType string) {
	parsed, err := gitlab.ParseVersion(*version)
	if err != nil {
		return // refused as a version
	}
	if _, has := gitlab.PackageOf(product, system, architecture(instanceType), parsed); !has {
		d.refuse(version, fmt.Sprintf("%s for %s on %s (%s)", quote(*version), system, architecture(instanceType), instanceType),
			fmt.Sprintf("a version that GitLab publishes a package of: %s", gitlab.DescribePackages(product)))
	}
}
