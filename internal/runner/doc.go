// Package runner is GitLab Runner on its host: its configuration, its registration with
// GitLab, and the program that jobs are given.
//
// gitlab-runner owns its configuration and writes it anew as a whole. What it has no
// command for is changed here, in place, by a TOML library that keeps what people have
// written beside it.
package runner
