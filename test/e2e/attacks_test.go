package e2e

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
	"gitlab-codedeploy/test/e2e/childprocess"
)

// jobToken prints a token as a user of "up" does.
func jobToken(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(dir, "job-token"), args...).Output()
	require.NoError(t, err)
	return strings.TrimSuffix(string(out), "\n")
}

var uploads atomic.Int64

func newUploadID() string {
	return fmt.Sprintf("attack-%d-%d", time.Now().UnixNano(), uploads.Add(1))
}

// putToken puts a token for a new upload, and returns the upload's id.
func putToken(t *testing.T, bucket, token string) string {
	t.Helper()
	id := newUploadID()
	putTokenOf(t, bucket, id, token)
	return id
}

func putTokenOf(t *testing.T, bucket, id, token string) {
	t.Helper()
	key := trust.TokenKey(id)
	_, err := bucketClient(t).PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(token)})
	require.NoError(t, err)
}

// putArtifact uploads to the key that the victim uses, too, and returns the version.
func putArtifact(t *testing.T, bucket, id string) (version string) {
	t.Helper()
	key := "artifacts/sample-web/artifact.gz"
	put, err := bucketClient(t).PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(id), Metadata: map[string]string{
		"application-name": "sample-web", "deploymentgroup-name": "sample-web-blue-green", "upload-id": id}})
	require.NoError(t, err)
	require.NotEmpty(t, awssdk.ToString(put.VersionId))
	return *put.VersionId
}

type told struct{ State, DeploymentID, VersionID, Reason, Project, Ref, User, PipelineURL string }

// showLogs shows the ends of an emulator's logs when a test has failed: they are gone with it.
func showLogs(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
	for _, log := range logs {
		t.Logf("%s ends with:\n%s", filepath.Base(log), childprocess.Tail(log, 40))
	}
}

// ended waits for the end of an upload's state, by the id that it is told under.
func ended(t *testing.T, bucket, id string) (s told) {
	t.Helper()
	client, key := bucketClient(t), "deployments/"+id+".json"
	defer showLogs(t)
	require.Eventually(t, func() bool {
		out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		var none *s3types.NoSuchKey
		if errors.As(err, &none) {
			return false
		}
		require.NoError(t, err)
		defer out.Body.Close()
		text, err := io.ReadAll(out.Body)
		require.NoError(t, err)
		s = told{}
		require.NoError(t, json.Unmarshal(text, &s))
		return s.State == "Succeeded" || s.State == "Rejected" || s.State == "Superseded" || s.State == "Failed"
	}, time.Minute, 100*time.Millisecond, "no end of %s: %+v", id, &s)
	return s
}

// emulatorsGitLab is the one that signs for the emulator that is up, from the key
// that lies beside it.
func emulatorsGitLab(t *testing.T) *signer.Signer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "gitlab-signing-key.pem"))
	require.NoError(t, err)
	s, err := signer.Parse("https://gitlab.example.com", text)
	require.NoError(t, err)
	return s
}

