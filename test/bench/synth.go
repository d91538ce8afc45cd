package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gitlab-codedeploy/test/inputs"
)

// benchSynth times the whole of "cdk synth" for a configuration with many
// pairs of application and deployment group, against one with a single pair, and
// that one against itself with the CDK's validation of the templates.
func benchSynth(ctx context.Context, options Options, report *Report) error {
	many, err := synthProject(options, options.DeploymentGroups)
	if err != nil {
		return err
	}
	one, err := synthProject(options, 1)
	if err != nil {
		return err
	}
	validated := one
	validated.env = append(slices.Clone(one.env), "CDK_VALIDATION=true")
	var took, unvalidated Series
	for n := range options.Uncounted + options.SynthPairs {
		options.logf("synth: pair %d of %d", n+1-options.Uncounted, options.SynthPairs)
		a, err := many.run(ctx)
		if err != nil {
			return err
		}
		b, err := one.run(ctx)
		if err != nil {
			return err
		}
		c, err := validated.run(ctx)
		if err != nil {
			return err
		}
		if n >= options.Uncounted {
			took.add(a.wall.Seconds(), b.wall.Seconds())
			unvalidated.add(b.wall.Seconds(), c.wall.Seconds())
		}
	}
	report.Rows = append(report.Rows, Row{
		Name: fmt.Sprintf("synth: %d deployment groups", options.DeploymentGroups), Unit: Seconds, Series: took,
		Target: &Target{Times: 0.83}, // at most 1.2 times as long
	}, Row{
		Name: "synth: without the CDK's validation", Unit: Seconds, Series: unvalidated, Target: &Target{Most: 3.5},
	})
	report.Notes = append(report.Notes,
		"synth: reference is the same configuration with one deployment group; the whole of \"cdk synth\", of both stacks, with everything compiled before. Neither is validated; \"without the CDK's validation\" has the same synth with it as its reference.")
	return nil
}

// benchTests times the tests of the templates, which are run for each change.
func benchTests(ctx context.Context, options Options, report *Report) error {
	var took Series
	for n := range options.TestRuns {
		options.logf("tests: run %d of %d", n+1, options.TestRuns)
		for _, args := range [][]string{{"-run", "^$"}, {}} { // The first one compiles.
			used, err := command{
				args: append([]string{"go", "test", "-count=1", "-timeout=14m", "./test"}, args...),
				dir:  options.Root,
				env:  append(os.Environ(), "PATH="+filepath.Join(options.Root, "node_modules", ".bin")+":"+os.Getenv("PATH")),
			}.run(ctx)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				took.Ours = append(took.Ours, used.wall.Seconds())
			}
		}
	}
	report.Rows = append(report.Rows, Row{Name: "tests: go test ./test", Unit: Seconds, Series: took, Target: &Target{Most: 120}})
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
	if err := os.MkdirAll(filepath.Join(options.Root, ".tools"), 0o755); err != nil {
		return command{}, err
	}
	for _, file := range append(files, "node_modules/", ".venv/", ".tools/") {
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
	// Each application has to be that of a group.
	head = strings.Replace(head, "- name: sample-web\n", "- name: application-0\n", 1)
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
		env: append(os.Environ(), "CDK_VALIDATION=false", "PWD="+dir, "PATH="+filepath.Join(options.Root, "node_modules", ".bin")+":"+os.Getenv("PATH")),
	}, nil
}
