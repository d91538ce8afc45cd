// Package environment reads what a function is told by its environment.
package environment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/httpbody"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/allowlist"
)

// Host is what a function runs on: Lambda, or a program that plays it.
type Host struct {
	Getenv func(string) string
	Out    io.Writer // stdout, for metrics
	Log    *slog.Logger
	// Adjust changes how AWS is reached; nil leaves it as it is.
	Adjust func(*aws.Config)
}

// Reader reads settings and keeps what is missing or wrong, so that all of it
// is reported at once.
type Reader struct {
	Host
	problems []string
}

// Err names every problem met so far.
func (r *Reader) Err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(r.problems, "; "))
}

func (r *Reader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// Artifacts reads which objects are artifacts: those of bucket whose key
// starts with prefix.
func (r *Reader) Artifacts() (bucket, prefix string) {
	if bucket = r.Getenv("ARTIFACT_BUCKET"); bucket == "" {
		r.problem("ARTIFACT_BUCKET is not set: want the name of the artifact bucket")
	}
	prefix = r.Getenv("ARTIFACT_PREFIX")
	if prefix == "" || prefix == "/" || !strings.HasSuffix(prefix, "/") {
		r.problem("ARTIFACT_PREFIX is %q: want a key prefix that ends with /, such as artifacts/", prefix)
	}
	return bucket, prefix
}

// AllowList reads the list that lies in the function's package.
func (r *Reader) AllowList() allowlist.List {
	root := r.Getenv("LAMBDA_TASK_ROOT")
	if root == "" {
		r.problem("LAMBDA_TASK_ROOT is not set: want the folder that holds %s", allowlist.File)
		return nil
	}
	list, err := allowlist.Load(filepath.Join(root, allowlist.File))
	if err != nil {
		r.problem("%s", err)
	}
	return list
}

// KeysFile is where GitLab's public keys lie in a function's package. Up to twenty keys do not fit the 4 KB of its
// environment, beside what else is there.
const KeysFile = "gitlab-keys.json"

// GitLab reads how the tokens of jobs are checked. Without a file of keys none is known, and every token is refused.
func (r *Reader) GitLab() *trust.Verifier {
	v := &trust.Verifier{URL: r.Getenv("GITLAB_URL")}
	if u, err := url.Parse(v.URL); err != nil || u.Host == "" || u.Scheme != "https" || strings.HasSuffix(v.URL, "/") {
		r.problem("GITLAB_URL is %q: want GitLab's https:// address, without a / at its end", v.URL)
	}
	root := r.Getenv("LAMBDA_TASK_ROOT")
	if root == "" {
		return v // The allow-list has said so.
	}
	text, err := os.ReadFile(filepath.Join(root, KeysFile))
	if errors.Is(err, fs.ErrNotExist) {
		return v
	}
	if err == nil {
		v.Keys, err = trust.ParseKeys(text)
	}
	if err != nil {
		r.problem("%s: %s", KeysFile, err)
	}
	return v
}

// AllowListIfAny reads the list if one lies in the function's package; nil
// means that there is none.
func (r *Reader) AllowListIfAny() allowlist.List {
	_, err := os.Stat(filepath.Join(r.Getenv("LAMBDA_TASK_ROOT"), allowlist.File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return r.AllowList()
}

// URL reads an optional http(s) address; "" means that it is not set.
func (r *Reader) URL(name string) string {
	address := r.Getenv(name)
	if address == "" {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		r.problem("%s is %q: want an http:// or https:// address", name, address)
	}
	return address
}

// idleConnection is how long an unused connection may be used again. Lambda
// freezes the process between invocations, and the far end may have hung up
// meanwhile without this side hearing of it. The next CreateDeployment would
// fail on such a connection, and is not sent twice.
const idleConnection = 5 * time.Second

// AWS reads the variables that Lambda gives every function.
//
// The SDK's config module would also look for profiles, single sign-on and
// instance roles. None of them exists in a function, and they are a sixth of
// the binary. Region, retries and AWS_ENDPOINT_URL work as they do there; the
// other AWS_* settings (AWS_MAX_ATTEMPTS, AWS_USE_FIPS_ENDPOINT, …) are not read.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func (r *Reader) AWS() aws.Config {
	var missing []string
	for _, name := range []string{"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		if r.Getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		r.problem("%s not set: Lambda sets them, outside of it set them yourself", strings.Join(missing, ", "))
	}
	credentials := aws.Credentials{
		AccessKeyID:     r.Getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey: r.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:    r.Getenv("AWS_SESSION_TOKEN"),
		Source:          "environment",
	}
	config := aws.Config{
		Region: r.Getenv("AWS_REGION"),
		// Lambda starts a new process rather than change a running one's
		// credentials, so reading them once is enough.
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return credentials, nil
		}),
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.IdleConnTimeout = idleConnection
		}),
	}
	httpbody.OnlyRead(&config)
	if endpoint := r.URL("AWS_ENDPOINT_URL"); endpoint != "" {
		config.BaseEndpoint = &endpoint
	}
	if r.Adjust != nil {
		r.Adjust(&config)
	}
	return config
}

// S3 makes a client of a config made by [Reader.AWS].
func S3(config aws.Config) *s3.Client {
	return s3.NewFromConfig(config, func(o *s3.Options) {
		// The usual address puts the bucket's name in front of the host, and
		// <bucket>.localhost does not resolve everywhere.
		o.UsePathStyle = config.BaseEndpoint != nil
	})
}

// Backups reads which bucket holds backups, and for how many days each is kept.
func (r *Reader) Backups() (bucket string, keepDays int) {
	if bucket = r.Getenv("BACKUP_BUCKET"); bucket == "" {
		r.problem("BACKUP_BUCKET is not set: want the name of the bucket of backups")
	}
	text := r.Getenv("KEEP_DAYS")
	keepDays, err := strconv.Atoi(text)
	if err != nil || keepDays < 1 || keepDays > 3650 {
		r.problem("KEEP_DAYS is %q: want a number of days from 1 to 3650", text)
	}
	return bucket, keepDays
}
