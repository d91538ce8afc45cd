//go:build unix

package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// server is a host with GitLab, its database real and its Rails played.
type server struct {
	*machinetest.Host
	gitlab  omnibus.GitLab
	db      *postgrestest.Database
	doctor  string // what the doctor finds, as JSON
	asked   []string
	refuse  int // the question that is answered with no, from 1
	version string
}

const rails = "gitlab-rails runner -e production -"

func newServer(t *testing.T, version string) *server {
	s := &server{Host: machinetest.New(t), db: postgrestest.New(t, version), doctor: "[]", version: version}
	s.gitlab = omnibus.GitLab{Machine: s.Machine}
	s.db.Play(s.Host)
	s.On(rails, func(c machinetest.Call) int {
		switch c.Input {
		case doctor:
			assert.JSONEq(t, `{"known":`+knownOf(version)+`}`, c.Args[len(c.Args)-1])
			c.Print("DEPRECATION WARNING\ngitlab-codedeploy: %s\n", s.doctor)
		case signingKeys:
			s.db.SQL("UPDATE application_settings SET encrypted_ci_jwt_signing_key = 'new', encrypted_ci_jwt_signing_key_iv = 'new'")
			c.Print("gitlab-codedeploy: [\"ci_jwt_signing_key\"]\n")
		default: // close-sign-up.rb
			s.db.SQL("UPDATE application_settings SET signup_enabled = false")
			c.Print("gitlab-codedeploy: closed\n")
		}
		return 0
	})
	return s
}

// knownOf are the tables that the doctor need not look at.
func knownOf(version string) string {
	known := []string{"namespaces", "projects", "ci_runners", "ci_builds", "ci_variables", "ci_group_variables", "ci_instance_variables", "ci_pipeline_schedule_variables", "web_hooks"}
	integrations := []string{"integrations", "chat_names", "issue_tracker_data", "jira_tracker_data"}
	switch version {
	case "13.10":
		known = append(known, "web_hook_logs")
	case "18.11":
		known[3] = "p_ci_builds"
		known = append(append(known, integrations...), "slack_integrations", "zentao_tracker_data", "web_hook_logs_daily", "slack_integrations_scopes")
	default:
		known = append(append(append(known, "web_hook_logs"), integrations...), "open_project_tracker_data", "slack_integrations", "zentao_tracker_data")
	}
	return `["` + strings.Join(known, `","`) + `"]`
}

// operation is a reset on that server, for which people say yes.
func (s *server) operation(lost bool) *Reset {
	return &Reset{GitLab: s.gitlab, Lost: lost, Confirm: func(question string) error {
		s.asked = append(s.asked, question)
		if len(s.asked) == s.refuse {
			return errors.New("not confirmed: nothing was changed")
		}
		return nil
	}}
}

func (s *server) reset(t *testing.T, lost bool) Result {
	t.Helper()
	result, err := s.operation(lost).Do(t.Context())
	require.NoError(t, err, s.version)
	return result
}

func counts(before, after int) Counts { return Counts{before, &after} }

// jobs is the table of jobs.
func (s *server) jobs() string {
	if s.version == "18.11" {
		return "p_ci_builds"
	}
	return "ci_builds"
}

func onEachVersion(t *testing.T, test func(*testing.T, *server)) {
	for _, version := range postgrestest.Versions {
		t.Run(version, func(t *testing.T) { test(t, newServer(t, version)) })
	}
}

