package upload

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"

	"gitlab-codedeploy/internal/plain"
)

// Request says where an artifact goes, and what for.
type Request struct {
	Bucket          string
	Application     string
	DeploymentGroup string
	Prefix          string // what keys begin with; the bucket refuses others
	Key             string // "" is <prefix><application>/artifact and the suffix of its form
}

var (
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
	bucketPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	addressPattern = regexp.MustCompile(`^[0-9]+(\.[0-9]+){3}$`)
	// https://docs.aws.amazon.com/codedeploy/latest/userguide/limits.html
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9._+=,@-]{1,100}$`)
	prefixPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*/$`)
	keyPattern    = regexp.MustCompile(`^[A-Za-z0-9._+=,@/-]+$`)
)

// Check returns what is wrong with a request, if anything is.
func (r Request) Check() error {
	name := "1 to 100 of A-Z a-z 0-9 . _ + = , @ -"
	switch {
	case CheckBucket(r.Bucket) != nil:
		return CheckBucket(r.Bucket)
	case !namePattern.MatchString(r.Application):
		return fmt.Errorf("application: got %s, want %s", quoted(r.Application), name)
	case !namePattern.MatchString(r.DeploymentGroup):
		return fmt.Errorf("deployment group: got %s, want %s", quoted(r.DeploymentGroup), name)
	case !prefixPattern.MatchString(r.Prefix):
		return fmt.Errorf("ARTIFACT_PREFIX: got %s, want a folder such as artifacts/", quoted(r.Prefix))
	}
	return r.checkKey()
}

// CheckBucket returns what is wrong with a bucket's name, if anything is.
func CheckBucket(name string) error {
	if !bucketPattern.MatchString(name) || strings.Contains(name, "..") || addressPattern.MatchString(name) {
		return fmt.Errorf("bucket: got %s, want 3 to 63 of a-z 0-9 . - and not an IP address", quoted(name))
	}
	return nil
}

func (r Request) checkKey() error {
	steps := "/" + r.Key + "/"
	switch {
	case r.Key == "":
		return nil
	case !strings.HasPrefix(r.Key, r.Prefix) || r.Key == r.Prefix:
		return fmt.Errorf("key: got %s, want one under %s, which is all that the bucket takes", quoted(r.Key), r.Prefix)
	case len(r.Key) > 1024 || !keyPattern.MatchString(r.Key) || strings.Contains(steps, "//") || strings.Contains(steps, "/./") || strings.Contains(steps, "/../"):
		return fmt.Errorf("key: got %s, want up to 1,024 of A-Z a-z 0-9 . _ + = , @ - / without empty, . or .. steps", quoted(r.Key))
	}
	return nil
}

// Form is what an artifact is, as CodeDeploy has to be told.
// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_S3Location.html
type Form struct {
	Suffixes    []string // of keys; the first is that of the key of Request's choice
	ContentType string
	BundleType  string // metadata bundle-type; "" leaves it to the suffix
}

// Forms of artifacts: a folder for instances, and the AppSpec file alone for
// Amazon ECS and Lambda.
var (
	Archive = Form{Suffixes: []string{".gz", ".tgz"}, ContentType: "application/gzip"}
	YAML    = Form{Suffixes: []string{".yaml", ".yml"}, ContentType: "application/yaml", BundleType: "YAML"}
	JSON    = Form{Suffixes: []string{".json"}, ContentType: "application/json", BundleType: "JSON"}
)

// KeyFor returns the key of an artifact of this form. The suffix is what tells
// the deployment's side what it is.
func (r Request) KeyFor(form Form) (string, error) {
	switch {
	case r.Key == "" && r.Application == "":
		return "", nil // Nobody has said for what it is: it is checked only.
	case r.Key == "":
		return r.Prefix + r.Application + "/artifact" + form.Suffixes[0], nil
	}
	for _, suffix := range form.Suffixes {
		if base := strings.TrimSuffix(r.Key, suffix); base != r.Key && !strings.HasSuffix(base, "/") {
			return r.Key, nil
		}
	}
	return "", fmt.Errorf("key: got %s, want one that ends in %s", quoted(r.Key), strings.Join(form.Suffixes, " or "))
}

// quoted shows what came, which may be anything.
func quoted(text string) string { return "'" + plain.Line(text, 200) + "'" }

// Origin says where an upload comes from, by GitLab's predefined variables. All
// of them may be missing, or be something else.
// https://docs.gitlab.com/ee/ci/variables/predefined_variables.html
type Origin struct {
	CommitSHA, PipelineURL, PipelineID, JobID string
}

var (
	numberPattern = regexp.MustCompile(`^[0-9]{1,20}$`)
	commitPattern = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
	urlPattern    = regexp.MustCompile(`^https?://[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+$`)
)

// UploadID names an upload: by pipeline and job for people, with random digits,
// so that a retried job is another upload. [A-Za-z0-9-], up to 64.
func (o Origin) UploadID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	if numberPattern.MatchString(o.PipelineID) && numberPattern.MatchString(o.JobID) {
		return fmt.Sprintf("%s-%s-%x", o.PipelineID, o.JobID, b[:6])
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a UUID of version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Metadata is what the artifact says of itself. Values from outside go in only
// when they are plain ASCII; S3 takes 2 KB of it. leftOut names what does not.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
func (r Request) Metadata(o Origin, uploadID string, form Form) (metadata map[string]string, leftOut string) {
	metadata = map[string]string{"application-name": r.Application, "deploymentgroup-name": r.DeploymentGroup, "upload-id": uploadID}
	if form.BundleType != "" {
		metadata["bundle-type"] = form.BundleType
	}
	if commitPattern.MatchString(o.CommitSHA) {
		metadata["commit-sha"] = o.CommitSHA
	}
	switch {
	case urlPattern.MatchString(o.PipelineURL) && len(o.PipelineURL) <= 1024:
		metadata["pipeline-url"] = o.PipelineURL
	case o.PipelineURL != "":
		leftOut = "leaving pipeline-url out: CI_PIPELINE_URL is not a URL of up to 1,024 ASCII characters"
	}
	return metadata, leftOut
}
