package uploadtest

import (
	"crypto/md5"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Bucket is an artifact bucket: a Store that takes uploads, and account B, which
// writes their states. Tokens of jobs are kept, too.
type Bucket struct {
	*Store
	Front *httptest.Server // of the bucket, without TLS

	keep string

	mu     sync.Mutex
	says   func(id string, looks int) any
	states map[string]string // by key
	tokens map[string]string // by key
	looks  int
	order  []string
}

// NewBucket starts a bucket, which ends with the test. faults may be nil.
func NewBucket(t *testing.T, faults func(Call) Fault) *Bucket {
	t.Helper()
	b := &Bucket{keep: t.TempDir(), states: map[string]string{}, tokens: map[string]string{}}
	b.Store = New(Options{Keep: b.keep, Faults: faults})
	b.Front = httptest.NewServer(b)
	t.Cleanup(b.Store.Server.Close)
	t.Cleanup(b.Front.Close)
	return b
}

// ServeHTTP is the bucket.
func (b *Bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodPut && strings.HasPrefix(key, "tokens/"):
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.tokens[key] = string(body)
		b.order = append(b.order, "token")
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		b.list(w, r.URL.Query().Get("prefix"))
	case r.Method == http.MethodGet:
		b.mu.Lock()
		defer b.mu.Unlock()
		_, _ = io.WriteString(w, b.states[key])
	default:
		b.mu.Lock()
		b.order = append(b.order, "artifact")
		b.mu.Unlock()
		b.Store.Server.Config.Handler.ServeHTTP(w, r)
	}
}

// list answers with the one state there is.
func (b *Bucket) list(w http.ResponseWriter, prefix string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	type contents struct {
		Key, ETag string
		Size      int
	}
	answer := struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []contents
	}{}
	if b.says != nil {
		if said := b.says(strings.TrimSuffix(strings.TrimPrefix(prefix, "deployments/"), ".json"), b.looks); said != nil {
			text, err := json.Marshal(said)
			if err != nil {
				panic(err)
			}
			b.states[prefix] = string(text)
			answer.Contents = []contents{{prefix, fmt.Sprintf(`"%x"`, md5.Sum(text)), len(text)}}
		}
	}
	_ = xml.NewEncoder(w).Encode(answer) // A client that is gone reports it itself.
}

// Says makes account B say one thing of every upload.
func (b *Bucket) Says(fields map[string]any) {
	b.SaysAt(func(string, int) any { return fields })
}

// SaysAt makes account B say something of an upload at each look, counted from
// 1; nil is nothing.
func (b *Bucket) SaysAt(says func(id string, looks int) any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.says = says
}

// Sent is what was put, in its order: "token" or "artifact" for each request.
func (b *Bucket) Sent() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.order)
}

// Tokens are those that jobs left, by key.
func (b *Bucket) Tokens() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.tokens)
}

// Looks is how often a state was looked for.
func (b *Bucket) Looks() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.looks
}

// Content returns an object that was uploaded.
func (b *Bucket) Content(t *testing.T, key string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.keep, key))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
