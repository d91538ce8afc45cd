package lambdahost

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// invocation is one event on its way through a function.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	result   chan result // holds one
}

type result struct {
	payload []byte
	err     error
}

// FunctionError is an invocation that failed, in the form Lambda reports it.
type FunctionError struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

// runtimeAPI is Lambda's side of the conversation with one function process.
type runtimeAPI struct {
	function  Function
	server    *http.Server
	address   string // host:port
	next      chan *invocation
	ready     chan struct{} // closed when the process asks for its first event
	initError chan error    // holds one

	mu      sync.Mutex
	asked   bool
	current *invocation
}

func newRuntimeAPI(f Function) (*runtimeAPI, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	api := &runtimeAPI{
		function:  f,
		address:   listener.Addr().String(),
		next:      make(chan *invocation),
		ready:     make(chan struct{}),
		initError: make(chan error, 1),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", api.handleNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", api.handleResponse)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", api.handleError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", api.handleInitError)
	api.server = &http.Server{Handler: mux}
	go func() { _ = api.server.Serve(listener) }() // ends with Close
	return api, nil
}

func (a *runtimeAPI) close() { _ = a.server.Close() }

// handleNext answers when there is an event; until then the process sleeps in this call.
func (a *runtimeAPI) handleNext(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	if !a.asked {
		a.asked = true
		close(a.ready)
	}
	a.mu.Unlock()

	select {
	case <-r.Context().Done():
	case inv := <-a.next:
		a.mu.Lock()
		a.current = inv
		a.mu.Unlock()
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", a.function.ARN)
		h.Set("Lambda-Runtime-Trace-Id", traceID(inv))
		_, _ = w.Write(inv.payload)
	}
}

func (a *runtimeAPI) handleResponse(w http.ResponseWriter, r *http.Request) {
	// A streaming response tells a late error in a trailer, readable only after the body.
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Trailer.Get("Lambda-Runtime-Function-Error-Type") != "" {
		err = &FunctionError{Type: r.Trailer.Get("Lambda-Runtime-Function-Error-Type"), Message: "the response was cut off"}
	}
	a.finish(w, r, result{payload: body, err: err})
}

func (a *runtimeAPI) handleError(w http.ResponseWriter, r *http.Request) {
	a.finish(w, r, result{err: functionError(r)})
}

func (a *runtimeAPI) handleInitError(w http.ResponseWriter, r *http.Request) {
	select {
	case a.initError <- functionError(r):
	default: // only the first one counts
	}
	accepted(w)
}

func (a *runtimeAPI) finish(w http.ResponseWriter, r *http.Request, res result) {
	a.mu.Lock()
	inv := a.current
	if inv == nil || inv.id != r.PathValue("id") {
		a.mu.Unlock()
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(FunctionError{Type: "InvalidRequestID", Message: "no such invocation is under way"})
		return
	}
	a.current = nil
	a.mu.Unlock()
	inv.result <- res
	accepted(w)
}

func accepted(w http.ResponseWriter) {
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}

// functionError reads the body of an error call; its type may stand in a header only.
func functionError(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	var e FunctionError
	if err = errors.Join(err, json.Unmarshal(body, &e)); err != nil {
		e.Message = string(body)
	}
	if e.Type == "" {
		e.Type = r.Header.Get("Lambda-Runtime-Function-Error-Type")
	}
	if e.Type == "" {
		e.Type = "Runtime.Unknown"
	}
	return &e
}

// traceID has the form of an X-Ray header that samples nothing.
func traceID(inv *invocation) string {
	return fmt.Sprintf("Root=1-%08x-%.24s;Sampled=0", time.Now().Unix(), inv.id[:8]+inv.id[9:13]+inv.id[14:18]+inv.id[24:32])
}
