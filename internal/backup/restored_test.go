//go:build unix

package backup_test

import "gitlab-codedeploy/internal/machine/machinetest"

type restores struct{}

func (h *gitlabHost) restore(c machinetest.Call) int { return 1 }