//fault:words each black-box attack on `make up` with a token that does not let its job deploy | `Rejected`, with the rule that failed, and no deployment
func TestS15_NobodyDeploysWithoutATokenOfTheRightJob(t *testing.T) {
	outputs := up(t)
	bucket := outputs["Deploy-local"]["ArtifactBucketName"]
	gitlab := emulatorsGitLab(t)
	another, err := signer.New("https://gitlab.example.com")
	require.NoError(t, err)
	claims := func(changes jwt.MapClaims) jwt.MapClaims {
		c := gitlab.Claims(signer.Job{Project: trust.Project{ID: 1, Path: "team/sample-web"}, Ref: "main", Issued: time.Now(), TTL: time.Hour})
		for name, value := range changes {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		return c
	}
	signedBy := func(method jwt.SigningMethod, key any) string {
		token := jwt.NewWithClaims(method, claims(nil))
		token.Header["kid"] = gitlab.KeyID
		text, err := token.SignedString(key)
		require.NoError(t, err)
		return text
	}
	forged := &signer.Signer{URL: gitlab.URL, KeyID: gitlab.KeyID, Key: another.Key}
	for name, attack := range map[string]struct{ token, reason string }{
		"no token":                      {"", "there is no token of the job"},
		"another project":               {jobToken(t, "--project", "team/another", "--ref", "main"), `("team/another"), want 1 (team/sample-web)`},
		"another branch":                {jobToken(t, "--project", "team/sample-web", "--ref", "feature"), `branch "feature", want "main"`},
		"an unprotected branch":         {jobToken(t, "--project", "team/sample-web", "--ref", "main", "--unprotected"), "is not protected"},
		"a merge request":               {gitlab.Sign(claims(jwt.MapClaims{"pipeline_source": "merge_request_event"})), "merge request's"},
		"a fork, before 18.4":           {gitlab.Sign(claims(jwt.MapClaims{"pipeline_source": "merge_request_event", "ref_protected": "false"})), "merge request's"},
		"a fork, by its ref":            {gitlab.Sign(claims(jwt.MapClaims{"ref_path": "refs/merge-requests/7/head"})), "refs/merge-requests/7/head"},
		"a fork, from 18.4":             {gitlab.Sign(claims(jwt.MapClaims{"job_project_id": "99"})), "the job is of project 99"},
		"expired":                       {gitlab.Sign(claims(jwt.MapClaims{"exp": time.Now().Unix() - 10})), "was valid until"},
		"not yet valid":                 {gitlab.Sign(claims(jwt.MapClaims{"nbf": time.Now().Unix() + 600})), "is valid from"},
		"alg none":                      {signedBy(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), `algorithm is "none"`},
		"HS256 with the public key":     {signedBy(jwt.SigningMethodHS256, publicPEM(t, &gitlab.Key.PublicKey)), `algorithm is "HS256"`},
		"an unknown kid":                {another.Sign(claims(nil)), "GitLab signs with a key that this environment does not know: scripts/ops trust"},
		"the key of another GitLab":     {forged.Sign(claims(nil)), "signature is wrong"},
		"another issuer":                {gitlab.Sign(claims(jwt.MapClaims{"iss": "gitlab.example.org"})), "issuer (iss) is"},
		"for somebody else":             {jobToken(t, "--project", "team/sample-web", "--ref", "main", "--aud", "https://vault.example.com"), "want gitlab-codedeploy"},
		"claims of the wrong types":     {gitlab.Sign(claims(jwt.MapClaims{"project_id": []int{1}})), "project_id is a list"},
		"a token that is none, of 8 KB": {strings.Repeat("a", 8<<10), "cannot be read"},
		"garbage of 8 KB with two dots": {"e30." + strings.Repeat("A", 8<<10) + ".c2ln", "cannot be read"},
		"another project's, of 8 KB": {gitlab.Sign(claims(jwt.MapClaims{"filler": strings.Repeat("a", 5<<10), "project_id": "2", "project_path": "team/another"})),
			`("team/another"), want 1 (team/sample-web)`},
		"a token of 17 KB": {gitlab.Sign(claims(jwt.MapClaims{"filler": strings.Repeat("a", 17<<10)})), "want at most 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			id := newUploadID()
			if attack.token != "" {
				putTokenOf(t, bucket, id, attack.token)
			}
			putArtifact(t, bucket, id)
			s := ended(t, bucket, id)
			assert.Equal(t, "Rejected", s.State)
			assert.Contains(t, s.Reason, attack.reason)
			assert.Empty(t, s.DeploymentID)
			assert.Empty(t, s.Project)
		})
	}
	t.Run("the right job, with a token of 8 KB and numbers for strings", func(t *testing.T) {
		id := putToken(t, bucket, gitlab.Sign(claims(jwt.MapClaims{"filler": strings.Repeat("a", 5<<10), "project_id": 1, "ref_protected": true})))
		putArtifact(t, bucket, id)
		s := ended(t, bucket, id)
		assert.Equal(t, "Succeeded", s.State, s.Reason)
		assert.Equal(t, told{
			State: "Succeeded", DeploymentID: s.DeploymentID, VersionID: s.VersionID,
			Project: "team/sample-web", Ref: "main", User: "jdoe", PipelineURL: "https://gitlab.example.com/team/sample-web/-/pipelines/12",
		}, s)
	})
}

//fault:words on `make up`: one token twice, a token that is swapped after the upload, a forged upload id, a stranger's uploads around the victim's | the victim's upload is deployed, and no other
func TestS15_AStrangerStandsInNobodysWay(t *testing.T) {
	outputs := up(t)
	bucket := outputs["Deploy-local"]["ArtifactBucketName"]
	strangers := func() string { return jobToken(t, "--project", "team/another", "--ref", "main") }
	token := jobToken(t, "--project", "team/sample-web", "--ref", "main", "--aud", trust.Audience)
	victim := putToken(t, bucket, token)

	before := putToken(t, bucket, strangers())
	putArtifact(t, bucket, before)
	version := putArtifact(t, bucket, victim)
	between := putToken(t, bucket, strangers())
	putArtifact(t, bucket, between)
	s := ended(t, bucket, victim)
	require.Equal(t, "Succeeded", s.State, s.Reason)
	assert.Equal(t, version, s.VersionID)
	after := putToken(t, bucket, strangers())
	putArtifact(t, bucket, after)
	for _, id := range []string{before, between, after} {
		assert.Equal(t, "Rejected", ended(t, bucket, id).State)
	}

	// The upload's id is known now, and so would be a token that leaked.
	forged := putArtifact(t, bucket, victim)
	assert.Contains(t, ended(t, bucket, forged).Reason, "was worth another upload")
	again := putToken(t, bucket, token)
	putArtifact(t, bucket, again)
	assert.Contains(t, ended(t, bucket, again).Reason, "was worth another upload")
	assert.Equal(t, s, ended(t, bucket, victim), "its owner's state is its owner's")
}

