// Package notes asks GitLab's API which merge requests of a project are open and what their
// pipelines have made, and keeps one note of ours in each.
package notes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"gitlab-codedeploy/internal/plain"
)

const (
	// maxMergeRequests: beyond these somebody should close some, or nobody reads notes.
	maxMergeRequests = 100
	// maxPages: a merge request with more than 2,000 notes gets a new one instead of an
	// endless search.
	maxPages, pageSize = 20, 100
	// maxBytes bounds an answer. A template has a megabyte at most.
	// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
	maxBytes = 20_000_000
	// maxNote is in characters. GitLab takes a million, and a reader far less.
	maxNote = 200_000

	// One attempt may take a minute, and so may the pause that GitLab asks for.
	attemptLimit, longestPause = time.Minute, time.Minute
	attempts                   = 4
)

// Project is a project of GitLab.
type Project struct {
	api, id, token string
	client         *http.Client
}

var projectID = regexp.MustCompile(`^[0-9]{1,12}$`)

// Open returns a project by GitLab's API (CI_API_V4_URL), its number there, and a token that
// reads the project and writes notes. way carries the requests; nil is the network.
func Open(api, id, token string, way http.RoundTripper) (*Project, error) {
	at, err := url.Parse(api)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Host == "" {
		return nil, fmt.Errorf("GitLab's API: got %q, want an address such as https://gitlab.example.com/api/v4", api)
	}
	if !projectID.MatchString(id) {
		return nil, fmt.Errorf("the project: got %q, want its number", id)
	}
	// Elsewhere the token has no business: redirections are not followed.
	client := &http.Client{Transport: way, Timeout: attemptLimit, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Project{api: strings.TrimSuffix(api, "/"), id: id, token: token, client: client}, nil
}

// Refused is an answer of GitLab by which it did not do what was asked.
type Refused struct {
	Status     int
	what, said string
	pause      time.Duration // that it asks for
}

// later is an error that passes, with the pause that GitLab asks for.
func (r Refused) later(err error) error {
	if err == nil || r.pause <= 0 {
		return err
	}
	return passing{err, &backoff.RetryAfterError{Duration: r.pause}}
}

type passing struct {
	error
	pause error
}

func (p passing) Unwrap() []error { return []error{p.error, p.pause} }

func (r Refused) Error() string {
	text := fmt.Sprintf("%s: GitLab answers %d", r.what, r.Status)
	if r.said != "" {
		text += ": " + r.said
	}
	if r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden {
		text += ". The token needs scope api and role Reporter"
	}
	return text
}

// call asks for a path below the API, and returns the answer's body. It asks again for what
// GitLab could not do at the moment. What adds a note is only sent again where GitLab says
// that it did nothing: two notes would stand there for ever.
func (p *Project) call(ctx context.Context, method, path string, query url.Values, body any) ([]byte, error) {
	var content []byte
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = text
	}
	return backoff.Retry(ctx, func() ([]byte, error) {
		text, err := p.attempt(ctx, method, path, query, content)
		var refused Refused
		known := errors.As(err, &refused)
		passes := method != http.MethodPost && !errors.Is(err, errTooLong) && (!known || refused.Status >= http.StatusInternalServerError)
		if err != nil && !passes && refused.Status != http.StatusTooManyRequests {
			return nil, backoff.Permanent(err)
		}
		return text, refused.later(err)
	}, backoff.WithMaxTries(attempts))
}

var errTooLong = fmt.Errorf("the answer has more than %d bytes", maxBytes)

