package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/doctor"
)

// offline is a machine without a way to the internet.
type offline struct{}

func (offline) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no route to host")
}

// newPatient is a machine whose accounts cannot be entered: what each check finds is tested in internal/doctor.
func newPatient(t *testing.T) *session {
	s := newSession(t)
	s.web = &http.Client{Transport: offline{}}
	s.output = func(context.Context, string, ...string) (string, error) { return "version 2148.1.0", nil }
	s.cloud.PlayAccount("333333333333", nil)
	return s
}

func TestDoctorPrintsATableWithRemedies(t *testing.T) {
	s := newPatient(t)
	err := s.run(t, "doctor", "--env", "staging", "--profile-a", "gitlab", "--profile-b", "deploy")
	require.Error(t, err)
	assert.Equal(t, 1, exitStatus(err), "something is wrong")
	assert.Empty(t, message(t.Context(), err), "and all was said")
	assert.Regexp(t, `(?m)^WHERE +CHECK +STATE +FOUND$`, s.out.String())
	assert.Regexp(t, `(?m)^account A +credentials +wrong +the credentials are of account 333333333333`, s.out.String())
	assert.Contains(t, s.out.String(), "→ sign in (aws sso login)")
	assert.Regexp(t, `(?m)^account B +readers +unchecked +there are no credentials for it$`, s.out.String())
	assert.Regexp(t, `2 of \d+ are wrong, \d+ could not be asked`, s.err.String())
}

func TestDoctorPrintsJSONForPrograms(t *testing.T) {
	s := newPatient(t)
	err := s.run(t, "doctor", "--env", "staging", "--json")
	assert.Equal(t, 1, exitStatus(err))
	var findings []doctor.Finding
	require.NoError(t, json.Unmarshal(s.out.Bytes(), &findings))
	assert.Equal(t, doctor.Finding{Where: "account B", Check: "uploads", State: doctor.Unchecked, Found: "there are no credentials for it"}, findings[len(findings)-5])
}

func TestDoctorRefusesWrongUse(t *testing.T) {
	for name, args := range map[string][]string{
		"no environment": {"doctor"}, "an argument": {"doctor", "--env", "staging", "now"}, "unknown environment": {"doctor", "--env", "production"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPatient(t)
			assert.Equal(t, 2, exitStatus(s.run(t, args...)))
			assert.Empty(t, s.cloud.Calls())
		})
	}
}

func TestDoctorAsksTheServerForItsKeysAsTrustDoes(t *testing.T) {
	s := newServer(t, gitlabKey, newKey)
	synctest.Test(t, func(t *testing.T) {
		ctx := context.WithValue(t.Context(), running{}, "doctor")
		a, err := s.openAccount(ctx, options{environment: "staging"}, account.GitLab)
		require.NoError(t, err)
		keys, err := s.askForKeys(ctx, options{environment: "staging"}, a)
		require.NoError(t, err)
		assert.Equal(t, newKey, keys)
	})
	assert.Equal(t, []string{"keys"}, s.sent())
}
