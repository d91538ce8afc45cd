package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/gobuild"
)

// hostSystems are where the hosts' program runs, as Go names them.
var hostSystems = map[string][]string{"os": {"linux"}, "arch": {"amd64", "arm64"}}

func (p *program) hostProgram() *cobra.Command {
	var system, architecture, output string
	var asJSON, dryRun bool
	command := &cobra.Command{
		Use:   "program",
		Short: "Write the hosts' program as a file, for a server without AWS",
		Long: `Writes the program that does operations on the hosts (cmd/host) as one file: the same,
byte by byte, as the documents of the stack start. Copy it to the old server, say, and run
it there as root: it needs nothing but a Linux kernel of 3.2 or newer.`,
		Example: "  scripts/ops program --arch amd64 --output host\n  scp host root@old-gitlab.example.com:",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			for flag, value := range map[string]string{"os": system, "arch": architecture} {
				if !slices.Contains(hostSystems[flag], value) {
					return usageError{fmt.Errorf("--%s: got %q, want %s", flag, value, strings.Join(hostSystems[flag], " or "))}
				}
			}
			if dryRun {
				return calls.ErrDryRun
			}
			folder, err := os.MkdirTemp(filepath.Dir(output), ".host-")
			if err != nil {
				return fmt.Errorf("--output: %w", err)
			}
			defer os.RemoveAll(folder)
			file := filepath.Join(folder, "host")
			if err := gobuild.Build(p.root, "./cmd/host", file, system, architecture); err != nil {
				return err
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.Rename(file, output); err != nil {
				return fmt.Errorf("--output: %w", err)
			}
			sum := fmt.Sprintf("%x", sha256.Sum256(content))
			if asJSON {
				return json.NewEncoder(p.stdout).Encode(map[string]any{"file": output, "sha256": sum, "bytes": len(content)})
			}
			_, err = fmt.Fprintf(p.stdout, "%s  %s\n", sum, output) // as sha256sum --check takes it
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&system, "os", "linux", "system of the server: linux")
	flags.StringVar(&architecture, "arch", "amd64", "processor of the server: amd64 or arm64")
	flags.StringVar(&output, "output", "host", "file to write; one that is there is replaced as a whole")
	flags.BoolVar(&asJSON, "json", false, "print one line of JSON")
	flags.BoolVar(&dryRun, "dry-run", false, "write nothing; AWS is not asked in any case")
	flags.Bool("yes", false, "accepted as everywhere; nothing is asked here")
	return command
}
