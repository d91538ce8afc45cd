package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const starter = "../../scripts/ci/upload-artifact.sh"

// shells are those that jobs have: Debian's, that of small images, and bash. Its
// version 3.2, which macOS has, knows all that the starter asks of it, for a
// POSIX shell does.
var shells = [][]string{{"dash"}, {"busybox", "sh"}, {"bash"}, {"bash", "--posix"}}

// start runs the starter under each shell, with the files of a place where it
// looks for the program.
func start(t *testing.T, env []string, args []string, check func(t *testing.T, status int, stdout, stderr string)) {
	t.Helper()
	script, err := filepath.Abs(starter)
	require.NoError(t, err)
	for _, shell := range shells {
		t.Run(strings.Join(shell, " "), func(t *testing.T) {
			path, err := exec.LookPath(shell[0])
			if err != nil && os.Getenv("CI") != "true" {
				t.Skipf("%s is missing: scripts/setup.sh installs it", shell[0])
			}
			require.NoError(t, err)
			var stdout, stderr strings.Builder
			command := exec.Command(path, append(append(shell[1:], script), args...)...)
			command.Env, command.Stdout, command.Stderr = env, &stdout, &stderr
			err = command.Run()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			check(t, command.ProcessState.ExitCode(), stdout.String(), stderr.String())
		})
	}
}

// echo is a program that shows how it was called.
func echo(t *testing.T, file, name string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\nprintf '"+name+":'\nprintf ' <%s>' \"$@\"\nexit 7\n"), 0o755))
}

func TestS13_TheStarterFindsTheProgramAndHandsOnWhatItWasGiven(t *testing.T) {
	dir := t.TempDir()
	echo(t, filepath.Join(dir, "own", "mine"), "own")
	echo(t, filepath.Join(dir, "path", "artifact"), "path")
	own, path := "ARTIFACT_PROGRAM="+filepath.Join(dir, "own", "mine"), "PATH="+filepath.Join(dir, "path")+":/usr/bin:/bin"
	for _, tt := range []struct {
		env  []string
		args []string
		want string
	}{
		{[]string{path}, []string{"--source", "a b", "--exclude", "*"}, "path: <upload> <--source> <a b> <--exclude> <*>"},
		{[]string{path, own}, []string{"--wait"}, "own: <upload> <--wait>"},
		{[]string{path, "ARTIFACT_PROGRAM="}, nil, "path: <upload>"},
		{[]string{path}, []string{"--help"}, "path: <upload> <--help>"},
		{[]string{path}, []string{"check", "--strict"}, "path: <check> <--strict>"},
		{[]string{path}, []string{"status", "id"}, "path: <status> <id>"},
		{[]string{path}, []string{""}, "path: <upload> <>"},
	} {
		start(t, tt.env, tt.args, func(t *testing.T, status int, stdout, stderr string) {
			assert.Equal(t, tt.want, stdout)
			assert.Equal(t, 7, status, "the program's own")
			assert.Empty(t, stderr)
		})
	}
}

func TestS13_WithoutTheProgramTheStarterSaysHowToGetIt(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text"), nil, 0o644))
	for program, want := range map[string]string{
		"":                         "there is no program artifact here; nothing was uploaded.",
		filepath.Join(dir, "gone"): "there is no program " + filepath.Join(dir, "gone") + " here",
		filepath.Join(dir, "text"): "there is no program " + filepath.Join(dir, "text") + " here",
		dir:                        "there is no program " + dir + " here",
	} {
		start(t, []string{"PATH=/usr/bin:/bin", "ARTIFACT_PROGRAM=" + program}, []string{"--wait"}, func(t *testing.T, status int, stdout, stderr string) {
			assert.Equal(t, 2, status)
			assert.Empty(t, stdout)
			assert.Contains(t, stderr, want)
			for _, place := range []string{"ARTIFACT_PROGRAM", "/opt/gitlab-codedeploy/bin", "PATH", "make artifact"} {
				assert.Contains(t, stderr, place)
			}
		})
	}
}

// The place on the runner's host is tried in a copy that has another one.
func TestS13_TheProgramOfTheRunnersHostCountsForMoreThanThePath(t *testing.T) {
	dir := t.TempDir()
	echo(t, filepath.Join(dir, "host", "artifact"), "host")
	echo(t, filepath.Join(dir, "path", "artifact"), "path")
	text, err := os.ReadFile(starter)
	require.NoError(t, err)
	const place = "/opt/gitlab-codedeploy/bin/artifact"
	require.Equal(t, 2, strings.Count(string(text), place))
	assert.LessOrEqual(t, strings.Count(string(text), "\n"), 40, "a starter")
	copied := filepath.Join(dir, "starter")
	require.NoError(t, os.WriteFile(copied, []byte(strings.ReplaceAll(string(text), place, filepath.Join(dir, "host", "artifact"))), 0o755))
	command := exec.Command(copied)
	command.Env = []string{"PATH=" + filepath.Join(dir, "path") + ":/usr/bin:/bin"}
	out, _ := command.Output() // it ends with 7
	assert.Equal(t, "host: <upload>", string(out))
}
