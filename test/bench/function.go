package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program is a Lambda function as a process of this machine.
type program struct {
	name string
	args []string
	dir  string // what Lambda calls the task root
	env  []string
}

// function is a running program, with Lambda's side of the conversation:
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
//
// It is not the host of test/e2e/lambdahost, which hides when a process becomes
// ready and what its id is.
type function struct {
	program program
	cmd     *exec.Cmd
	log     string
	exited  chan struct{}
	server  *http.Server

	asks    chan time.Time // when the process asked for an event
	next    chan []byte
	answers chan answer
}

type answer struct {
	at      time.Time
	payload []byte
	failed  bool
}

// patience is how long a process may take for anything; the slowest thing here
// is to import boto3 on a machine that has better things to do.
const patience = 60 * time.Second

// start runs a program, and returns when it asks for its first event, with the
// time that took.
func (p program) start(ctx context.Context, log string) (*function, time.Duration, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	output, err := os.Create(log)
	if err != nil {
		listener.Close()
		return nil, 0, err
	}
	defer output.Close()
	f := &function{
		program: p, log: log, exited: make(chan struct{}),
		asks: make(chan time.Time, 1), next: make(chan []byte), answers: make(chan answer, 1),
	}
	f.server = &http.Server{Handler: f}
	go func() { _ = f.server.Serve(listener) }() // until stop

	f.cmd = exec.Command(p.args[0], p.args[1:]...)
	f.cmd.Dir = p.dir
	f.cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(),
		"LAMBDA_TASK_ROOT=" + p.dir,
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=en_US.UTF-8", "TZ=:UTC",
	}, p.env...)
	f.cmd.Stdout, f.cmd.Stderr = output, output
	began := time.Now()
	if err := f.cmd.Start(); err != nil {
		f.server.Close()
		return nil, 0, err
	}
	go func() {
		_ = f.cmd.Wait() // It is killed; how it ended otherwise, its log says.
		close(f.exited)
	}()
	at, err := await(ctx, f, f.asks)
	if err != nil {
		f.stop()
		return nil, 0, err
	}
	return f, at.Sub(began), nil
}

// invoke sends an event through, and returns how long the answer took. It
// returns when the process asks for the next one, so that no work of this
// invocation falls into the next.
func (f *function) invoke(ctx context.Context, payload []byte) (time.Duration, error) {
	began := time.Now()
	select {
	case f.next <- payload: // It waits for it.
	case <-f.exited:
	}
	answer, err := await(ctx, f, f.answers)
	if err != nil {
		return 0, err
	}
	if answer.failed || !strings.Contains(string(answer.payload), `"batchItemFailures"`) || strings.Contains(string(answer.payload), "itemIdentifier") {
		return 0, f.failure("answered %s", answer.payload)
	}
	_, err = await(ctx, f, f.asks)
	return answer.at.Sub(began), err
}

// peak is the most memory that the process has ever had, in bytes.
func (f *function) peak() (float64, error) {
	kib, err := procField(f.cmd.Process.Pid, "status", "VmHWM:")
	return kib * 1024, err
}

func (f *function) stop() {
	_ = f.cmd.Process.Kill() // as Lambda does; it may have ended by itself
	<-f.exited
	f.server.Close()
}

func (f *function) failure(format string, args ...any) error {
	text, _ := os.ReadFile(f.log)
	return fmt.Errorf("%s %s; its log ends with:\n%s", f.program.name, fmt.Sprintf(format, args...), text[max(0, len(text)-2000):])
}

// await takes what a process does next.
func await[T any](ctx context.Context, f *function, from <-chan T) (T, error) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	var nothing T
	select {
	case it := <-from:
		return it, nil
	case <-f.exited:
		return nothing, f.failure("ended by itself")
	case <-limit.C:
		return nothing, f.failure("did nothing for %s", patience)
	case <-ctx.Done():
		return nothing, ctx.Err()
	}
}

func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	path := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/")
	if path == "invocation/next" {
		f.asks <- at
		select {
		case <-r.Context().Done():
		case payload := <-f.next:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(at.Add(patience).UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:"+region+":222222222222:function:trigger")
			_, _ = w.Write(payload)
		}
		return
	}
	payload, err := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusAccepted)
	f.answers <- answer{at: at, payload: payload, failed: err != nil || !strings.HasSuffix(path, "/response")}
}

// procField reads a number of a process from a file of /proc.
func procField(pid int, file, name string) (float64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name); found {
			if fields := strings.Fields(rest); len(fields) > 0 {
				return strconv.ParseFloat(fields[0], 64)
			}
		}
	}
	return 0, fmt.Errorf("/proc/%d/%s has no %s", pid, file, name)
}

// killGroup ends a process and what it started in its process group.
func killGroup(pid int, signal syscall.Signal) { _ = syscall.Kill(-pid, signal) }