func TestS12_TheRegistrationTokensAreResetAndNothingElse(t *testing.T) {
	onEachVersion(t, func(t *testing.T, s *server) {
		other := newServer(t, s.version)
		other.db.SQL("UPDATE projects SET runners_token = NULL, runners_token_encrypted = NULL; UPDATE namespaces SET runners_token = NULL, runners_token_encrypted = NULL; " +
			"UPDATE application_settings SET runners_registration_token_encrypted = NULL")
		result := s.reset(t, false)
		assert.Equal(t, counts(1, 0), result.Reset["application_settings"])
		assert.Equal(t, counts(2, 0), result.Reset["namespaces"])
		assert.Equal(t, counts(3, 0), result.Reset["projects"])
		assert.Len(t, result.Reset, 3)
		assert.Equal(t, other.db.Dump(), s.db.Dump())
		assert.Contains(t, s.Talk.String(), "may take the old registration token for another minute")
		assert.Empty(t, s.RanLike("gitlab-rails"), "Rails takes half a minute")
		assert.Equal(t, "open", result.SignUp)

		result = s.reset(t, false)
		assert.Equal(t, counts(0, 0), result.Reset["projects"], "a second run finds nothing left and succeeds")
	})
}

func TestS12_CheckShowsTheNumbersAndChangesNothing(t *testing.T) {
	onEachVersion(t, func(t *testing.T, s *server) {
		before := s.db.Dump()
		result, err := s.operation(true).Check(t.Context())
		require.NoError(t, err)
		assert.Equal(t, Counts{Before: 3}, result.Reset["projects"])
		assert.Equal(t, Counts{Before: 2}, result.Reset["ci_variables"])
		assert.Contains(t, s.Talk.String(), "         3  registration tokens of projects (projects)\n")
		assert.Equal(t, before, s.db.Dump())
		assert.False(t, s.Exists(Names))
		assert.Empty(t, s.asked)
	})
}

func TestS12_LostSecretsRemoveAllThatGitLabsPageLists(t *testing.T) {
	onEachVersion(t, func(t *testing.T, s *server) {
		result := s.reset(t, true)
		assert.Equal(t, counts(2, 0), result.Reset["ci_runners"])
		jobs := counts(2, 0)
		if s.version == "18.11" {
			jobs = counts(3, 0) // one is in a partition of its own
		}
		assert.Equal(t, jobs, result.Reset[s.jobs()])
		assert.Equal(t, counts(1, 0), result.Reset["application_settings.ci_jwt_signing_key"])
		for _, table := range []string{"ci_variables", "ci_group_variables", "ci_instance_variables", "ci_pipeline_schedule_variables", "web_hooks"} {
			assert.Equal(t, "0", s.db.SQL("SELECT count(*) FROM "+table), table)
		}
		// Until 14.0 the page leaves these alone: they are not encrypted.
		switch s.version {
		case "13.10":
			assert.Equal(t, "1|1", s.db.SQL("SELECT (SELECT count(*) FROM services), (SELECT count(*) FROM jira_tracker_data)"))
		case "18.11":
			assert.Equal(t, "0|0", s.db.SQL("SELECT (SELECT count(*) FROM slack_integrations_scopes), (SELECT count(*) FROM web_hook_logs_daily)"))
		default:
			assert.Equal(t, "0|0", s.db.SQL("SELECT (SELECT count(*) FROM integrations), (SELECT count(*) FROM open_project_tracker_data)"))
		}
		// And the rows that held tokens are all still there.
		assert.Equal(t, "4|2", s.db.SQL("SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM ci_runners)"))
		// A key that is gone would never come again.
		assert.Equal(t, []string{"ci_jwt_signing_key"}, result.SigningKeys)
		assert.Equal(t, "new", s.db.SQL("SELECT encrypted_ci_jwt_signing_key FROM application_settings"))
		assert.Contains(t, s.Talk.String(), "scripts/ops trust")

		info, err := os.Stat(s.Path(result.Names))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode())
		info, err = os.Stat(s.Path(Names))
		require.NoError(t, err)
		assert.Equal(t, fs.ModeDir|0o700, info.Mode())
		scope := ""
		if s.version != "13.10" {
			scope = "*"
		}
		assert.Equal(t, strings.Join([]string{
			"ci_variables\tteam/web\tAWS_KEY\t*",
			// COPY writes a tab and a line end of the data as \t and \n, and a backslash twice.
			"ci_variables\tproject_id=4\tPASSWORD\treview/\\t$(id)'\\n",
			"ci_group_variables\tteam\tGROUP_KEY\t" + scope,
			"ci_instance_variables\t\tINSTANCE_KEY\t",
			"ci_pipeline_schedule_variables\tpipeline_schedule_id=7\tNIGHTLY\t",
		}, "\n")+"\n", s.Get(result.Names))
	})
}

