package notes_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/notes"
	"gitlab-codedeploy/internal/notes/notestest"
)

const mark = "<!-- gitlab-codedeploy: changes in staging -->"

func open(t *testing.T, g *notestest.GitLab, token string) *notes.Project {
	t.Helper()
	p, err := notes.Open(notestest.API, "42", token, g)
	require.NoError(t, err)
	return p
}

// write writes a note as the environment's.
func write(t *testing.T, g *notestest.GitLab, text string) error {
	t.Helper()
	_, _, err := open(t, g, notestest.Token).Write(t.Context(), notestest.MergeRequest, notes.Note{Mark: mark, Text: text, Whole: "7.md among the artifacts of the job"})
	return err
}

func TestS15_TheFirstPushGetsANoteTheNextOneChangesIt(t *testing.T) {
	g := &notestest.GitLab{}
	require.NoError(t, write(t, g, "A \"first\" note\n"))
	require.NoError(t, write(t, g, "a second one\n"))
	assert.Equal(t, []string{"1 5 " + mark + "|a second one|"}, g.Notes())
}

func TestS15_AnothersNoteWithTheSameMarkAndAnotherEnvironmentsAreLeftAlone(t *testing.T) {
	g := &notestest.GitLab{}
	g.Add(9, mark+"\nquoted")
	g.Add(notestest.Me, "<!-- gitlab-codedeploy: changes in production -->\nx")
	require.NoError(t, write(t, g, "new\n"))
	assert.Equal(t, []string{"1 9 " + mark + "|quoted", "2 5 <!-- gitlab-codedeploy: changes in production -->|x", "3 5 " + mark + "|new|"}, g.Notes())
}

func TestS15_ANoteBehindAHundredOthersIsFound(t *testing.T) {
	g := &notestest.GitLab{}
	for i := range 150 {
		g.Add(notestest.Me, map[bool]string{true: mark + " old", false: "talk"}[i == 120])
	}
	require.NoError(t, write(t, g, "new\n"))
	require.Len(t, g.Notes(), 150)
	assert.Equal(t, "121 5 "+mark+"|new|", g.Notes()[120])
}

func TestS15_TheSearchForANoteEnds(t *testing.T) {
	g := &notestest.GitLab{}
	for range 2100 {
		g.Add(9, "talk")
	}
	require.NoError(t, write(t, g, "new\n"))
	assert.Len(t, g.Requests(), 1+20+1, "who the token is, twenty pages, the new note")
}

func TestS15_TheTokenIsInNoMessageAndGoesNowhereElse(t *testing.T) {
	g := &notestest.GitLab{}
	_, _, err := open(t, g, "wrong-token").Write(t.Context(), 7, notes.Note{Mark: mark, Text: "new"})
	var refused notes.Refused
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusUnauthorized, refused.Status)
	require.ErrorContains(t, err, `GET user: GitLab answers 401: {"message":"401 Unauthorized"}. The token needs scope api and role Reporter`)
	assert.NotContains(t, err.Error(), "wrong-token")
	for _, request := range g.Requests() {
		assert.NotContains(t, request, "token")
	}

	g = &notestest.GitLab{Before: func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Host != "gitlab.example.com" {
			t.Errorf("asked: %s", r.URL)
		}
		http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusFound)
		return true
	}}
	require.ErrorContains(t, write(t, g, "new"), "GET user: GitLab answers 302")
}

func TestS15_ANoteThatNobodyWouldReadToItsEndIsCutAndSaysSoFirst(t *testing.T) {
	g := &notestest.GitLab{}
	require.NoError(t, write(t, g, strings.Repeat("復", 200_001)))
	require.Len(t, g.Notes(), 1)
	body, is := strings.CutPrefix(g.Notes()[0], "1 5 "+mark+"|**Cut after 200000 characters:** 7.md among the artifacts of the job is whole.||")
	assert.True(t, is, g.Notes()[0][:200])
	assert.Equal(t, strings.Repeat("復", 200_000), body)

	require.NoError(t, write(t, g, strings.Repeat("復", 200_000)))
	assert.Equal(t, "1 5 "+mark+"|"+strings.Repeat("復", 200_000), g.Notes()[0])
}

func TestS15_WhatIsNoAddressAndNoProjectIsRefused(t *testing.T) {
	for _, api := range []string{"", "gitlab.example.com/api/v4", "file:///etc/passwd", "https://"} {
		_, err := notes.Open(api, "42", "t", nil)
		assert.ErrorContains(t, err, "want an address such as https://", api)
	}
	for _, id := range []string{"", "group/project", "../1", "4 2"} {
		_, err := notes.Open(notestest.API, id, "t", nil)
		assert.ErrorContains(t, err, "want its number", id)
	}
}

