//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine/machinetest"
)

const signalURL = "https://cloudformation-waitcondition.s3.amazonaws.com/arn%3Aaws"

var installation = map[string]string{
	"--version": "13.10.2", "--edition": "ce", "--repository-url": "https://packages.example.com/gitlab", "--external-url": "https://gitlab.example.com",
	"--data-volume": "vol-0123456789abcdef0", "--region": "ap-northeast-1", "--signal-url": signalURL + "?Signature=a%2Bb&Expires=1",
	"--root-password-secret": "arn:aws:secretsmanager:ap-northeast-1:111111111111:secret:GitLabRoot-AbCdEf",
}

// installs types the installation with one flag changed, and returns what CloudFormation
// was told.
func (c *console) installs(t *testing.T, flag, value string, more ...string) (status int, told map[string]string) {
	c.OnPage(signalURL, func(_ http.ResponseWriter, r *http.Request) {
		require.NoError(t, json.NewDecoder(r.Body).Decode(&told))
	})
	args := []string{"install-gitlab"}
	for name, usual := range installation {
		if name == flag {
			usual = value
		}
		args = append(args, name, usual)
	}
	status, stdout := c.types(append(args, more...)...)
	assert.Empty(t, stdout)
	return status, told
}

func TestS5_InstallGitLabTellsCloudFormationOfEachMistake(t *testing.T) {
	for _, wrong := range [][2]string{
		{"--version", "13.10"}, {"--version", "13.10.2;id"}, {"--version", "$(id)"}, {"--version", ""}, {"--edition", "CE"},
		{"--repository-url", "ftp://example.com"}, {"--repository-url", "http://example.com/gitlab"}, {"--repository-url", "https://example.com/a'b"},
		{"--external-url", "http://gitlab.example.com"}, {"--external-url", "https://gitlab.example.com/git"}, {"--external-url", "https://a'); system('id"},
		{"--data-volume", "/dev/sdf"}, {"--data-volume", "vol-XYZ"}, {"--root-password-secret", "GitLabRoot"}, {"--region", "tokyo"}, {"--region", "ap-northeast-1\nid"},
	} {
		c := newConsole(t)
		status, told := c.installs(t, wrong[0], wrong[1])
		assert.Equal(t, 2, status, wrong)
		assert.Equal(t, "FAILURE gitlab", told["Status"]+" "+told["UniqueId"])
		assert.Contains(t, told["Reason"], wrong[0]+": got ")
		assert.Contains(t, told["Reason"], "want ")
		assert.Empty(t, c.Ran())
	}
	for _, more := range []string{"--force", "surplus"} {
		status, told := newConsole(t).installs(t, "", "", more)
		assert.Equal(t, 2, status)
		assert.Equal(t, "FAILURE", told["Status"])
		assert.Contains(t, told["Reason"], more)
	}
	for _, url := range []string{"ftp://example.com/x", "http://example.com/x", "https://example.com/x y", "https://example.com/'", "https://example.com", "https://example.com/' -o /etc/passwd"} {
		c := newConsole(t)
		status, told := c.installs(t, "--signal-url", url)
		assert.Equal(t, 2, status)
		assert.Empty(t, told)
		assert.Contains(t, c.Talk.String(), "--signal-url: got")
	}
}

func TestS5_InstallGitLabTellsCloudFormationOfSuccess(t *testing.T) {
	c := newConsole(t)
	c.Answers("rpm -q", "gitlab-ce-13.10.2-ce.0.el7\n")
	status, told := c.installs(t, "", "")
	assert.Zero(t, status, c.Talk)
	assert.Equal(t, "SUCCESS gitlab-ce-13.10.2-ce.0.el7 is installed already and stays as it is", told["Status"]+" "+told["Data"])
	c.On("rpm -q", func(call machinetest.Call) int {
		call.Complain("error: cannot open Packages database in /var/lib/rpm\n")
		return 1
	})
	status, told = c.installs(t, "", "")
	assert.Equal(t, 1, status)
	assert.Contains(t, told["Reason"], "error: cannot open Packages database")
}
