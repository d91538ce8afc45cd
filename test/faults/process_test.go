package faults

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/test/faults/cloud"
	"gitlab-codedeploy/test/inputs"
)

// program is one of the functions, built as it is deployed, in a folder like
// the one that Lambda unpacks.
type program struct {
	name     string
	taskRoot string
}

// programs are built once, in a folder that TestMain removes.
var programs struct {
	once            sync.Once
	folder          string
	trigger, status program
	err             error
}

func buildPrograms() (trigger, status program, err error) {
	p := &programs
	p.once.Do(func() {
		if p.folder, p.err = os.MkdirTemp("", "faults-"); p.err != nil {
			return
		}
		module := os.Getenv("FAULTS_MODULE") // a copy of the repository with a fault of its own
		if module == "" {
			module = "../.."
			if p.err = inputs.Are(module, "go.mod", "go.sum", "lambda", "internal", "requirements-dev.lock"); p.err != nil {
				return
			}
		}
		var built sync.WaitGroup
		var errs [2]error
		for i, target := range []*program{&p.trigger, &p.status} {
			*target = program{name: []string{"trigger", "status"}[i]}
			target.taskRoot = filepath.Join(p.folder, target.name)
			built.Go(func() {
				errs[i] = gobuild.Build(module, "./lambda/"+target.name, filepath.Join(target.taskRoot, "bootstrap"), runtime.GOOS, runtime.GOARCH)
			})
		}
		built.Wait()
		for _, err := range errs {
			if err != nil {
				p.err = err
			}
		}
		if p.err == nil {
			p.err = os.WriteFile(filepath.Join(p.trigger.taskRoot, "deployment-groups.json"), allowList(), 0o600)
		}
	})
	return p.trigger, p.status, p.err
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.folder != "" {
		os.RemoveAll(programs.folder)
	}
	os.Exit(code)
}

// arrival is something a process did.
type arrival struct {
	from *process
	// One of:
	call   *call   // it called AWS
	gone   *call   // it hung up on a call that nobody had answered
	result *result // it answered an invocation
	exit   bool    // it ended
	ready  bool    // it asks for work
	err    error   // it did something that this simulation does not understand
}

// call is a request to AWS that waits for its answer.
type call struct {
	request cloud.Request
	answer  chan func(http.ResponseWriter) // nil hangs up
}

// result is how an invocation ended, in the function's words.
type result struct {
	payload []byte
	failed  bool // an error was reported
}

// process is one Lambda execution environment. It is a host of its own rather
// than that of test/e2e/lambdahost, because here somebody has to decide between
// any two calls of the process whether it lives on. It has one address, which
// is both Lambda's runtime API and AWS, so that each call says whose it is.
type process struct {
	program  program
	name     string // for traces
	arrivals chan<- arrival
	server   *http.Server
	cmd      *exec.Cmd
	log      tail
	exited   chan struct{}
	next     chan event
	// peak memory in KiB, read before each invocation.
	peak atomic.Int64
}

// event is an invocation's input.
type event struct {
	id       string
	payload  []byte
	deadline time.Time
}

// start runs the program. Everything it does from here on arrives in arrivals;
// whoever reads them has to do so until exit came.
func start(p program, name string, env map[string]string, arrivals chan<- arrival) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	proc := &process{program: p, name: name, arrivals: arrivals, exited: make(chan struct{}), next: make(chan event)}
	proc.server = &http.Server{Handler: proc}
	go func() { _ = proc.server.Serve(listener) }() // until the process ends

	cmd := exec.Command(filepath.Join(p.taskRoot, "bootstrap"))
	cmd.Dir = p.taskRoot
	cmd.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + address,
		"AWS_ENDPOINT_URL=http://" + address,
		"AWS_LAMBDA_FUNCTION_NAME=" + p.name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_LOG_FORMAT=JSON",
		"AWS_REGION=ap-northeast-1",
		"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=token",
		"LAMBDA_TASK_ROOT=" + p.taskRoot,
		"_HANDLER=bootstrap",
		"TZ=:UTC",
	}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = &proc.log, &proc.log
	if err := cmd.Start(); err != nil {
		proc.server.Close()
		return nil, err
	}
	proc.cmd = cmd
	go func() {
		_ = cmd.Wait() // How it ended is for its log to say.
		close(proc.exited)
		proc.server.Close()
		arrivals <- arrival{from: proc, exit: true}
	}()
	return proc, nil
}

// kill ends the process at once. Its exit still arrives.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // SIGKILL; it may have ended by itself
	<-p.exited
}

// invoke hands an event to a process that is ready.
func (p *process) invoke(e event) {
	p.measure()
	select {
	case p.next <- e:
	case <-p.exited:
	}
}

// measure notes the process's peak memory.
func (p *process) measure() {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return // Not Linux, or gone.
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	if fields := strings.Fields(rest); len(fields) > 0 {
		if kib, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			p.peak.Store(max(kib, p.peak.Load()))
		}
	}
}

// ServeHTTP is Lambda's runtime API, and AWS behind it.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
func (p *process) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, runtimeAPI := strings.CutPrefix(r.URL.Path, "/2018-06-01/runtime/")
	switch {
	case !runtimeAPI:
		p.serveAWS(w, r)
	case path == "invocation/next":
		p.serveNext(w, r)
	case path == "init/error":
		p.arrive(arrival{err: fmt.Errorf("%s cannot start: %s", p.name, read(r))})
		w.WriteHeader(http.StatusAccepted)
	default:
		failed := strings.HasSuffix(path, "/error")
		p.arrive(arrival{result: &result{payload: read(r), failed: failed}})
		w.WriteHeader(http.StatusAccepted)
	}
}

func (p *process) serveNext(w http.ResponseWriter, r *http.Request) {
	p.arrive(arrival{ready: true})
	select {
	case <-r.Context().Done():
	case <-p.exited:
	case e := <-p.next:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", e.id)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(e.deadline.UnixMilli(), 10))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:ap-northeast-1:222222222222:function:"+p.program.name)
		_, _ = w.Write(e.payload)
	}
}

func (p *process) serveAWS(w http.ResponseWriter, r *http.Request) {
	request, err := cloud.Read(r)
	if err != nil {
		p.arrive(arrival{err: fmt.Errorf("%s: %w", p.name, err)})
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	c := &call{request: request, answer: make(chan func(http.ResponseWriter), 1)}
	p.arrive(arrival{call: c})
	select {
	case send := <-c.answer:
		if send == nil {
			hangUp(w)
			return
		}
		send(w)
	case <-p.exited:
	case <-r.Context().Done():
		select {
		case <-p.exited: // It did not hang up, it was killed.
		case <-time.After(20 * time.Millisecond):
			p.arrive(arrival{gone: c})
		}
	}
}

// hangUp resets the connection.
func hangUp(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes Close send RST
	}
	_ = connection.Close()
}

func (p *process) arrive(a arrival) {
	a.from = p
	p.arrivals <- a
}

func read(r *http.Request) []byte {
	var b bytes.Buffer
	_, _ = b.ReadFrom(r.Body)
	return b.Bytes()
}

// tail keeps the end of a process's output.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > tailSize {
		t.text = append([]byte(nil), t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text[max(0, len(t.text)-tailSize):])
}
