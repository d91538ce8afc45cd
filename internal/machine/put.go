package machine

import (
	"bytes"
	"context"
	"net/http"
	"time"
)

// Put sends a body to an address without a Content-Type, and returns the status of the
// answer, whatever it is.
func (m *Machine) Put(ctx context.Context, url string, body []byte) (status int, err error) {
	m.step("put " + url)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: m.Web, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}
