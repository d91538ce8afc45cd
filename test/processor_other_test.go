//go:build !linux

package test

import "os/exec"

// Only Linux lets a program choose.
func keepToOneProcessor() error { return nil }

func startOnAnyProcessor(cmd *exec.Cmd) error { return cmd.Start() }
