// Package metadata reads what an artifact says of itself.
package metadata

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
)

// Metadata keys of an artifact, as the program artifact writes them.
const (
	keyApplication     = "application-name"
	keyDeploymentGroup = "deploymentgroup-name"
	keyUploadID        = "upload-id"
	keyCommit          = "commit-sha"
	keyPipeline        = "pipeline-url"
	keyBundleType      = "bundle-type"
)

// doubled is what is left in front of a key when the client wrote the prefix
// itself: S3 sends x-amz-meta-x-amz-meta-application-name, the SDK strips one.
const doubled = "x-amz-meta-"

var (
	uploadIDPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	commitPattern   = regexp.MustCompile(`^[0-9a-fA-F]{7,64}$`)
	pipelinePattern = regexp.MustCompile(`^https?://[!-~]{1,200}$`)
)

// Request is what an artifact's metadata asks for. All of it comes from a CI
// job, so it is input from outside.
type Request struct {
	allowlist.Pair
	UploadID   string // "" unless it has the documented form
	Commit     string // "" unless it is a commit's hash
	Pipeline   string // "" unless it is an http(s) address
	BundleType string // as written; "" leaves it to the key's suffix
}

// Parse reads an object's metadata in either spelling and any case.
// A fault says why nothing can be deployed by it, and what to change; the request
// then holds what could be read.
func Parse(metadata map[string]string) (request Request, fault string) {
	values := map[string]string{}
	for _, key := range []string{keyUploadID, keyApplication, keyDeploymentGroup, keyCommit, keyPipeline, keyBundleType} {
		value, ok := lookUp(metadata, key)
		if !ok && fault == "" {
			fault = fmt.Sprintf("metadata %s comes twice, with different values: send it once, as %s", key, key)
		}
		values[key] = value
	}
	request = Request{
		Pair:       allowlist.Pair{Application: values[keyApplication], DeploymentGroup: values[keyDeploymentGroup]},
		UploadID:   matching(uploadIDPattern, values[keyUploadID]),
		Commit:     matching(commitPattern, values[keyCommit]),
		Pipeline:   matching(pipelinePattern, values[keyPipeline]),
		BundleType: values[keyBundleType],
	}
	switch {
	case fault != "":
		return request, fault
	case request.Application == "" && request.DeploymentGroup == "":
		return request, fmt.Sprintf("the object has no metadata %s and %s: upload it with upload-artifact.sh, or give both pairs", keyApplication, keyDeploymentGroup)
	case request.Application == "":
		return request, missing(keyApplication, keyDeploymentGroup)
	case request.DeploymentGroup == "":
		return request, missing(keyDeploymentGroup, keyApplication)
	}
	return request, ""
}

// missing names the usual cause: the AWS CLI sends only the last of two
// --metadata options, without a word.
func missing(key, other string) string {
	return fmt.Sprintf("metadata %s is missing, %s is there: with the AWS CLI give both in one option, --metadata %s=…,%s=…", key, other, key, other)
}

// lookUp finds the value of a key; ok is false when its spellings disagree.
func lookUp(metadata map[string]string, key string) (value string, ok bool) {
	found := false
	for k, v := range metadata {
		if strings.TrimPrefix(strings.ToLower(k), doubled) != key {
			continue
		}
		if v = strings.TrimSpace(v); found && v != value {
			return "", false
		}
		value, found = v, true
	}
	return value, true
}

func matching(pattern *regexp.Regexp, value string) string {
	if pattern.MatchString(value) {
		return value
	}
	return ""
}

// bundleSuffixes maps the end of a key to a bundle type. artifact.gz is a
// gzip-compressed tar: CodeDeploy opens no single compressed file.
var bundleSuffixes = []struct {
	suffix string
	bundle types.BundleType
}{
	{".zip", types.BundleTypeZip},
	{".tar", types.BundleTypeTar},
	{".tgz", types.BundleTypeTarGZip},
	{".gz", types.BundleTypeTarGZip}, // also .tar.gz
	{".yaml", types.BundleTypeYaml},
	{".yml", types.BundleTypeYaml},
	{".json", types.BundleTypeJson},
}

// Bundle chooses the bundle type, by the metadata when there is any, else by the
// key. A fault says what to change.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_S3Location.html
func (r Request) Bundle(key string) (bundle types.BundleType, fault string) {
	if r.BundleType != "" {
		for _, bundle := range types.BundleType("").Values() {
			if strings.EqualFold(r.BundleType, string(bundle)) {
				return bundle, ""
			}
		}
		return "", fmt.Sprintf("metadata %s is %q: want tar, tgz, zip, YAML or JSON", keyBundleType, clip.Text(r.BundleType, 100))
	}
	for _, s := range bundleSuffixes {
		if strings.HasSuffix(strings.ToLower(key), s.suffix) {
			return s.bundle, ""
		}
	}
	return "", fmt.Sprintf("the key's ending names no bundle type: want .zip, .tar, .tgz, .tar.gz, .gz, .yaml, .yml or .json, or metadata %s", keyBundleType)
}