// The doctor names what the page does not: with it, nothing unreadable stays.
func TestS12_WhatGitLabsDoctorNamesGoes(t *testing.T) {
	onEachVersion(t, func(t *testing.T, s *server) {
		s.doctor = `[{"table":"deploy_tokens","key":"id","attribute":"token","columns":["token","token_encrypted"],"ids":[[1,3]]},
			{"table":"operations_feature_flags_clients","key":"id","attribute":"token","columns":["token_encrypted"],"ids":[[5,5],[9,12]]},
			{"table":"cluster_agent_tokens","key":"id","attribute":"token","columns":["token_encrypted"],"ids":[[1,1]]},
			{"table":"users","key":"id","attribute":"otp","columns":[],"ids":[[1,1]]}]`
		s.doctor = strings.ReplaceAll(s.doctor, "\n", "")
		if s.version != "13.10" {
			s.db.SQL(`UPDATE application_settings SET encrypted_customers_dot_jwt_signing_key = '\x01', encrypted_customers_dot_jwt_signing_key_iv = '\x01'`)
			s.doctor = strings.TrimSuffix(s.doctor, "]") + `,{"table":"application_settings","key":"id","attribute":"customers_dot_jwt_signing_key",` +
				`"columns":["encrypted_customers_dot_jwt_signing_key","encrypted_customers_dot_jwt_signing_key_iv"],"ids":[[1,1]]}]`
		}
		result := s.reset(t, true)
		assert.Equal(t, counts(3, 0), result.Reset["deploy_tokens.token"])
		assert.Equal(t, "readable", s.db.SQL("SELECT string_agg(token_encrypted, ',') FROM deploy_tokens"), "what can be read stays")
		assert.Equal(t, counts(1, 0), result.Reset["operations_feature_flags_clients.token"])
		if s.version != "13.10" {
			assert.Equal(t, counts(1, 0), result.Reset["application_settings.customers_dot_jwt_signing_key"])
		}
		assert.Equal(t, counts(1, 1), result.Reset["cluster_agent_tokens.token"], "the table wants a value")
		assert.Contains(t, s.Talk.String(), "note: 1 rows of cluster_agent_tokens.token cannot be emptied")
		assert.Contains(t, s.Talk.String(), "note: GitLab's doctor names users.otp, which is no column: look at it by hand")
	})
	t.Run("S12 reset-tokens | GitLab's doctor fails, or names what is not there | nothing was changed", func(t *testing.T) {
		s := newServer(t, "14.9")
		before := s.db.Dump()
		for answer, want := range map[string]string{
			"nonsense": "GitLab's doctor says what is not understood",
			`[{"table":"deploy_tokens","key":"id","attribute":"x","columns":["token; DROP TABLE projects"],"ids":[]}]`: `GitLab's doctor names "deploy_tokens"."token; DROP TABLE projects", and the database has no such column`,
			`[{"table":"nothing","key":"id","attribute":"x","columns":["token"],"ids":[]}]`:                            `GitLab's doctor names "nothing"."id", and the database has no such column`,
		} {
			s.doctor = answer
			_, err := s.operation(true).Do(t.Context())
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "nothing was changed")
		}
		s.On(rails, func(c machinetest.Call) int {
			c.Complain("PG::ConnectionBad\n")
			return 1
		})
		_, err := s.operation(true).Do(t.Context())
		require.EqualError(t, err, "ask GitLab's doctor: gitlab-rails runner ended with 1: PG::ConnectionBad: nothing was changed")
		assert.Equal(t, before, s.db.Dump())
	})
}

