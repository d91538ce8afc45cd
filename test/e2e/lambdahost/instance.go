package lambdahost

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gitlab-codedeploy/test/e2e/childprocess"
)

// initLimit is how long Lambda lets a function start before it gives up on it.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib
const initLimit = 10 * time.Second

// Instance runs a function in one process. The process starts with the first
// invocation, serves one after the other, and is replaced after a timeout, a
// crash or a failed start.
type Instance struct {
	function  Function
	initLimit time.Duration

	mu      sync.Mutex // one invocation at a time, and no Close in between
	api     *runtimeAPI
	process *childprocess.Process
}

// NewInstance prepares a function; nothing runs yet.
func NewInstance(f Function) *Instance { return &Instance{function: f, initLimit: initLimit} }

// Invoke sends one event through the function and returns its answer. What the
// function itself got wrong is a *FunctionError; other errors are this machine's
// or ctx's.
func (i *Instance) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()

	inv := &invocation{id: requestID(), payload: payload, result: make(chan result, 1)}
	i.logf("START RequestId: %s Version: $LATEST", inv.id)
	began := time.Now()
	answer, err := i.invoke(ctx, inv)
	if err != nil {
		i.logf("ERROR RequestId: %s %v", inv.id, err)
	}
	i.logf("REPORT RequestId: %s Duration: %d ms", inv.id, time.Since(began).Milliseconds())
	return answer, err
}

func (i *Instance) invoke(ctx context.Context, inv *invocation) ([]byte, error) {
	if err := i.warmUp(ctx); err != nil {
		i.stop()
		return nil, err
	}
	inv.deadline = time.Now().Add(i.function.Timeout)
	timeout := time.NewTimer(i.function.Timeout)
	defer timeout.Stop()

	next := i.api.next
	for {
		select {
		case next <- inv:
			next = nil // handed over; from here on only an end can come
		case res := <-inv.result:
			return res.payload, res.err
		case <-timeout.C:
			i.stop()
			return nil, &FunctionError{Type: "Sandbox.Timedout", Message: fmt.Sprintf("the task timed out after %.2f seconds", i.function.Timeout.Seconds())}
		case <-i.process.Done():
			err := i.process.Err()
			i.stop()
			select {
			case res := <-inv.result: // it had answered before it ended
				return res.payload, res.err
			default:
				return nil, &FunctionError{Type: "Runtime.ExitError", Message: fmt.Sprintf("the process ended in the middle of an invocation: %v", exitText(err))}
			}
		case <-ctx.Done():
			i.stop()
			return nil, ctx.Err()
		}
	}
}

// warmUp starts the process if none runs, and waits until it asks for work.
func (i *Instance) warmUp(ctx context.Context) error {
	if i.process != nil {
		select {
		case <-i.process.Done(): // died between two invocations
			i.stop()
		default:
			return nil
		}
	}
	credentials, err := i.function.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("credentials of %s: %w", i.function.Name, err)
	}
	if i.api, err = newRuntimeAPI(i.function); err != nil {
		return err
	}
	if i.process, err = childprocess.Start(childprocess.Command{
		Args: []string{filepath.Join(i.function.TaskRoot, "bootstrap")},
		Dir:  i.function.TaskRoot,
		Env:  i.function.environment(i.api.address, credentials),
		Log:  i.function.Log,
	}); err != nil {
		return err
	}
	limit := time.NewTimer(i.initLimit)
	defer limit.Stop()
	select {
	case <-i.api.ready:
		return nil
	case err := <-i.api.initError:
		return err
	case <-i.process.Done():
		select {
		case err := <-i.api.initError: // the reason came first, the end of the process was noticed first
			return err
		default:
			return &FunctionError{Type: "Runtime.ExitError", Message: fmt.Sprintf("the process ended while starting: %v", exitText(i.process.Err()))}
		}
	case <-limit.C:
		return &FunctionError{Type: "Sandbox.Timedout", Message: fmt.Sprintf("the function did not start within %s", i.initLimit)}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the process. A later invocation starts a new one.
func (i *Instance) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stop()
}

func (i *Instance) stop() {
	if i.process != nil {
		i.process.Stop(0) // Lambda does not ask either
		i.process = nil
	}
	if i.api != nil {
		i.api.close()
		i.api = nil
	}
}

// logf writes one of Lambda's own lines between those of the function. The log
// is for people: failing to write it must not fail an invocation.
func (i *Instance) logf(format string, args ...any) {
	f, err := os.OpenFile(i.function.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = fmt.Fprintf(f, format+"\n", args...)
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// requestID is a random UUID, which is the form of Lambda's request ids.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
