package emulator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/preflight"
)

// notServed is what moto does not serve: the only things that preflight may not know there.
var notServed = []string{
	"servicequotas:GetAWSDefaultServiceQuota (Elastic IPs in the Region)",
	"codedeploy:BatchGetDeploymentGroups",
}

func TestS15_PreflightOfTheEmulatorsAccounts(t *testing.T) {
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	if err := CheckTools(root); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	source, err := config.LoadSource(filepath.Join(root, "config"), environment)
	require.NoError(t, err)
	e := &Emulator{Root: root, Work: t.TempDir(), Config: *source.Config()}
	e.moto, e.Endpoint, err = startMoto(t.Context(), root, e.log("moto"), 0, false)
	require.NoError(t, err)
	defer e.stop()
	require.NoError(t, e.prepare(t.Context()))
	for _, variable := range e.clientEnvironment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}

	run := func() (wrong, unchecked []string, stops bool) {
		p := &preflight.Preflight{Source: source, Clients: map[preflight.Account]*preflight.Clients{}}
		for account, profile := range map[preflight.Account]string{preflight.A: e.A.Profile, preflight.B: e.B.Profile} {
			loaded, err := awsconfig.LoadDefaultConfig(t.Context(), awsconfig.WithRegion(e.Config.Region), awsconfig.WithSharedConfigProfile(profile))
			require.NoError(t, err)
			p.Clients[account] = preflight.NewClients(loaded)
		}
		report := p.Run(t.Context())
		t.Logf("%d calls in %s", report.Calls, report.Took)
		for _, f := range report.Findings {
			if f.Unchecked != "" {
				unchecked = append(unchecked, f.Unchecked)
				continue
			}
			wrong = append(wrong, f.Place.Path+": "+f.Got)
		}
		return wrong, unchecked, report.Stops()
	}
	onlyWhatIsNotServed := func(unchecked []string) {
		t.Helper()
		require.Len(t, unchecked, len(notServed))
		for i, action := range notServed {
			assert.True(t, strings.HasPrefix(unchecked[i], action+" in account "), unchecked[i])
		}
	}

	wrong, unchecked, stops := run()
	assert.Empty(t, wrong)
	assert.False(t, stops)
	onlyWhatIsNotServed(unchecked)

	// The same accounts, with what a first deploy would fail on.
	_, err = s3.NewFromConfig(e.awsConfig(e.B), func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket:                    &e.Config.Deploy.Artifacts.BucketName,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(e.Config.Region)},
	})
	require.NoError(t, err)
	_, err = acm.NewFromConfig(e.awsConfig(e.A)).DeleteCertificate(t.Context(), &acm.DeleteCertificateInput{CertificateArn: &e.Config.GitLab.LoadBalancer.CertificateARN})
	require.NoError(t, err)
	for range 5 {
		_, err = ec2.NewFromConfig(e.awsConfig(e.A)).CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.99.0.0/16")})
		require.NoError(t, err)
	}
	wrong, unchecked, stops = run()
	assert.True(t, stops)
	assert.Equal(t, []string{
		"gitlab.network: 6 VPCs in the Region of account 111111111111, of at most 5",
		"gitlab.loadBalancer.certificateArn: a certificate that does not exist",
		`deploy.artifacts.bucketName: "example-deploy-local", a bucket of account 222222222222 that no stack has: left over from an earlier one`,
	}, wrong)
	onlyWhatIsNotServed(unchecked)
}
