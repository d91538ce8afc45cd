// Package gobuild compiles a Go program the way every function and every
// hosts' program of this repository is compiled: small, static and the same
// bytes each time.
//
// The CDK app builds what Lambda and the hosts run with it; the emulator builds
// the same sources for the machine it runs on.
package gobuild

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Build compiles package pkg (an import path such as "./lambda/trigger",
// relative to moduleDir) for goos and goarch into the file output. The error
// of a failed build holds the compiler's own output.
func Build(moduleDir, pkg, output, goos, goarch string) error {
	if built, is := ahead.Load(program{moduleDir, pkg, goos, goarch}); is {
		if file, err := built.(func() (string, error))(); err == nil {
			return copyFile(output, file)
		} // else this one program's own message is better
	}
	return compile(moduleDir, output, goos, goarch, "", pkg)
}

type program struct{ moduleDir, pkg, goos, goarch string }

// ahead has a func() (file string, err error) for each program that is compiled
// ahead.
var ahead sync.Map

// Ahead starts to compile programs that Build will be asked for with the same
// words: all of them by one run of the compiler, which takes as long as for one
// when nothing has changed. It keeps them in moduleDir, in .tools/build, where the
// compiler finds that they need no linking again. The function that it returns
// waits for the end: from then on Build compiles anew.
func Ahead(moduleDir, goos, goarch string, pkgs ...string) (forget func()) {
	folder := filepath.Join(moduleDir, ".tools", "build", goos+"-"+goarch)
	run := sync.OnceValue(func() (err error) {
		kept, err := filepath.Abs(folder)
		if err != nil {
			return err
		}
		// The compiler works beside what it writes, so that it replaces a program in
		// one step: another synth may be reading it.
		work := filepath.Join(filepath.Dir(kept), "work")
		if err := errors.Join(os.MkdirAll(kept, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		return compile(moduleDir, kept, goos, goarch, work, pkgs...)
	})
	for _, pkg := range pkgs {
		ahead.Store(program{moduleDir, pkg, goos, goarch}, func() (string, error) {
			err := run()
			return filepath.Join(folder, filepath.Base(pkg)), err
		})
	}
	go run()
	return func() {
		_ = run()
		for _, pkg := range pkgs {
			ahead.Delete(program{moduleDir, pkg, goos, goarch})
		}
	}
}

// compile writes one program to the file output, or several into a folder of
// that name. The compiler works in the folder work, or where it does by itself.
func compile(moduleDir, output, goos, goarch, work string, pkgs ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-C", moduleDir,
		// Neither paths nor the commit may reach the binary: the asset's hash
		// has to be the same on every machine, or every deploy updates it.
		"-trimpath", "-buildvcs=false",
		// net/rpc serves the retired go1.x runtime only; without it, and
		// without symbols, the binary is less than half the size.
		// https://docs.aws.amazon.com/lambda/latest/dg/golang-package.html
		"-tags", "lambda.norpc", "-ldflags", "-s -w",
		"-o", output}, pkgs...)...)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=",
		// Whatever this machine sets for its own processor: the default runs everywhere.
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=")
	if work != "" {
		cmd.Env = append(cmd.Env, "GOTMPDIR="+work)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s for %s/%s: %w\n%s", strings.Join(pkgs, ", "), goos, goarch, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func copyFile(to, from string) error {
	program, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}