// What comes after the artifact counts for nothing: it neither improves an upload
// nor spoils one. The queue holds S3's messages back until all tokens are swapped, so
// that the trigger finds nothing but the swapped ones on top.
//
//fault:trust on `make up`: a token is swapped after the upload, good for bad, bad for good, for garbage of 8 KB or from it | what lay there when the artifact arrived decides
func TestS15_ATokenThatIsSwappedAfterTheUploadCountsForNothing(t *testing.T) {
	outputs := up(t)
	bucket, queue := outputs["Deploy-local"]["ArtifactBucketName"], outputs["Deploy-local"]["QueueUrl"]
	own := func() string { return jobToken(t, "--project", "team/sample-web", "--ref", "main") }
	strangers := func() string { return jobToken(t, "--project", "team/another", "--ref", "main") }
	garbage := strings.Repeat("a", 8<<10)
	messages := sqs.NewFromConfig(accountB(t))
	delay := func(ctx context.Context, seconds int) {
		_, err := messages.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &queue, Attributes: map[string]string{"DelaySeconds": fmt.Sprint(seconds)}})
		require.NoError(t, err)
	}
	type upload struct{ name, first, then, want, id, version string }
	// The good ones first: an older one would be superseded.
	uploads := []*upload{
		{name: "bad for good", first: strangers(), then: own(), want: "Rejected"},
		{name: "garbage of 8 KB for good", first: garbage, then: own(), want: "Rejected"},
		{name: "none, and a good one after", then: own(), want: "Rejected"},
		{name: "good for garbage of 8 KB", first: own(), then: garbage, want: "Succeeded"},
		{name: "good for bad", first: own(), then: strangers(), want: "Succeeded"},
	}
	// SQS holds a message back for as long as the queue said when it came.
	delay(t.Context(), 900)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		delay(ctx, 0)
		_, err := messages.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: &queue})
		require.NoError(t, err)
	})
	for _, u := range uploads {
		u.id = newUploadID()
		if u.first != "" {
			putTokenOf(t, bucket, u.id, u.first)
		}
		u.version = putArtifact(t, bucket, u.id)
		// S3 tells whole seconds: each upload is of its own, and so is the swap.
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	}
	for _, u := range uploads {
		putTokenOf(t, bucket, u.id, u.then)
	}
	delay(t.Context(), 0)
	for _, u := range uploads {
		message := fmt.Sprintf(`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventTime":%q,"s3":{"bucket":{"name":%q},"object":{"key":"artifacts/sample-web/artifact.gz","versionId":%q}}}]}`,
			time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), bucket, u.version)
		_, err := messages.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: &message})
		require.NoError(t, err)
		t.Run(u.name, func(t *testing.T) { // One after the other: each good one is the newest when its turn comes.
			s := ended(t, bucket, u.id)
			assert.Equal(t, u.want, s.State, s.Reason)
			assert.Equal(t, u.want == "Succeeded", s.DeploymentID != "")
			assert.Equal(t, u.version, s.VersionID)
		})
	}
}

func publicPEM(t *testing.T, key *rsa.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestS15_TheEmulatorPrintsTokens(t *testing.T) {
	up(t)
	_, err := exec.Command(filepath.Join(dir, "job-token"), "--project", "team/sample-web").Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 2, exit.ExitCode())
	parts := strings.Split(jobToken(t, "--project", "7:team/x", "--ref", "refs/tags/v1", "--unprotected", "--aud", "me", "--ttl", "60"), ".")
	require.Len(t, parts, 3)
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	for _, want := range []string{`"project_id":"7"`, `"project_path":"team/x"`, `"ref":"v1"`, `"ref_type":"tag"`, `"ref_protected":"false"`, `"aud":"me"`} {
		assert.Contains(t, string(claims), want)
	}
}
