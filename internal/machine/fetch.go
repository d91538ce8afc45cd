package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Fetch returns what is at an address, a small file, and follows redirections there
// but none that leaves https. It tries three times.
func (m *Machine) Fetch(ctx context.Context, url string) (body string, err error) {
	for try := range 3 {
		if try > 0 {
			select {
			case <-ctx.Done():
				return "", context.Cause(ctx)
			case <-time.After(time.Second):
			}
		}
		var again bool
		if body, again, err = m.fetch(ctx, url); err == nil || !again {
			return body, err
		}
	}
	return "", err
}

func (m *Machine) fetch(ctx context.Context, url string) (body string, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", false, err
	}
	client := http.Client{Transport: m.Web, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 5 {
			return errors.New("it redirects without an end")
		}
		if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return fmt.Errorf("it redirects to %s, want https", r.URL.Scheme)
		}
		return nil
	}}
	answer, err := client.Do(request)
	if err != nil {
		return "", true, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", answer.StatusCode >= http.StatusInternalServerError, fmt.Errorf("%s answered %s", url, strings.TrimSpace(answer.Status))
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxPage+1))
	if err == nil && len(text) > maxPage {
		err = fmt.Errorf("%s: it has more than %d bytes", url, maxPage)
	}
	return string(text), err != nil, err
}
