package cdk

import "os/exec"

// Windows has no groups of processes that could be asked to end.
func leadGroup(*exec.Cmd) {}

func end(cmd *exec.Cmd, _ bool) error { return cmd.Process.Kill() }
