// Package notestest plays GitLab's API for tests of notes.
package notestest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// API is its address, and Token the only one that it takes. Project is the number of the one
// project that it has, MergeRequest that of the one merge request into main, and Me the user
// that the token belongs to.
const (
	API, Token                = "https://gitlab.example.com/api/v4", "secret-token"
	Project, MergeRequest, Me = 42, 7, 5
)

// Note is one of the merge request.
type Note struct {
	ID     int    `json:"id"`
	Body   string `json:"body"`
	Author struct {
		ID int `json:"id"`
	} `json:"author"`
}

// GitLab is a played one. Its zero value has no notes, and a merge request without a pipeline.
type GitLab struct {
	// HeadPipeline is that of the merge request, as its API says it. Pipeline 70 has a job
	// synth, 701, in pipeline 71 it has not succeeded.
	HeadPipeline string
	// Made is what job 701 has made, by its path.
	Made map[string]string
	// Before answers before anything else, if it says so. Optional.
	Before func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	notes    []Note
	requests []string
}

// Add adds a note of somebody.
func (g *GitLab) Add(author int, body string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(author, body)
}

func (g *GitLab) add(author int, body string) Note {
	note := Note{ID: len(g.notes) + 1, Body: body}
	note.Author.ID = author
	g.notes = append(g.notes, note)
	return note
}

// Notes are all notes, a line each: number, author, text with "|" for each line end.
func (g *GitLab) Notes() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var lines []string
	for _, n := range g.notes {
		lines = append(lines, fmt.Sprintf("%d %d %s", n.ID, n.Author.ID, strings.ReplaceAll(n.Body, "\n", "|")))
	}
	return lines
}

// Requests are those so far, without the API's address.
func (g *GitLab) Requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{}, g.requests...)
}

// RoundTrip carries a request to it, without a network.
func (g *GitLab) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	g.ServeHTTP(answer, r)
	made := answer.Result()
	made.Request = r
	return made, nil
}

var oneNote = regexp.MustCompile(`^merge_requests/7/notes(?:/(\d+))?$`)

// ServeHTTP implements [http.Handler].
func (g *GitLab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/api/v4/")
	g.requests = append(g.requests, r.Method+" "+path)
	if g.Before != nil && g.Before(w, r) {
		return
	}
	answer := func(status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value)
	}
	missing := func() { answer(http.StatusNotFound, map[string]string{"message": "404 Not Found"}) }
	if r.Header.Get("PRIVATE-TOKEN") != Token {
		answer(http.StatusUnauthorized, map[string]string{"message": "401 Unauthorized"})
		return
	}
	job := func(id int, name string) map[string]any { return map[string]any{"id": id, "name": name} }
	project, is := strings.CutPrefix(path, fmt.Sprintf("projects/%d/", Project))
	switch artifact, isArtifact := strings.CutPrefix(project, "jobs/701/artifacts/"); {
	case path == "user":
		answer(http.StatusOK, map[string]any{"id": Me})
	case !is:
		missing()
	case project == "merge_requests" && r.URL.Query().Get("target_branch") == "main" && r.URL.Query().Get("state") == "opened":
		answer(http.StatusOK, []any{map[string]any{"iid": MergeRequest}})
	case project == "merge_requests/7":
		answer(http.StatusOK, map[string]any{"head_pipeline": json.RawMessage(g.HeadPipeline)})
	case project == "pipelines/70/jobs" && r.URL.Query().Get("scope[]") == "success":
		answer(http.StatusOK, []any{job(700, "check"), job(701, "synth")})
	case project == "pipelines/71/jobs":
		answer(http.StatusOK, []any{job(700, "check")})
	case isArtifact:
		text, made := g.Made[artifact]
		if !made {
			missing()
			return
		}
		_, _ = io.WriteString(w, text)
	case oneNote.MatchString(project):
		g.serveNotes(w, r, oneNote.FindStringSubmatch(project)[1], answer)
	default:
		missing()
	}
}

func (g *GitLab) serveNotes(_ http.ResponseWriter, r *http.Request, number string, answer func(int, any)) {
	var sent struct{ Body string }
	switch r.Method {
	case http.MethodGet:
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
		from := min(len(g.notes), (page-1)*size)
		answer(http.StatusOK, append([]Note{}, g.notes[from:min(len(g.notes), from+size)]...))
		return
	default:
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			answer(http.StatusBadRequest, map[string]string{"message": err.Error()})
			return
		}
	}
	if r.Method == http.MethodPost {
		answer(http.StatusCreated, g.add(Me, sent.Body))
		return
	}
	for i := range g.notes {
		if strconv.Itoa(g.notes[i].ID) == number && g.notes[i].Author.ID == Me {
			g.notes[i].Body = sent.Body
			answer(http.StatusOK, g.notes[i])
			return
		}
	}
	answer(http.StatusForbidden, map[string]string{"message": "403 Forbidden"})
}
