package emulator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"gitlab-codedeploy/internal/httpbody"
)

// Account is one of the two accounts, seen as its administrator.
type Account struct {
	ID          string          `json:"id"`
	Profile     string          `json:"profile"` // name in the AWS files of the work folder
	Credentials aws.Credentials `json:"credentials"`
}

// newAccount makes an account: moto creates what it is asked about, and lets
// anybody assume any role. Credentials decide which account a call is about.
func (e *Emulator) newAccount(ctx context.Context, id, profile string) (Account, error) {
	c, err := e.assumeRole(ctx, "arn:aws:iam::"+id+":role/administrator", profile)
	return Account{ID: id, Profile: profile, Credentials: c}, err
}

// assumeRole returns credentials of a role in either account.
func (e *Emulator) assumeRole(ctx context.Context, role, session string) (aws.Credentials, error) {
	// moto takes any key for an anonymous third account's.
	anybody := Account{Credentials: aws.Credentials{AccessKeyID: "anybody", SecretAccessKey: "anything"}}
	out, err := sts.NewFromConfig(e.awsConfig(anybody)).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: &session})
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("assume role %s: %w", role, err)
	}
	return aws.Credentials{
		AccessKeyID:     aws.ToString(out.Credentials.AccessKeyId),
		SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken:    aws.ToString(out.Credentials.SessionToken),
		Source:          role,
	}, nil
}

// awsConfig is written out in full, because the SDK's own loading would look
// into the user's profiles.
func (e *Emulator) awsConfig(a Account) aws.Config {
	c := a.Credentials
	config := aws.Config{
		Region:       e.Config.Region,
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
		BaseEndpoint: aws.String(e.Endpoint),
		HTTPClient:   loopbackClient,
	}
	httpbody.OnlyRead(&config)
	return config
}

// AWS configuration files of the work folder, for every program that is not ours.
func (e *Emulator) configFile() string      { return filepath.Join(e.Work, "aws", "config") }
func (e *Emulator) credentialsFile() string { return filepath.Join(e.Work, "aws", "credentials") }

// writeProfiles makes any AWS client work with --profile account-a or account-b.
func (e *Emulator) writeProfiles() error {
	var config, secrets strings.Builder
	// The CDK CLI takes a profile's credentials, but the endpoint from here. By
	// address, as S3's client in it takes names for hosts that have buckets
	// below them.
	fmt.Fprintf(&config, "[default]\nregion = %s\nendpoint_url = %s\n\n", e.Config.Region, strings.Replace(e.Endpoint, "localhost", "127.0.0.1", 1))
	for _, a := range []Account{e.A, e.B} {
		fmt.Fprintf(&config, "[profile %s]\nregion = %s\noutput = json\nendpoint_url = %s\n", a.Profile, e.Config.Region, e.Endpoint)
		// The name of a bucket as part of the host would need a name server that knows it.
		fmt.Fprintf(&config, "s3 =\n  addressing_style = path\n\n")
		fmt.Fprintf(&secrets, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n\n",
			a.Profile, a.Credentials.AccessKeyID, a.Credentials.SecretAccessKey, a.Credentials.SessionToken)
	}
	if err := os.MkdirAll(filepath.Dir(e.configFile()), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(e.configFile(), []byte(config.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(e.credentialsFile(), []byte(secrets.String()), 0o600)
}

// Profiles are the variables, NAME=value, that show the profiles to any AWS client.
func (e *Emulator) Profiles() []string {
	return []string{"AWS_CONFIG_FILE=" + e.configFile(), "AWS_SHARED_CREDENTIALS_FILE=" + e.credentialsFile()}
}

// clientEnvironment is for programs that call AWS with the profiles.
func (e *Emulator) clientEnvironment(variables ...string) []string {
	return childEnvironment(e.Root, slices.Concat(e.Profiles(), []string{"AWS_ENDPOINT_URL=" + e.Endpoint}, variables)...)
}
