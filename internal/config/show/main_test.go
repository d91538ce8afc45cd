package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShowPrintsWhatTheTemplateNames(t *testing.T) {
	t.Chdir("../../..")
	var out bytes.Buffer
	require.NoError(t, show(&out, []string{"staging", "{{.Region}} {{.GitLab.Account}} {{.Deploy.Account}} {{if .Pipeline}}on{{else}}off{{end}}"}))
	assert.Equal(t, "ap-northeast-1 111111111111 222222222222 off\n", out.String())
	assert.ErrorContains(t, show(&out, []string{"staging"}), "got 1 arguments, want")
	assert.ErrorContains(t, show(&out, []string{"nope", ""}), `got "nope", want one of`)
	assert.Error(t, show(&out, []string{"staging", "{{.Nope}}"}))
}
