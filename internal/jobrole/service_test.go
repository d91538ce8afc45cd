package jobrole_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/jobrole/jobroletest"
)

func page(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// security is STS, and a service that asks it.
type security struct {
	jobrole.Service
	cloud *awstest.Cloud

	mu     sync.Mutex
	log    []string
	taken  int
	refuse error
	near   bool
	broken error
}

func newSecurity(t *testing.T) *security {
	s := &security{cloud: awstest.New(t), near: true}
	awstest.On(s.cloud, func(_ context.Context, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
		assert.Equal(t, jobroletest.Role.ARN, aws.ToString(in.RoleArn))
		assert.Equal(t, int32(3600), aws.ToInt32(in.DurationSeconds), "the longest of a role that a role takes")
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse != nil {
			return nil, s.refuse
		}
		s.taken++
		return &sts.AssumeRoleOutput{Credentials: &types.Credentials{
			AccessKeyId: aws.String(fmt.Sprintf("ASIA%d", s.taken)), SecretAccessKey: aws.String("SECRET"), SessionToken: aws.String("TOKEN"),
			Expiration: aws.Time(time.Now().Add(time.Hour)),
		}}, nil
	})
	s.Service = jobrole.Service{
		Role: jobroletest.Role.ARN, Credentials: jobrole.Credentials(s.cloud.Config("ap-northeast-1"), jobroletest.Role.ARN),
		Near: func(netip.Addr) (bool, error) { return s.near, s.broken },
		Log: func(format string, args ...any) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.log = append(s.log, fmt.Sprintf(format, args...))
		},
	}
	return s
}

// start lets it listen on this machine, and returns its address.
func (s *security) start(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
	return listener.Addr().String()
}

// lose takes away what else would have credentials on this machine.
func lose(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestS13_TheSDKOfAJobFindsTheRole(t *testing.T) {
	lose(t)
	s := newSecurity(t)
	address := s.start(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://"+address+"/job-role")
	for range 2 {
		job, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("ap-northeast-1"))
		require.NoError(t, err)
		found, err := job.Credentials.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"ASIA1", "SECRET", "TOKEN"}, []string{found.AccessKeyID, found.SecretAccessKey, found.SessionToken})
		assert.WithinDuration(t, time.Now().Add(time.Hour), found.Expires, 6*time.Minute, "the SDK takes up to five minutes off")
	}
	assert.Equal(t, 1, s.taken, "one session for all jobs of the host")
}

// TestS13_botocoreOfAJobFindsTheRole: the AWS CLI's own way. Its container provider alone is
// asked, by the variable that jobs have, whose address is this one's.
func TestS13_botocoreOfAJobFindsTheRole(t *testing.T) {
	python := filepath.Join("..", "..", ".venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "there is no .venv: scripts/setup.sh")
		t.Skip("there is no .venv: scripts/setup.sh")
	}
	lose(t)
	address := newSecurity(t).start(t)
	variable, value, _ := strings.Cut(jobroletest.Role.Variables()[0], "=")
	command := exec.CommandContext(t.Context(), python, "-c", `
import sys
from botocore.credentials import ContainerProvider
from botocore.utils import ContainerMetadataFetcher
ContainerMetadataFetcher.IP_ADDRESS = sys.argv[1]
found = ContainerProvider().load()
frozen = found.get_frozen_credentials()
print(found.method, frozen.access_key, frozen.secret_key, frozen.token, found.refresh_needed())
`, address)
	command.Env = append(os.Environ(), variable+"="+value)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "container-role ASIA1 SECRET TOKEN False\n", string(out))
}

