// Package gobuild compiles a Go program the way every function of this
// repository is compiled: small, static and the same bytes each time.
//
// The CDK app builds what Lambda runs with it; the emulator builds the same
// sources for the machine it runs on.
package gobuild

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Build compiles package pkg (an import path such as "./lambda/trigger",
// relative to moduleDir) for goos and goarch into the file output. The error
// of a failed build holds the compiler's own output.
func Build(moduleDir, pkg, output, goos, goarch string) error {
	cmd := exec.Command("go", "build", "-C", moduleDir,
		// Neither paths nor the commit may reach the binary: the asset's hash
		// has to be the same on every machine, or every deploy updates it.
		"-trimpath", "-buildvcs=false",
		// net/rpc serves the retired go1.x runtime only; without it, and
		// without symbols, the binary is less than half the size.
		// https://docs.aws.amazon.com/lambda/latest/dg/golang-package.html
		"-tags", "lambda.norpc", "-ldflags", "-s -w -buildid=",
		"-o", output, pkg)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s for %s/%s: %w\n%s", pkg, goos, goarch, err, strings.TrimSpace(string(out)))
	}
	return nil
}