// Who looks before a reset has waited for the doctor once.
func TestS12_TheDoctorIsAskedOnce(t *testing.T) {
	aged := func(s *server, change func(map[string]any)) {
		var d map[string]any
		require.NoError(t, json.Unmarshal([]byte(s.Get(keptDiagnosis)), &d))
		change(d)
		text, err := json.Marshal(d)
		require.NoError(t, err)
		s.Put(keptDiagnosis, string(text))
	}
	asked := func(minutes int) func(*server) {
		return func(s *server) {
			aged(s, func(d map[string]any) { d["asked"] = time.Now().Add(-time.Duration(minutes) * time.Minute) })
		}
	}
	for _, tt := range []struct {
		name  string
		since func(*server)
		times int
	}{
		{"the reset that follows clears what was shown", func(*server) {}, 1},
		{"59 minutes later, too", asked(59), 1},
		{"not after an hour", asked(61), 2},
		{"not when the clock was set back", asked(-5), 2},
		{"not with other secrets", func(s *server) { s.Put("/etc/gitlab/gitlab-secrets.json", "others") }, 2},
		{"not when other tables are known", func(s *server) { aged(s, func(d map[string]any) { d["known"] = []string{"projects"} }) }, 2},
		{"not when half of it was kept", func(s *server) { s.Put(keptDiagnosis, s.Get(keptDiagnosis)[:40]) }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, "14.9")
			s.Put("/etc/gitlab/gitlab-secrets.json", "secrets")
			s.doctor = `[{"table":"deploy_tokens","key":"id","attribute":"token","columns":["token","token_encrypted"],"ids":[[1,3]]}]`
			looked, err := s.operation(true).Check(t.Context())
			require.NoError(t, err)
			assert.Equal(t, Counts{Before: 3}, looked.Reset["deploy_tokens.token"])
			info, err := os.Stat(s.Path(keptDiagnosis))
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
			tt.since(s)
			result := s.reset(t, true)
			assert.Equal(t, counts(3, 0), result.Reset["deploy_tokens.token"])
			times := 0
			for _, command := range s.RanLike(rails) {
				if strings.Contains(command, "known") {
					times++
				}
			}
			assert.Equal(t, tt.times, times)
			// What was found is gone now.
			assert.False(t, s.Exists(keptDiagnosis))
		})
	}
}

func TestS12_ASigningKeyThatIsGoneIsMadeAnew(t *testing.T) {
	s := newServer(t, "14.9")
	s.db.SQL("UPDATE application_settings SET encrypted_ci_jwt_signing_key = NULL")
	result := s.reset(t, false)
	assert.Equal(t, []string{"ci_jwt_signing_key"}, result.SigningKeys)
	assert.Empty(t, s.reset(t, false).SigningKeys)
	t.Run("S12 reset-tokens | Rails makes no new key that signs jobs' tokens | it says that the rest is done, and to run again", func(t *testing.T) {
		s.db.SQL("UPDATE application_settings SET encrypted_ci_jwt_signing_key = NULL")
		s.On(rails, func(machinetest.Call) int { return 1 })
		_, err := s.operation(false).Do(t.Context())
		require.ErrorContains(t, err, "the tokens are reset, but the keys that sign jobs' tokens are not made anew; run this again: ")
	})
}

func TestS12_SignUpIsToldAndClosed(t *testing.T) {
	s := newServer(t, "15.4")
	result, err := s.operation(false).Check(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "open", result.SignUp)
	assert.Contains(t, s.Talk.String(), "sign-up is open: whoever reaches GitLab's page can make an account")
	closing := s.operation(false)
	closing.CloseSignUp = true
	result, err = closing.Do(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "closed", result.SignUp)
	assert.Equal(t, "f", s.db.SQL("SELECT signup_enabled FROM application_settings"))
	assert.Equal(t, "closed", s.reset(t, false).SignUp)
	assert.Len(t, s.RanLike("gitlab-rails"), 1)
}