func TestS13_OnlyTheHostsContainersAreAnswered(t *testing.T) {
	s := newSecurity(t)
	address := s.start(t)
	ask := func(t *testing.T, change func(*http.Request)) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/job-role", nil)
		require.NoError(t, err)
		if change != nil {
			change(request)
		}
		answer, err := http.DefaultTransport.RoundTrip(request)
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(body)
	}
	status, body := ask(t, nil)
	require.Equal(t, http.StatusOK, status, body)
	var document map[string]string
	require.NoError(t, json.Unmarshal([]byte(body), &document))
	expires, err := time.Parse(time.RFC3339, document["Expiration"])
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Hour), expires, time.Minute)
	delete(document, "Expiration")
	assert.Equal(t, map[string]string{"RoleArn": jobroletest.Role.ARN, "AccessKeyId": "ASIA1", "SecretAccessKey": "SECRET", "Token": "TOKEN"}, document)

	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"S13 job-credentials | a page in a job's browser asks by a name that points here | it is refused", func(r *http.Request) { r.Host = "evil.example.com" }, 421},
		{"S13 job-credentials | it is asked by another address of its host | it is refused", func(r *http.Request) { r.Host = "172.17.0.1" }, 421},
		{"S13 job-credentials | it is asked without a name | it is refused", func(r *http.Request) { r.Host = "localhost" }, 421},
		{"S13 job-credentials | a proxy in a job asks for a stranger | it is refused", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }, 403},
		{"S13 job-credentials | a proxy that says so by the standard | it is refused", func(r *http.Request) { r.Header.Set("Forwarded", "for=192.0.2.1") }, 403},
		{"S13 job-credentials | a proxy that only says that it is one | it is refused", func(r *http.Request) { r.Header.Set("Via", "1.1 proxy") }, 403},
		{"S13 job-credentials | another method | it is refused", func(r *http.Request) { r.Method = http.MethodPost }, 405},
		{"S13 job-credentials | HEAD | it is refused", func(r *http.Request) { r.Method = http.MethodHead }, 405},
		{"S13 job-credentials | another path | it is refused", func(r *http.Request) { r.URL.Path = "/job-role/" }, 404},
		{"S13 job-credentials | the root | it is refused", func(r *http.Request) { r.URL.Path = "/" }, 404},
		{"S13 job-credentials | a path that leads there by detours | it is refused", func(r *http.Request) { r.URL.Path = "/x/../job-role" }, 404},
		{"S13 job-credentials | a query | it is refused", func(r *http.Request) { r.URL.RawQuery = "id=1" }, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := ask(t, c.change)
			assert.Equal(t, c.status, status)
			assert.NotContains(t, body, "SECRET")
		})
	}
	t.Run("S13 job-credentials | somebody who is neither the host nor on one of its bridges asks | it is refused", func(t *testing.T) {
		s.near = false
		defer func() { s.near = true }()
		status, body := ask(t, nil)
		assert.Equal(t, 403, status)
		assert.NotContains(t, body, "SECRET")
	})
	t.Run("S13 job-credentials | it cannot see the host's bridges | it is refused and logged", func(t *testing.T) {
		s.broken = errors.New("route ip+net: netlinkrib: permission denied")
		defer func() { s.broken = nil }()
		status, body := ask(t, nil)
		assert.Equal(t, 403, status)
		assert.NotContains(t, body, "SECRET")
		assert.Contains(t, strings.Join(s.log, "\n"), "permission denied")
	})
}

func TestS13_STSRefusesTheRole(t *testing.T) {
	t.Run("S13 job-credentials | STS refuses the role | jobs get STS's words and no credentials, and the next one asks again", func(t *testing.T) {
		s := newSecurity(t)
		s.refuse = awstest.Refusal("AccessDenied", "User: arn is not authorized to perform: sts:AssumeRole")
		address := s.start(t)
		answer, err := http.Get("http://" + address + "/job-role")
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		assert.JSONEq(t, `{"code":"NoCredentials","message":"the host cannot take the role of its jobs: AccessDenied: User: arn is not authorized to perform: sts:AssumeRole"}`, string(body))
		s.mu.Lock()
		s.refuse = nil
		s.mu.Unlock()
		again, err := http.Get("http://" + address + "/job-role")
		require.NoError(t, err)
		defer again.Body.Close()
		assert.Equal(t, http.StatusOK, again.StatusCode)
	})
}

// TestS13_CredentialsAreRenewedBeforeTheyEnd: clients ask again in the last quarter of an
// hour, and are to get what lasts longer then.
func TestS13_CredentialsAreRenewedBeforeTheyEnd(t *testing.T) {
	key := func(t *testing.T, s *security) string {
		found, err := s.Credentials.Retrieve(t.Context())
		require.NoError(t, err)
		return found.AccessKeyID
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSecurity(t)
		assert.Equal(t, "ASIA1", key(t, s))
		time.Sleep(39 * time.Minute)
		assert.Equal(t, "ASIA1", key(t, s))
		time.Sleep(2 * time.Minute)
		assert.Equal(t, "ASIA2", key(t, s))
	})
	t.Run("S13 job-credentials | STS does not answer when they are renewed | those that there are are good to their end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSecurity(t)
			assert.Equal(t, "ASIA1", key(t, s))
			s.refuse = awstest.Refusal("ServiceUnavailable", "later")
			time.Sleep(59 * time.Minute)
			assert.Equal(t, "ASIA1", key(t, s))
			time.Sleep(2 * time.Minute)
			_, err := s.Credentials.Retrieve(t.Context())
			require.Error(t, err)
			s.refuse = nil
			assert.Equal(t, "ASIA2", key(t, s))
		})
	})
}