func TestS15_WhatGitLabHasNotIsNamed(t *testing.T) {
	g := &notestest.GitLab{HeadPipeline: `{"id": 70, "project_id": 42}`, Made: map[string]string{"cdk.out/manifest.json": "{}"}}
	p := open(t, g, notestest.Token)
	numbers, err := p.MergeRequests(t.Context(), "main")
	require.NoError(t, err)
	assert.Equal(t, []int{7}, numbers)
	job, err := p.Job(t.Context(), 7, "synth")
	require.NoError(t, err)
	assert.Equal(t, 701, job)
	text, err := p.File(t.Context(), job, "cdk.out/manifest.json")
	require.NoError(t, err)
	assert.Equal(t, "{}", string(text))
	_, err = p.File(t.Context(), job, "cdk.out/other.json")
	require.ErrorContains(t, err, "jobs/701/artifacts/cdk.out/other.json: GitLab answers 404")
	_, err = p.MergeRequests(t.Context(), "a branch & more")
	require.ErrorContains(t, err, "reading the open merge requests: GET projects/42/merge_requests: GitLab answers 404")

	for pipeline, want := range map[string]string{
		`null`:                         "merge request 7 has no pipeline of this project",
		`{"id": 70, "project_id": 43}`: "merge request 7 has no pipeline of this project",
		`{"id": 71, "project_id": 42}`: "merge request 7 has no templates: synth of its pipeline 71 has not succeeded",
	} {
		g.HeadPipeline = pipeline
		_, err := p.Job(t.Context(), 7, "synth")
		require.ErrorIs(t, err, notes.ErrNothing)
		assert.ErrorContains(t, err, want)
	}
	g.HeadPipeline = `"70"`
	_, err = p.Job(t.Context(), 7, "synth")
	require.ErrorContains(t, err, "GitLab's answer is not what its API says")
	assert.False(t, errors.Is(err, notes.ErrNothing))
}

// endless is an answer that does not stop.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestS15_AnAnswerIsBounded(t *testing.T) {
	p, err := notes.Open(notestest.API, "42", "t", roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(endless{}), Request: r}, nil
	}))
	require.NoError(t, err)
	_, err = p.File(t.Context(), 701, "cdk.out/manifest.json")
	assert.ErrorContains(t, err, "the answer has more than 20000000 bytes")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestS15_WhatPassesIsTriedAgainAndANewNoteOnlyWhereNothingWasDone(t *testing.T) {
	for name, tt := range map[string]struct {
		method string // that is answered so
		status int
		times  int
		fails  bool
		tries  int
	}{
		"S15 notes | GitLab is down for a moment while it is read | the note is written":          {method: "GET", status: 502, times: 2, tries: 3},
		"S15 notes | GitLab is down for longer | it says so, and the next run tries again":        {method: "GET", status: 502, times: 9, fails: true, tries: 4},
		"S15 notes | changing the note fails once | it is changed":                                {method: "PUT", status: 500, times: 1, tries: 2},
		"S15 notes | adding the note fails, and nobody knows whether it is there | no second one": {method: "POST", status: 502, times: 1, fails: true, tries: 1},
		"S15 notes | adding the note is too much at once | it is added a little later":            {method: "POST", status: 429, times: 1, tries: 2},
		"S15 notes | the token may not write | it is not tried again":                             {method: "POST", status: 403, times: 1, fails: true, tries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &notestest.GitLab{}
				if tt.method == "PUT" {
					g.Add(notestest.Me, mark+"\nold")
				}
				tries := 0
				g.Before = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != tt.method || tt.method == "GET" && !strings.HasSuffix(r.URL.Path, "/user") {
						return false
					}
					if tries++; tries <= tt.times {
						w.Header().Set("Retry-After", "7")
						w.WriteHeader(tt.status)
						return true
					}
					return false
				}
				begin := time.Now()
				err := write(t, g, "new")
				assert.Equal(t, tt.tries, tries)
				if tt.fails {
					var refused notes.Refused
					require.ErrorAs(t, err, &refused)
					assert.Equal(t, tt.status, refused.Status)
					assert.NotContains(t, strings.Join(g.Notes(), ""), "new")
				} else {
					require.NoError(t, err)
					assert.Equal(t, []string{"1 5 " + mark + "|new"}, g.Notes())
				}
				if tt.status == 429 {
					assert.Equal(t, 7*time.Second, time.Since(begin), "as GitLab has asked")
				}
			})
		})
	}
}

func TestS15_ALostConnectionIsTriedAgainUnlessItAddsANote(t *testing.T) {
	for method, want := range map[string]int{"GET": 4, "POST": 1} {
		synctest.Test(t, func(t *testing.T) {
			g, tries := &notestest.GitLab{}, 0
			p, err := notes.Open(notestest.API, "42", notestest.Token, roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Method != method {
					return g.RoundTrip(r)
				}
				tries++
				return nil, errors.New("connection reset by peer")
			}))
			require.NoError(t, err)
			_, _, err = p.Write(t.Context(), 7, notes.Note{Mark: mark, Text: "new"})
			require.ErrorContains(t, err, "no answer")
			assert.NotContains(t, err.Error(), notestest.Token)
			assert.Equal(t, want, tries, method)
		})
	}
}

func TestS15_AnInterruptEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		g := &notestest.GitLab{Before: func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			time.AfterFunc(time.Millisecond, interrupt)
			return true
		}}
		_, err := open(t, g, notestest.Token).MergeRequests(ctx, "main")
		assert.ErrorIs(t, err, context.Canceled)
	})
}