func TestS12_WhatAVersionDoesNotHaveIsSaid(t *testing.T) {
	s := newServer(t, "15.4")
	s.db.SQL("ALTER TABLE projects DROP COLUMN runners_token; ALTER TABLE namespaces DROP COLUMN runners_token, DROP COLUMN runners_token_encrypted; DROP TABLE zentao_tracker_data")
	s.On(rails, func(c machinetest.Call) int {
		c.Print("gitlab-codedeploy: []\n")
		return 0
	})
	result := s.reset(t, true)
	assert.Equal(t, counts(2, 0), result.Reset["projects"])
	for _, missing := range []string{"projects.runners_token", "namespaces.runners_token", "namespaces.runners_token_encrypted", "ci_builds.token", "zentao_tracker_data"} {
		assert.Contains(t, s.Talk.String(), "this version has no "+missing+": there is nothing to reset")
		assert.Contains(t, result.Missing, missing)
	}
	assert.NotContains(t, result.Reset, "namespaces")
}

// refusing makes the database refuse changes of a table.
func (s *server) refusing(table string) {
	event := "UPDATE"
	if table == "web_hooks" {
		event = "TRUNCATE"
	}
	s.db.SQL(fmt.Sprintf("CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$; "+
		"CREATE TRIGGER refuse BEFORE %s ON %s EXECUTE FUNCTION refuse()", event, table))
}

func TestS12_AllOfItIsUndone(t *testing.T) {
	t.Run("S12 reset-tokens | the database refuses one of the changes | all of it is undone", func(t *testing.T) {
		onEachVersion(t, func(t *testing.T, s *server) {
			before := s.db.Dump()
			for _, table := range []string{"application_settings", "projects", s.jobs(), "web_hooks", "deploy_tokens"} {
				s.doctor = `[{"table":"deploy_tokens","key":"id","attribute":"token","columns":["token_encrypted"],"ids":[[1,3]]}]`
				s.refusing(table)
				_, err := s.operation(true).Do(t.Context())
				require.ErrorContains(t, err, "the database refused, and undid all of it: nothing was changed", table)
				require.ErrorContains(t, err, "refused")
				assert.Equal(t, before, s.db.Dump(), table)
				s.db.SQL("DROP TRIGGER refuse ON " + table)
			}
		})
	})
	t.Run("S12 reset-tokens | killed in the middle of the transaction | all of it is undone, and the next run does it", func(t *testing.T) {
		s := newServer(t, "14.9")
		before := s.db.Dump()
		// The update of the jobs comes late and waits for this session.
		s.db.SQL("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$; " +
			"CREATE TRIGGER wait BEFORE UPDATE ON ci_builds EXECUTE FUNCTION wait()")
		ctx, kill := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := s.operation(true).Do(ctx)
			ended <- err
		}()
		active := func(what string) bool {
			return s.db.SQL("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"+what) != "0"
		}
		require.Eventually(t, func() bool { return active(" AND wait_event = 'PgSleep'") }, time.Minute, 10*time.Millisecond)
		kill() // psql, too: a unit's processes end together
		require.ErrorIs(t, <-ended, context.Canceled)
		// PostgreSQL notices the dead client when it goes on.
		s.db.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
		require.Eventually(t, func() bool { return !active("") }, time.Minute, 10*time.Millisecond)
		s.db.SQL("DROP TRIGGER wait ON ci_builds")
		assert.Equal(t, before, s.db.Dump())
		assert.Equal(t, counts(2, 0), s.reset(t, true).Reset["ci_builds"])
	})
	t.Run("S12 reset-tokens | a variable is added after its names were written | all of it is undone, and it says to run again", func(t *testing.T) {
		s := newServer(t, "14.9")
		s.On("gitlab-psql", func(c machinetest.Call) int {
			if strings.Contains(c.Input, "DELETE FROM ci_variables") {
				s.db.SQL("INSERT INTO ci_variables (id, key, project_id) VALUES (9, 'LATE', 1)")
			}
			return s.db.Psql(c)
		})
		_, err := s.operation(true).Do(t.Context())
		require.ErrorContains(t, err, "ci_variables changed since its names were written: run this again")
		assert.Equal(t, "3|2", s.db.SQL("SELECT (SELECT count(*) FROM ci_variables), (SELECT count(*) FROM projects WHERE runners_token_encrypted IS NOT NULL)"))
	})
}

