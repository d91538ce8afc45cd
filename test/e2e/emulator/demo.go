package emulator

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// demoLimit ends a demo that hangs where nothing else is bounded.
const demoLimit = 10 * time.Minute

// Options say where and how to run an emulator.
type Options struct {
	Root     string    // folder of the Go module
	Dir      string    // folder for work folders, usually Root/.emulator
	Port     int       // of the emulated AWS; 0 takes a free one
	Progress io.Writer // one line per step
}

// Demo takes one push from the sample repository to its deployment, and stops
// everything again. The work folder with its logs is kept when it fails.
func Demo(ctx context.Context, o Options) (d Deployment, err error) {
	if err := CheckTools(o.Root); err != nil {
		return d, err
	}
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return d, err
	}
	work, err := os.MkdirTemp(o.Dir, "demo-")
	if err != nil {
		return d, err
	}
	finished := false
	defer func() { // also when the demo panics: then it has not finished
		if finished {
			err = os.RemoveAll(work)
		} else {
			_, _ = fmt.Fprintf(o.Progress, "logs are kept in %s\n", work)
		}
	}()
	if d, err = demo(ctx, o, work); err != nil {
		return d, err
	}
	finished = true
	return d, nil
}

func demo(ctx context.Context, o Options, work string) (d Deployment, err error) {
	p := &progress{out: o.Progress, total: 9}
	began := time.Now()

	var e *Emulator
	if err := p.run("start the emulated AWS: two accounts, a certificate, CodeDeploy", func() (err error) {
		e, err = start(ctx, o.Root, work, o.Port, false)
		return err
	}); err != nil {
		return d, err
	}
	defer e.stop()

	var a, b *Stack
	if err := p.run("deploy both stacks with the CDK CLI, build the functions for this machine", func() (err error) {
		a, b, err = e.deployAndBuild(ctx)
		return err
	}); err != nil {
		return d, err
	}
	if err := p.run("replay what the emulated CloudFormation leaves out", func() error {
		report, err := e.replay(ctx, a, b)
		report.note(o.Progress)
		return err
	}); err != nil {
		return d, err
	}

	var stopHost func()
	if err := p.run("host the functions", func() (err error) {
		stopHost, err = e.host(ctx, b)
		return err
	}); err != nil {
		return d, err
	}
	defer func() { stopHost() }()

	var u upload
	if err := p.run("push to the sample repository; its job uploads and waits, and CodeDeploy's progress is played", func() (err error) {
		u, err = e.push(ctx, a, b)
		return err
	}); err != nil {
		return d, err
	}
	_, _ = fmt.Fprintf(o.Progress, "      uploaded s3://%s/%s, version %s: the job is green, %s\n", u.Bucket, u.Key, u.VersionID, u.State)
	if err := p.run("compare the deployment with the upload", func() (err error) {
		d, err = e.waitForDeployment(ctx, b, u)
		return err
	}); err != nil {
		return d, err
	}
	_, _ = fmt.Fprintf(o.Progress, "      deployment %s of %s to %s (%s)\n", d.DeploymentID, d.Application, d.DeploymentGroup, d.DeploymentStyle)

	var rejected upload
	if err := p.run("run the pipeline again, for a deployment group that is not listed", func() (err error) {
		rejected, err = e.pushUnlisted(ctx, a, b)
		return err
	}); err != nil {
		return d, err
	}
	_, _ = fmt.Fprintf(o.Progress, "      the job is red, %s: %s\n", rejected.State, rejected.Reason)

	if err := p.run("run the pipeline in another project, which may not deploy this", func() (err error) {
		rejected, err = e.pushFromAnother(ctx, a, b)
		return err
	}); err != nil {
		return d, err
	}
	_, _ = fmt.Fprintf(o.Progress, "      the job is red, %s: %s\n", rejected.State, rejected.Reason)

	if err := p.run("stop everything", func() error {
		stopHost()
		e.stop()
		return nil
	}); err != nil {
		return d, err
	}
	_, _ = fmt.Fprintf(o.Progress, "a push became a blue/green deployment in %.1f s\n", time.Since(began).Seconds())
	return d, nil
}

// deployAndBuild does the two long things at once.
func (e *Emulator) deployAndBuild(ctx context.Context) (a, b *Stack, err error) {
	built := make(chan error, 1)
	go func() { built <- e.build() }()
	err = e.deploy(ctx)
	// The build cannot be cut short, and must not outlive this call.
	if buildErr := <-built; err == nil {
		err = buildErr
	}
	if err != nil {
		return nil, nil, err
	}
	return e.readStacks(ctx)
}

// host runs the functions inside this program until the returned function is
// called, which may happen twice.
func (e *Emulator) host(ctx context.Context, b *Stack) (stop func(), err error) {
	prepared, err := e.prepareHosting(ctx, b)
	if err != nil {
		return nil, err
	}
	host, err := e.newHost(prepared)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		host(ctx)
	}()
	return func() { cancel(); <-stopped }, nil
}

// note tells a user of a list that needs care; the e2e test fails for it.
func (r GapReport) note(out io.Writer) {
	for _, g := range r.Closed {
		_, _ = fmt.Fprintf(out, "(gaps.go lists %s in vain) ", g)
	}
	for _, t := range r.Unlisted {
		_, _ = fmt.Fprintf(out, "(moto ignored %s, which gaps.go does not list) ", t)
	}
}

// hostFile is where [Up] leaves the hosting for the host's own process.
func (e *Emulator) hostFile() string { return filepath.Join(e.Work, "host.json") }
