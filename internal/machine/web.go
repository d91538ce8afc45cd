package machine

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxPage bounds what Get reads of an answer.
const maxPage = 1 << 20

// Get asks a web server, mostly this host's own, and returns its answer whatever the
// status. Redirections are not followed. The header Host makes it one for that name.
func (m *Machine) Get(ctx context.Context, url string, header http.Header) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	request.Header = header.Clone()
	request.Host = header.Get("Host")
	client := http.Client{Transport: m.Web, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxPage+1))
	if len(text) > maxPage {
		return 0, "", fmt.Errorf("%s: the answer has more than %d bytes", url, maxPage)
	}
	return answer.StatusCode, string(text), err
}
