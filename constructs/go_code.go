package constructs

import (
	"os"
	"path/filepath"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/jsii-runtime-go"

	"gitlab-codedeploy/internal/gobuild"
)

// GoCodeProps configures [NewGoCode].
type GoCodeProps struct {
	// Root is the folder of the Go module. Required.
	Root string

	// Package is the program to build, from Root, such as "lambda/trigger". Required.
	Package string

	// Files are put beside the program, by name. Optional.
	Files map[string][]byte
}

// NewGoCode returns the code of a Lambda function on provided.al2023 and
// arm64. It is compiled here when the app is synthesised, with the Go that
// runs the app; no container is needed.
// https://docs.aws.amazon.com/lambda/latest/dg/golang-package.html
func NewGoCode(props GoCodeProps) awslambda.Code {
	return awslambda.Code_FromAsset(jsii.String(filepath.Join(props.Root, props.Package)), &awss3assets.AssetOptions{
		// The hash of what comes out, not of what goes in: a comment in the
		// sources is no reason to deploy.
		AssetHashType: awscdk.AssetHashType_OUTPUT,
		Bundling: &awscdk.BundlingOptions{
			Image: awscdk.DockerImage_FromRegistry(jsii.String("unused")),
			Local: &goBundling{props},
		},
	})
}

// goBundling builds a function without Docker.
type goBundling struct {
	props GoCodeProps
}

// TryBundle writes the function's files to outputDir. It panics when it
// cannot: returning false would make the CDK look for Docker, and hide the
// compiler's message behind that search.
func (b *goBundling) TryBundle(outputDir *string, _ *awscdk.BundlingOptions) *bool {
	err := gobuild.Build(b.props.Root, "./"+b.props.Package, filepath.Join(absolute(*outputDir), "bootstrap"), "linux", "arm64")
	if err != nil {
		panic(err)
	}
	for name, content := range b.props.Files {
		if err := os.WriteFile(filepath.Join(*outputDir, name), content, 0o644); err != nil {
			panic(err)
		}
	}
	return jsii.Bool(true)
}

// absolute keeps a path valid for the compiler, which runs in another folder.
func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return abs
}
