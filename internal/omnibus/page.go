package omnibus

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
)

const (
	// pause is between two looks at something that is waited for.
	pause = 5 * time.Second
	// A GitLab that signs everybody in somewhere else answers with a 302 otherwise.
	// https://docs.gitlab.com/integration/omniauth/#sign-in-with-a-provider-automatically
	signIn = "http://localhost/users/sign_in?auto_sign_in=false"
)

// AnswersSignIn asks for the sign-in page as the load balancer does, for an address or
// whatever name there is, and returns the HTTP status: 0 if there was no answer.
func (g GitLab) AnswersSignIn(ctx context.Context, address string) (status int, ok bool) {
	if _, host, is := strings.Cut(address, "://"); is {
		address = host
	}
	host, _, _ := strings.Cut(address, "/")
	host, _, _ = strings.Cut(host, ":")
	if host == "" {
		host = "localhost"
	}
	header := http.Header{}
	header.Set("Host", host)
	header.Set("X-Forwarded-Proto", "https")
	header.Set("X-Forwarded-Port", "443")
	status, _, err := g.Machine.Get(ctx, signIn, header)
	if err != nil {
		return 0, false
	}
	return status, status == http.StatusOK
}

// WaitForSignIn waits until the sign-in page answers.
func (g GitLab) WaitForSignIn(ctx context.Context, address string, limit time.Duration) error {
	g.Machine.Say("waiting for the sign-in page at %s", address)
	last := 0
	err := machine.Wait(ctx, limit, pause, "the sign-in page does not answer", func(ctx context.Context) (ok bool, _ error) {
		status, ok := g.AnswersSignIn(ctx, address)
		if ctx.Err() == nil { // one that was cut off says nothing of GitLab
			last = status
		}
		return ok, nil
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	return NotReady{last}
}

// NotReady is a sign-in page that does not come up.
type NotReady struct{ Status int }

func (n NotReady) Error() string {
	return fmt.Sprintf("/users/sign_in does not answer with 200; the last answer was HTTP %03d", n.Status)
}
