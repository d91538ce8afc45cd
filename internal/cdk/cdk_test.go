//go:build unix

package cdk_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/cdk"
)

// checkout is one whose CDK is a script.
type checkout struct {
	cdk.CLI
	said bytes.Buffer
	log  string
}

func newCheckout(t *testing.T, script string) *checkout {
	t.Helper()
	c := &checkout{log: filepath.Join(t.TempDir(), "log")}
	c.CLI = cdk.CLI{Root: filepath.Join(t.TempDir(), "my project"), Out: &c.said}
	program(t, filepath.Join(c.Root, "node_modules", ".bin"), "cdk", script)
	return c
}

func program(t *testing.T, folder, name, script string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(folder, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
}

func (c *checkout) run(t *testing.T, ctx context.Context, run cdk.Run) error {
	t.Helper()
	run.Log = c.log
	return c.Run(ctx, run)
}

func (c *checkout) logged(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(c.log)
	require.NoError(t, err)
	return string(text)
}

func TestS15_WhatTheCDKSaysIsShownAndLogged(t *testing.T) {
	c := newCheckout(t, `echo "talks: $*"; echo warns >&2; pwd; cat; exit 3`)
	err := c.run(t, t.Context(), cdk.Run{Args: []string{"deploy", "a b"}})
	assert.Equal(t, cdk.Failed{Status: 3}, err)
	assert.Equal(t, "talks: deploy a b\nwarns\n"+c.Root+"\n", c.logged(t), "it runs in the checkout, and reads nothing")
	assert.Equal(t, c.logged(t), c.said.String())
}

func TestS15_ThePinnedCDKWinsOverOneOnPath(t *testing.T) {
	c := newCheckout(t, `echo pinned`)
	other := t.TempDir()
	program(t, other, "cdk", "echo another")
	t.Setenv("PATH", other+":"+os.Getenv("PATH"))
	require.NoError(t, c.run(t, t.Context(), cdk.Run{}))
	assert.Equal(t, "pinned\n", c.said.String())
	require.NoError(t, os.Remove(filepath.Join(c.Root, "node_modules", ".bin", "cdk")))
	assert.Equal(t, []string{"cdk"}, withoutGoAndNode(c.Missing()), "another version will not do")
	assert.ErrorContains(t, c.run(t, t.Context(), cdk.Run{}), "make setup-tools installs it")
}

func withoutGoAndNode(names []string) (rest []string) {
	for _, name := range names {
		if name == "cdk" {
			rest = append(rest, name)
		}
	}
	return rest
}

func TestS15_AllMissingToolsAreNamed(t *testing.T) {
	c := newCheckout(t, "")
	require.NoError(t, os.RemoveAll(filepath.Join(c.Root, "node_modules")))
	t.Setenv("PATH", t.TempDir())
	assert.Equal(t, []string{"cdk", "go", "node"}, c.Missing())
	program(t, filepath.Join(c.Root, "node_modules", ".bin"), "node", "")
	assert.Equal(t, []string{"cdk", "go"}, c.Missing())
}

func TestS15_TheEndpointOfAWSReachesTheCDK(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://localhost:5000")
	c := newCheckout(t, `echo "$AWS_ENDPOINT_URL $CDK_VALIDATION"`)
	require.NoError(t, c.run(t, t.Context(), cdk.Run{Env: []string{"CDK_VALIDATION=false"}}))
	assert.Equal(t, "http://localhost:5000 false\n", c.said.String())
}

// child is a CDK that has started another process, and waits.
const child = `sleep 100 & echo $! >"$1"; echo begun; wait`

func TestS15_ARunThatTakesTooLongIsStoppedWithItsChildren(t *testing.T) {
	c := newCheckout(t, child)
	file := filepath.Join(t.TempDir(), "child")
	err := c.run(t, t.Context(), cdk.Run{Args: []string{file}, Limit: 300 * time.Millisecond})
	assert.Equal(t, cdk.Late{Limit: 300 * time.Millisecond}, err)
	gone(t, file)
}

func TestS15_AnInterruptedRunIsStoppedWithItsChildrenAndWaitedFor(t *testing.T) {
	c := newCheckout(t, `trap 'echo "cleans up"; exit 1' TERM
`+child)
	file := filepath.Join(t.TempDir(), "child")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for range 500 {
			if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	assert.ErrorIs(t, c.run(t, ctx, cdk.Run{Args: []string{file}}), context.Canceled)
	assert.Contains(t, c.logged(t), "cleans up", "what it did until its end is logged")
	gone(t, file)
}

// gone waits until the process in a file is no more.
func gone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	id, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return errors.Is(syscall.Kill(id, 0), syscall.ESRCH) }, 10*time.Second, 10*time.Millisecond)
}

// What its leader leaves would hold the log open for ever.
func TestS15_ARunEndsWithItsLeader(t *testing.T) {
	c := newCheckout(t, `sleep 100 & echo $! >"$1"`)
	file := filepath.Join(t.TempDir(), "child")
	began := time.Now()
	require.NoError(t, c.run(t, t.Context(), cdk.Run{Args: []string{file}}))
	assert.Less(t, time.Since(began), 5*time.Second)
	gone(t, file)
}

// On a terminal the question and its answer are the terminal's.
func TestS15_ARunThatMayAskHasTheTerminal(t *testing.T) {
	c := newCheckout(t, `read -r answer; echo "said $answer" >&2`)
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	_, err = writer.WriteString("yes\n")
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	c.In = reader
	require.NoError(t, c.run(t, t.Context(), cdk.Run{Asks: true}))
	assert.Equal(t, "said yes\n", c.logged(t))
}

// The real program is there, and is the one that package-lock.json pins.
func TestS15_TheCheckoutHasTheCDK(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	if _, err := exec.LookPath(filepath.Join(root, "node_modules", ".bin", "cdk")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("node_modules is missing: run make setup")
		}
		t.Skip("node_modules is missing: run make setup")
	}
	c := &checkout{log: filepath.Join(t.TempDir(), "log")}
	c.CLI = cdk.CLI{Root: root, Out: &c.said}
	assert.Empty(t, c.Missing())
	require.NoError(t, c.run(t, t.Context(), cdk.Run{Args: []string{"--version"}}))
	assert.Regexp(t, `^2\.\d+\.\d+ `, c.said.String())
}
