package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gitlab-codedeploy/test/e2e/childprocess"
)

// hostLimit is how long the host's process may take to start polling.
const hostLimit = 60 * time.Second

// background are the processes that Up leaves, in the order Down stops them.
var background = []string{"host", "moto"}

// belongings are the names in Options.Dir that Up makes. Work folders of demos
// stand beside them.
var belongings = []string{
	"aws", "bin", "cdk-home", "deploy", "functions", "logs", "emulator",
	"state.json", "host.json", "host.ready", "outputs.json", "gaps.json", "job-token", signingKeyCopy,
}

func pidFile(dir, name string) string { return filepath.Join(dir, name+".pid") }

// Up starts an emulator, deploys both stacks, hosts the functions, and leaves all
// that running. It returns the shell command that shows it to any AWS client.
// An emulator that is up already is left as it is.
func Up(ctx context.Context, o Options) (export string, err error) {
	if err := CheckTools(o.Root); err != nil {
		return "", err
	}
	unlock, err := lock(o.Dir)
	if err != nil {
		return "", err
	}
	defer unlock()

	if e, err := Open(o.Root, o.Dir); err == nil && e.healthy(ctx) {
		_, _ = fmt.Fprintf(o.Progress, "already up at %s; make down stops it\n", e.Endpoint)
		return e.export(), nil
	}
	if err := tearDown(o); err != nil { // what a crash may have left
		return "", err
	}
	up := false
	defer func() { // also when it panics
		if !up {
			err = errors.Join(err, stopBackground(o))
		}
	}()
	e, err := bringUp(ctx, o)
	if err != nil {
		return "", err
	}
	up = true
	_, _ = fmt.Fprintf(o.Progress, "up at %s: every upload to the artifact bucket that has a job's token is deployed, and every deployment succeeds; make down stops it\n", e.Endpoint)
	_, _ = fmt.Fprintf(o.Progress, "%s --project team/sample-web --ref main prints a token, for s3://…/tokens/<upload-id>\n", filepath.Join(o.Dir, "job-token"))
	_, _ = fmt.Fprintf(o.Progress, "AWS CLI 1 finds SQS only with --endpoint-url %s\n", e.Endpoint)
	return e.export(), nil
}

func bringUp(ctx context.Context, o Options) (*Emulator, error) {
	p := &progress{out: o.Progress, total: 4}
	var e *Emulator
	if err := p.run("start the emulated AWS: two accounts, a certificate, CodeDeploy", func() (err error) {
		if e, err = start(ctx, o.Root, o.Dir, o.Port, true); err != nil {
			return err
		}
		if err := record(e.moto, pidFile(o.Dir, "moto")); err != nil {
			e.stop()
			return err
		}
		return e.save()
	}); err != nil {
		return nil, err
	}

	var a, b *Stack
	if err := p.run("deploy both stacks with the CDK CLI, build the functions for this machine", func() (err error) {
		if a, b, err = e.deployAndBuild(ctx); err != nil {
			return err
		}
		return writeJSON(filepath.Join(o.Dir, "outputs.json"), e.outputs(a, b))
	}); err != nil {
		return nil, err
	}
	if err := p.run("replay what the emulated CloudFormation leaves out", func() error {
		report, err := e.replay(ctx, a, b)
		report.note(o.Progress)
		if err != nil {
			return err
		}
		return writeJSON(filepath.Join(o.Dir, "gaps.json"), report)
	}); err != nil {
		return nil, err
	}
	return e, p.run("host the functions", func() error { return e.startHost(ctx, b) })
}

// startHost starts this program once more, as the host.
func (e *Emulator) startHost(ctx context.Context, b *Stack) error {
	prepared, err := e.prepareHosting(ctx, b)
	if err != nil {
		return err
	}
	if err := writeJSON(e.hostFile(), prepared); err != nil {
		return err
	}
	// A copy, because "go run" removes the program it built when it ends.
	program := filepath.Join(e.Work, "emulator")
	if err := copySelf(program); err != nil {
		return err
	}
	if err := e.shareGitLab(); err != nil {
		return err
	}
	host, err := childprocess.Start(childprocess.Command{
		Args: []string{program, "--dir", e.Work, "host"},
		Dir:  e.Root, Env: childEnvironment(e.Root), Log: e.log("host"), Detached: true,
	})
	if err != nil {
		return err
	}
	if err := record(host, pidFile(e.Work, "host")); err != nil {
		host.Stop(0)
		return err
	}
	limit := time.After(hostLimit)
	for {
		if _, err := os.Stat(e.readyFile()); err == nil {
			return nil
		}
		select {
		case <-host.Done():
			return &stepFailure{err: fmt.Errorf("the host ended: %v", host.Err()), log: e.log("host")}
		case <-limit:
			return &stepFailure{err: errors.New("the host did not start"), log: e.log("host")}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}

// RunHost is the host's own process: it serves the functions that Up prepared
// until ctx ends.
func RunHost(ctx context.Context, o Options) error {
	e, err := Open(o.Root, o.Dir)
	if err != nil {
		return err
	}
	var prepared hosting
	if err := readJSON(e.hostFile(), &prepared); err != nil {
		return err
	}
	host, err := e.newHost(prepared)
	if err != nil {
		return err
	}
	if err := os.WriteFile(e.readyFile(), nil, 0o644); err != nil {
		return err
	}
	host(ctx)
	return nil
}

// Down stops what Up started, and removes its files. It is content when
// nothing runs.
func Down(o Options) error {
	unlock, err := lock(o.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	ran := false
	for _, name := range background {
		if r, found, _ := childprocess.ReadRecord(pidFile(o.Dir, name)); found && r.Alive() {
			ran = true
		}
	}
	if err := tearDown(o); err != nil {
		return err
	}
	if ran {
		_, _ = fmt.Fprintln(o.Progress, "down")
	} else {
		_, _ = fmt.Fprintln(o.Progress, "nothing is up")
	}
	return nil
}

func tearDown(o Options) error {
	if err := stopBackground(o); err != nil {
		return err
	}
	for _, name := range belongings {
		if err := os.RemoveAll(filepath.Join(o.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func stopBackground(o Options) error {
	for _, name := range background {
		r, found, err := childprocess.ReadRecord(pidFile(o.Dir, name))
		if err != nil {
			return err
		}
		if found {
			if err := r.Stop(5 * time.Second); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(pidFile(o.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// healthy says whether both processes run and the emulated AWS answers.
func (e *Emulator) healthy(ctx context.Context) bool {
	for _, name := range background {
		if r, found, err := childprocess.ReadRecord(pidFile(e.Work, name)); err != nil || !found || !r.Alive() {
			return false
		}
	}
	if _, err := os.Stat(e.readyFile()); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return answers(ctx, e.Endpoint) == nil
}

func (e *Emulator) readyFile() string { return filepath.Join(e.Work, "host.ready") }

// export is the line a shell evaluates to use the profiles.
func (e *Emulator) export() string {
	return "export AWS_CONFIG_FILE=" + quote(e.configFile()) + " AWS_SHARED_CREDENTIALS_FILE=" + quote(e.credentialsFile())
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func record(p *childprocess.Process, path string) error {
	r, err := p.Record()
	if err != nil {
		return err
	}
	return r.Write(path)
}

func copySelf(path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	in, err := os.Open(self)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}

// lock lets one up or down at a time work in a folder. The lock goes with the
// process, so a crash leaves none.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("another up or down is at work in %s", dir)
	}
	return func() { file.Close() }, nil
}
