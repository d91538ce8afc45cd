// Package awstest is an HTTP server that answers as S3 and the services with a
// JSON protocol do on the wire. The functions' tests run the real clients
// against it.
package awstest

import (
	"crypto/md5"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Server is S3 with one object version per key, and whatever Operations says.
// Fields are set before the first request; what was asked is read with the
// methods.
type Server struct {
	*httptest.Server

	// Operations answers an operation ("CreateDeployment") on its try-th call,
	// counted from 1. Others are refused with 501.
	Operations map[string]func(w http.ResponseWriter, body string, try int)
	// S3 is asked first about each request for an object; true means that it
	// has answered. May be nil.
	S3 func(w http.ResponseWriter, r *http.Request) bool

	turn     sync.Mutex        // one answer at a time
	mu       sync.Mutex        // guards what follows
	objects  map[string]object // by path: /bucket/key
	requests []string
	bodies   map[string][]string // by operation
}

type object struct {
	header http.Header
	body   []byte
}

// New starts a server that lives as long as the test.
func New(t *testing.T) *Server {
	s := &Server{
		Operations: map[string]func(http.ResponseWriter, string, int){},
		objects:    map[string]object{},
		bodies:     map[string][]string{},
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// Environment is what Lambda gives a function that is pointed at s.
func (s *Server) Environment(bucket, prefix string) map[string]string {
	return map[string]string{
		"ARTIFACT_BUCKET":          bucket,
		"ARTIFACT_PREFIX":          prefix,
		"AWS_REGION":               "ap-northeast-1",
		"AWS_ACCESS_KEY_ID":        "AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY":    "secret",
		"AWS_SESSION_TOKEN":        "token",
		"AWS_LAMBDA_FUNCTION_NAME": "function",
		// By name, as the emulator has it: the SDK is lenient with addresses.
		"AWS_ENDPOINT_URL": strings.Replace(s.URL, "127.0.0.1", "localhost", 1),
	}
}

// Put sets an object, with headers such as x-amz-meta-…. Like the methods below
// it may be called while an operation is being answered.
func (s *Server) Put(path string, header http.Header, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(path, header, []byte(body))
}

func (s *Server) put(path string, header http.Header, body []byte) object {
	o := object{header: http.Header{"Last-Modified": {"Mon, 23 Nov 2026 01:02:03 GMT"}}, body: body}
	o.header.Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(body)))
	maps.Copy(o.header, header)
	s.objects[path] = o
	return o
}

// Object returns an object's content, "" when there is none.
func (s *Server) Object(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.objects[path].body)
}

// Requests lists what was asked: "HEAD /path?query" or the name of an
// operation.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Bodies lists what an operation was sent, call by call.
func (s *Server) Bodies(operation string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bodies[operation])
}

// ServeHTTP answers one request at a time.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	target := r.Header.Get("X-Amz-Target")
	if target == "" {
		query := r.URL.Query()
		query.Del("x-id") // The SDK names the operation for people who read logs.
		s.asked(strings.TrimSuffix(r.Method+" "+r.URL.EscapedPath()+"?"+query.Encode(), "?"))
		if s.S3 == nil || !s.S3(w, r) {
			s.object(w, r, body)
		}
		return
	}
	_, operation, _ := strings.Cut(target, ".")
	s.asked(operation)
	s.mu.Lock()
	s.bodies[operation] = append(s.bodies[operation], string(body))
	try := len(s.bodies[operation])
	s.mu.Unlock()
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	answer := s.Operations[operation]
	if answer == nil {
		Refuse(w, http.StatusNotImplemented, "NotImplemented")
		return
	}
	answer(w, string(body), try)
}

func (s *Server) asked(request string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
}

// object answers HEAD, GET and the conditional PUT.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (s *Server) object(w http.ResponseWriter, r *http.Request, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPut && r.URL.Query().Has("tagging") {
		return
	}
	o, found := s.objects[r.URL.Path]
	ifMatch, ifNoneMatch := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case r.Method == http.MethodPut && (found && ifNoneMatch == "*" || found && ifMatch != "" && ifMatch != o.header.Get("ETag")):
		refuseS3(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	case r.Method == http.MethodPut && (found || ifMatch == ""):
		if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
			body = unchunk(body)
		}
		w.Header().Set("ETag", s.put(r.URL.Path, http.Header{"Content-Type": r.Header["Content-Type"]}, body).header.Get("ETag"))
		return
	case !found:
		refuseS3(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	maps.Copy(w.Header(), o.header)
	w.Header().Set("Content-Length", fmt.Sprint(len(o.body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(o.body)
	}
}

// unchunk takes the one chunk out of an aws-chunked body.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
func unchunk(body []byte) []byte {
	var size int
	if _, err := fmt.Sscanf(string(body), "%x\r\n", &size); err != nil {
		panic(err)
	}
	_, rest, _ := strings.Cut(string(body), "\r\n")
	return []byte(rest[:size])
}

func refuseS3(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as AWS says</Message></Error>", code)
}

// Refuse answers an operation with an error.
func Refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Amzn-ErrorType", code)
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"__type":%q,"message":"as AWS says"}`, code)
}

// HangUp closes the connection instead of an answer.
func HangUp(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Close()
	}
}
