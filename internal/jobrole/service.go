package jobrole

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// Address is where SDKs look for what AWS_CONTAINER_CREDENTIALS_RELATIVE_URI names. That
// variable is the one that all of them know, also those of 2016.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
const Address = "169.254.170.2"

// path is what the variable names.
const path = "/job-role"

const (
	// session is as long as a role gets that another role takes.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
	session = time.Hour
	// early is how long before their end credentials are renewed. Clients ask again in the
	// last quarter of an hour, and every time until they get newer ones.
	early = 20 * time.Minute
	// sessionName is what account A's CloudTrail shows of a job.
	sessionName = "gitlab-job"
)

// Credentials are those of a role, which is taken with the right of account. They are kept,
// and renewed when somebody asks for them in their last minutes.
func Credentials(account aws.Config, role string) aws.CredentialsProvider {
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(account), role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = sessionName, session
	})
	return aws.NewCredentialsCache(lasting{provider}, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = early })
}

// lasting credentials are good to their end when there are no newer ones.
type lasting struct{ aws.CredentialsProvider }

// HandleFailToRefresh implements [aws.HandleFailRefreshCredentialsCacheStrategy].
func (lasting) HandleFailToRefresh(_ context.Context, before aws.Credentials, err error) (aws.Credentials, error) {
	before.Expires = end(before)
	if !before.HasKeys() || before.Expired() {
		return aws.Credentials{}, err
	}
	return before, nil
}

// end is when credentials end: the cache tells an earlier time.
func end(c aws.Credentials) time.Time { return c.Expires.Add(early) }

// Service hands out credentials.
type Service struct {
	// Role is the ARN of the role that Credentials are of.
	Role        string
	Credentials aws.CredentialsProvider
	// Near says whether an address is this host's, or one of its containers'. See [OnBridge].
	Near func(netip.Addr) (bool, error)
	// Log says what went wrong.
	Log func(format string, args ...any)
}

// Serve answers at a listener until the context is done.
func (s Service) Serve(ctx context.Context, listener net.Listener) error {
	server := http.Server{
		Handler: s.handler(listener.Addr().String()),
		// One job cannot keep the others out by slow requests.
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	// The first job finds them there.
	go func() {
		if _, err := s.Credentials.Retrieve(ctx); err != nil && ctx.Err() == nil {
			s.Log("warning: %v", err)
		}
	}()
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// document is what SDKs read.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
type document struct {
	RoleArn         string
	AccessKeyId     string
	SecretAccessKey string
	Token           string
	Expiration      string
}

// refusal is what SDKs read of an answer that is none.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// handler answers requests at an address, such as "169.254.170.2:80".
func (s Service) handler(address string) http.Handler {
	own := map[string]bool{address: true}
	if host, port, err := net.SplitHostPort(address); err == nil && port == "80" {
		own[host] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		refuse := func(status int, code, format string, args ...any) {
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(refusal{code, fmt.Sprintf(format, args...)})
		}
		near, err := s.isNear(r.RemoteAddr)
		switch {
		case err != nil:
			s.Log("warning: %v", err)
			fallthrough
		case !near:
			refuse(http.StatusForbidden, "Forbidden", "this answers the containers of its host only")
		// A name that somebody lets point here is another one, and so a page that a browser
		// in a job shows reads nothing.
		case !own[r.Host]:
			refuse(http.StatusMisdirectedRequest, "WrongHost", "this is http://%s", address)
		// What passes requests on for others, such as a web server that a job tests, says so.
		case r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" || r.Header.Get("Via") != "":
			refuse(http.StatusForbidden, "Forbidden", "this answers no proxy")
		case r.URL.Path != path || r.URL.RawQuery != "":
			refuse(http.StatusNotFound, "NotFound", "there is %s only", path)
		case r.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "want GET")
		default:
			found, err := s.Credentials.Retrieve(r.Context())
			if err != nil {
				s.Log("warning: %v", err)
				refuse(http.StatusServiceUnavailable, "NoCredentials", "the host cannot take the role of its jobs: %s", reason(err))
				return
			}
			_ = json.NewEncoder(w).Encode(document{
				AccessKeyId: found.AccessKeyID, SecretAccessKey: found.SecretAccessKey, Token: found.SessionToken,
				Expiration: end(found).UTC().Format(time.RFC3339), RoleArn: s.Role,
			})
		}
	})
}

// reason is what AWS says, without the SDK's words around it.
func reason(err error) string {
	var said smithy.APIError
	if errors.As(err, &said) {
		return said.ErrorCode() + ": " + said.ErrorMessage()
	}
	return err.Error()
}

func (s Service) isNear(remote string) (bool, error) {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false, err
	}
	return s.Near(peer.Addr().Unmap())
}
