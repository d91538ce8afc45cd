package faults

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"gitlab-codedeploy/internal/gobuild"
	"gitlab-codedeploy/test/inputs"
)

// program is one of the functions, built as it is deployed, in a folder like
// the one that Lambda unpacks.
type program struct {
	name     string
	taskRoot string
}

// removeAtEnd are folders that TestMain removes.
var removeAtEnd []string

// programs are built once.
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
		removeAtEnd = append(removeAtEnd, p.folder)
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
	// A world is little, and soon gone: looking for what is left of it takes a tenth of the time.
	debug.SetGCPercent(400)
	code := m.Run()
	for _, dir := range removeAtEnd {
		os.RemoveAll(dir)
	}
	os.Exit(code)
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