func TestS12_NothingIsChangedWhen(t *testing.T) {
	t.Run("S12 reset-tokens | an unknown table refers to the webhooks | refused before anything is changed", func(t *testing.T) {
		onEachVersion(t, func(t *testing.T, s *server) {
			s.db.SQL("CREATE TABLE precious (id integer PRIMARY KEY, web_hook_id integer REFERENCES web_hooks)")
			before := s.db.Dump()
			_, err := s.operation(true).Do(t.Context())
			require.EqualError(t, err, "precious refers to tables that would be emptied, and GitLab's page does not name it: nothing was changed")
			assert.Equal(t, before, s.db.Dump())
			s.reset(t, false) // the tokens alone have nothing to do with it
		})
	})
	t.Run("S12 reset-tokens | PostgreSQL is down, or another database | it says so, and nothing was changed", func(t *testing.T) {
		s := newServer(t, "14.9")
		s.On("gitlab-psql", func(c machinetest.Call) int {
			c.Complain("psql: error: could not connect to server\n")
			return 2
		})
		_, err := s.operation(false).Do(t.Context())
		require.ErrorContains(t, err, "GitLab's database does not answer: is PostgreSQL up")
		postgrestest.New(t, "").Play(s.Host)
		_, err = s.operation(false).Do(t.Context())
		require.EqualError(t, err, "the database has no application_settings, so it is not GitLab's")
	})
	t.Run("S12 reset-tokens | the names of variables cannot be written | nothing was changed", func(t *testing.T) {
		s := newServer(t, "15.4")
		before := s.db.Dump()
		s.Put(Names, "") // a file where the folder should be
		_, err := s.operation(true).Do(t.Context())
		require.ErrorContains(t, err, "cannot write the names of the variables: ")
		require.ErrorContains(t, err, "nothing was changed")
		assert.Equal(t, before, s.db.Dump())
	})
	t.Run("a person says no, once for the tokens and once more for lost secrets", func(t *testing.T) {
		s := newServer(t, "14.9")
		before := s.db.Dump()
		for _, refuse := range []int{1, 2} {
			s.asked, s.refuse = nil, refuse
			_, err := s.operation(refuse == 2).Do(t.Context())
			require.EqualError(t, err, "not confirmed: nothing was changed")
			assert.Len(t, s.asked, refuse)
			assert.Equal(t, before, s.db.Dump())
		}
		assert.Contains(t, s.asked[0], "Reset them?")
		assert.Contains(t, s.asked[1], "This cannot be undone")
	})
}

// A minute is the limit for one statement that omnibus sets (statement_timeout = 60000):
// ten million jobs take longer.
func TestS12_NoStatementIsCutOff(t *testing.T) {
	t.Run("S12 reset-tokens | an update takes longer than GitLab lets a statement take | it is not cut off", func(t *testing.T) {
		s := newServer(t, "14.9")
		s.db.SQL("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$; " +
			"CREATE TRIGGER slow BEFORE UPDATE ON projects EXECUTE FUNCTION slow()")
		s.db.Limit = 100 * time.Millisecond
		assert.Equal(t, counts(3, 0), s.reset(t, false).Reset["projects"])
	})
}