// attempt is one request.
func (p *Project) attempt(ctx context.Context, method, path string, query url.Values, content []byte) ([]byte, error) {
	what := method + " " + path
	address := p.api + "/" + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	request.Header.Set("PRIVATE-TOKEN", p.token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := p.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: no answer: %w", what, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBytes+1))
	switch {
	case answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusCreated:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return nil, Refused{answer.StatusCode, what, plain.Line(string(text), 300), min(time.Duration(seconds)*time.Second, longestPause)}
	case err != nil:
		return nil, fmt.Errorf("%s: the answer broke off: %w", what, err)
	case len(text) > maxBytes:
		return nil, fmt.Errorf("%s: %w", what, errTooLong)
	}
	return text, nil
}

// read asks for a path of the project, and reads the answer.
func (p *Project) read(ctx context.Context, path string, query url.Values, into any) error {
	return p.ask(ctx, http.MethodGet, "projects/"+p.id+"/"+path, query, nil, into)
}

func (p *Project) ask(ctx context.Context, method, path string, query url.Values, body, into any) error {
	text, err := p.call(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s %s: GitLab's answer is not what its API says: %w", method, path, err)
	}
	return nil
}

// MergeRequests are the numbers of the open ones into a branch.
// https://docs.gitlab.com/api/merge_requests/#list-project-merge-requests
func (p *Project) MergeRequests(ctx context.Context, branch string) ([]int, error) {
	var found []struct{ IID int }
	query := url.Values{"state": {"opened"}, "target_branch": {branch}, "per_page": {strconv.Itoa(maxMergeRequests)}}
	if err := p.read(ctx, "merge_requests", query, &found); err != nil {
		return nil, fmt.Errorf("reading the open merge requests: %w", err)
	}
	var numbers []int
	for _, m := range found {
		numbers = append(numbers, m.IID)
	}
	return numbers, nil
}

// ErrNothing says that there is nothing yet to write a note about.
var ErrNothing = errors.New("nothing to compare yet")

// Job finds the job of a name that succeeded in the head pipeline of a merge request. Without
// one the error is [ErrNothing]. A fork's pipeline is for the fork's own runners and tokens:
// what another project's jobs have made is never read.
func (p *Project) Job(ctx context.Context, mergeRequest int, name string) (int, error) {
	var one struct {
		Pipeline struct {
			ID      int
			Project int `json:"project_id"`
		} `json:"head_pipeline"`
	}
	if err := p.read(ctx, fmt.Sprintf("merge_requests/%d", mergeRequest), nil, &one); err != nil {
		return 0, err
	}
	if one.Pipeline.ID == 0 || strconv.Itoa(one.Pipeline.Project) != p.id {
		return 0, fmt.Errorf("%w: merge request %d has no pipeline of this project", ErrNothing, mergeRequest)
	}
	var jobs []struct {
		ID   int
		Name string
	}
	query := url.Values{"scope[]": {"success"}, "per_page": {"100"}}
	if err := p.read(ctx, fmt.Sprintf("pipelines/%d/jobs", one.Pipeline.ID), query, &jobs); err != nil {
		return 0, err
	}
	for _, job := range jobs {
		if job.Name == name {
			return job.ID, nil
		}
	}
	return 0, fmt.Errorf("%w: merge request %d has no templates: %s of its pipeline %d has not succeeded", ErrNothing, mergeRequest, name, one.Pipeline.ID)
}

// File is one file of what a job has made.
// https://docs.gitlab.com/api/job_artifacts/#download-a-single-artifact-file-by-job-id
func (p *Project) File(ctx context.Context, job int, name string) ([]byte, error) {
	return p.call(ctx, http.MethodGet, fmt.Sprintf("projects/%s/jobs/%d/artifacts/%s", p.id, job, name), nil, nil)
}

// Note is one of ours.
type Note struct {
	// Mark begins it and is not shown: by it the next pipeline finds the note again.
	Mark string
	// Text is Markdown. One of more than 200,000 characters is cut, and says so first.
	Text string
	// Whole is where a reader finds all of a text that was cut.
	Whole string
}

func (n Note) body() string {
	text := n.Text
	if all := []rune(text); len(all) > maxNote {
		// At its end the remark could stand in an open block of code.
		text = fmt.Sprintf("**Cut after %d characters:** %s is whole.\n\n%s", maxNote, n.Whole, string(all[:maxNote]))
	}
	return n.Mark + "\n" + text
}

// Write shows a note in a merge request: in the place of the one that an earlier pipeline
// wrote, or else as a new one. It returns the number of the note.
// https://docs.gitlab.com/api/notes/#merge-requests
func (p *Project) Write(ctx context.Context, mergeRequest int, note Note) (number int, isNew bool, err error) {
	at := fmt.Sprintf("projects/%s/merge_requests/%d/notes", p.id, mergeRequest)
	old, err := p.find(ctx, at, note.Mark)
	if err != nil {
		return 0, false, err
	}
	var written struct{ ID int }
	body := map[string]string{"body": note.body()}
	if old == 0 {
		err = p.ask(ctx, http.MethodPost, at, nil, body, &written)
		return written.ID, true, err
	}
	return old, false, p.ask(ctx, http.MethodPut, fmt.Sprintf("%s/%d", at, old), nil, body, &written)
}

// find returns the number of the note that begins with a mark, and is the token's own, since
// nobody can change another's; 0 without one.
func (p *Project) find(ctx context.Context, at, mark string) (int, error) {
	var me struct{ ID int }
	if err := p.ask(ctx, http.MethodGet, "user", nil, nil, &me); err != nil {
		return 0, err
	}
	for page := 1; page <= maxPages; page++ {
		var notes []struct {
			ID     int
			Body   string
			Author struct{ ID int }
		}
		query := url.Values{"per_page": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(page)}, "sort": {"asc"}, "order_by": {"created_at"}}
		if err := p.ask(ctx, http.MethodGet, at, query, nil, &notes); err != nil {
			return 0, err
		}
		for _, n := range notes {
			if n.Author.ID == me.ID && strings.HasPrefix(n.Body, mark) {
				return n.ID, nil
			}
		}
		if len(notes) < pageSize {
			break
		}
	}
	return 0, nil
}
