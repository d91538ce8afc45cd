package constructs

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path"
	"path/filepath"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/constructs-go/constructs/v10"

	"gitlab-codedeploy/internal/gobuild"
)

// ProgramProps configures [NewProgram].
type ProgramProps struct {
	// Root is the folder of the Go module. Required.
	Root string

	// Package is the program to build, from Root, such as "cmd/artifact"; its
	// last part is the program's name. Required.
	Package string

	// Architecture is the hosts' processor, as "uname -m" says it: "x86_64" or
	// "aarch64". Required.
	Architecture string
}

// Program is one of the project's own programs, on its way to Linux hosts: built
// here when the app is synthesised, and published with the stack as a file in the
// CDK's bucket of assets.
//
//	go build ──▶ asset ── S3 endpoint ──▶ /opt/gitlab-codedeploy/<SHA256>/<name>
//
// A document that names SHA256 lets a host run that build and no other
// (internal/runner, [NewHostDocument]). The same sources, built by the same Go, have the same
// hash: a deploy that changes nothing of a program brings nothing.
type Program struct {
	// Name is the file's name on a host, such as "artifact".
	Name string
	// Architecture is the hosts' processor, as "uname -m" says it.
	Architecture string
	// SHA256 is that of the program, in hex.
	SHA256 string
	// BucketName and ObjectKey say where it is published: another build is another
	// object.
	BucketName, ObjectKey *string
}

// NewProgram defines a Program under scope.
func NewProgram(scope constructs.Construct, id string, props ProgramProps) *Program {
	folder, err := os.MkdirTemp("", "gitlab-codedeploy-")
	if err != nil {
		panic(err)
	}
	// The CDK copies the file into its assembly at once.
	defer os.RemoveAll(folder)
	// With an ending, for without one the CDK takes the hash in its own file's name
	// for the ending of the key.
	file := filepath.Join(folder, path.Base(props.Package)+".bin")
	if *awscdk.Stack_Of(scope).BundlingRequired() {
		err = gobuild.Build(props.Root, "./"+props.Package, file, "linux", GoArchitecture(props.Architecture))
	} else {
		// As the CDK does with bundled assets: a stack that is not deployed now, or
		// a test of its template, needs no compiler.
		err = os.WriteFile(file, []byte(props.Package+" for "+props.Architecture+", which was not built\n"), 0o755)
	}
	if err != nil {
		panic(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(content)
	asset := awss3assets.NewAsset(scope, &id, &awss3assets.AssetProps{Path: &file})
	return &Program{
		Name:         path.Base(props.Package),
		Architecture: props.Architecture,
		SHA256:       hex.EncodeToString(sum[:]),
		BucketName:   asset.S3BucketName(),
		ObjectKey:    asset.S3ObjectKey(),
	}
}

// GoArchitecture is Go's name of a processor.
func GoArchitecture(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	panic("Program: got architecture " + machine + ", want x86_64 or aarch64")
}

// objectARN is the ARN of the published program.
func (p *Program) objectARN() string { return objectARN(*p.BucketName, *p.ObjectKey) }

// arguments are what install-program needs to know. They are constants of
// the document: who may send it chooses none of them.
func (p *Program) arguments(region string) []DocumentArgument {
	return []DocumentArgument{
		{Flag: "--name", Value: p.Name},
		{Flag: "--sha256", Value: p.SHA256},
		{Flag: "--bucket", Value: *p.BucketName},
		{Flag: "--key", Value: *p.ObjectKey},
		{Flag: "--region", Value: region},
	}
}

// grantRead lets a host's role fetch exactly this build. The CDK's own grant is
// for the whole bucket of assets.
func (p *Program) grantRead(scope constructs.Construct, id string, role awsiam.Role) awsiam.Policy {
	arn := p.objectARN()
	return awsiam.NewPolicy(scope, &id, &awsiam.PolicyProps{
		Roles:      &[]awsiam.IRole{role},
		Statements: &[]awsiam.PolicyStatement{allow("FetchProgram", []*string{&arn}, "s3:GetObject")},
	})
}
