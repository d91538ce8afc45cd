package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gitlab-codedeploy/test/inputs"
)

// benchSynth times the whole of "cdk synth" for a configuration with many
// pairs of application and deployment group, against one with a single pair.
func benchSynth(ctx context.Context, options Options, report *Report) error {
	if options.SynthPairs == 0 {
		return nil
	}
	many, err := synthProject(options, options.DeploymentGroups)
	if err != nil {
		return err
	}
	one, err := synthProject(options, 1)
	if err != nil {
		return err
	}
	var took Series
	for n := range options.SynthPairs + 1 {
		options.logf("synth: pair %d of %d", n, options.SynthPairs)
		a, err := many.run(ctx)
		if err != nil {
			return err
		}
		b, err := one.run(ctx)
		if err != nil {
			return err
		}
		if n > 0 { // The first one compiled.
			took.add(a.wall.Seconds(), b.wall.Seconds())
		}
	}
	report.Rows = append(report.Rows, Row{
		Name: fmt.Sprintf("synth: %d deployment groups", options.DeploymentGroups), Unit: Seconds, Series: took,
		Target: &Target{Times: 0.83}, // at most 1.2 times as long
	})
	report.Notes = append(report.Notes,
		"synth: reference is the same configuration with one deployment group; the whole of \"cdk synth\", of both stacks, with everything compiled before.")
	return nil
}

// synthProject makes a project of links to this one, with a configuration of
// its own, and returns the command that synthesises it.
func synthProject(options Options, groups int) (command, error) {
	dir := filepath.Join(options.Work, fmt.Sprintf("synth-%d", groups))
	files, err := inputs.Files(options.Root)
	if err != nil {
		return command{}, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "config"), 0o700); err != nil {
		return command{}, err
	}
	linked := map[string]bool{"config": true} // which is made here
	for _, file := range append(files, "node_modules/", ".venv/") {
		name, _, _ := strings.Cut(file, "/")
		if linked[name] {
			continue
		}
		linked[name] = true
		if err := os.Symlink(filepath.Join(options.Root, name), filepath.Join(dir, name)); err != nil {
			return command{}, err
		}
	}
	text, err := os.ReadFile(filepath.Join(options.Root, "config", "staging.yaml"))
	if err != nil {
		return command{}, err
	}
	const key = "\n  deploymentGroups:\n"
	head, _, found := strings.Cut(string(text), key)
	if !found {
		return command{}, fmt.Errorf("config/staging.yaml has no line %q", strings.TrimSpace(key))
	}
	var list strings.Builder
	for n := range groups {
		fmt.Fprintf(&list, "    - {application: application-%d, deploymentGroup: application-%d-blue-green}\n", n, n)
	}
	if err := os.WriteFile(filepath.Join(dir, "config", "staging.yaml"), []byte(head+key+list.String()), 0o600); err != nil {
		return command{}, err
	}
	return command{
		args: []string{cdk(options.Root), "synth", "--quiet",
			"--context", "env=staging", "--output", filepath.Join(dir, "cdk.out")},
		dir: dir,
		// PWD, for Go takes the project's links as they are only with it.
		env: append(os.Environ(), "PWD="+dir, "PATH="+filepath.Join(options.Root, "node_modules", ".bin")+":"+os.Getenv("PATH")),
	}, nil
}
