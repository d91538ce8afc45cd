//go:build unix

package upgrade

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ruby runs a program as gitlab-rails runner does, on a stand-in for Rails.
func ruby(t *testing.T, program, input string, env ...string) (stdout, stderr string, err error) {
	t.Helper()
	command := exec.Command("ruby", "-r", "./testdata/rails.rb", "-", input)
	var out, said strings.Builder
	command.Stdin, command.Stdout, command.Stderr, command.Env = strings.NewReader(program), &out, &said, append(os.Environ(), env...)
	err = command.Run()
	return out.String(), said.String(), err
}

func TestS8_ABatchedMigrationIsLetRunAgain(t *testing.T) {
	const halved, whole = "job 2: 2 0 500\njob 3: 2 0 500\n", "job 2: 2 0 1000\njob 3: 2 0 1000\n"
	for _, tt := range []struct{ name, version, status, jobs, want string }{
		{"14.0 has no way to try jobs again", "14.0", "4", "", whole},
		{"14.3 halves them", "14.3", "4", "", halved},
		{"14.3 gives up at a job of one row", "14.3", "4", "one", "job 2: 2 0 500\njob 3: 2 0 1\n"},
		{"14.3 leaves one failed that has no failed job", "14.3", "4", "none", "job 1: 3 1 1000\n"},
		{"18.11 halves them", "18.11", "4", "", halved},
		{"18.11 does not halve what goes by cursors", "18.11", "4", "cursors", whole},
		{"18.11 executes none that is finalizing", "18.11", "5", "", "job 2: 2 3 1000\njob 3: 2 3 1000\n"},
		{"15.4 resumes one that is paused, and tries no failed job again", "15.4", "0", "", "job 2: 2 3 1000\njob 3: 2 3 1000\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, said, err := ruby(t, retry, `{"id":9}`, "GITLAB="+tt.version, "STATUS="+tt.status, "BATCHED="+tt.jobs)
			require.NoError(t, err, said)
			assert.Equal(t, "gitlab-codedeploy: 1\n", out)
			assert.Contains(t, said, "job 1: 3 1 1000\n", "what was done stays done")
			assert.Contains(t, said, tt.want)
			if !strings.HasPrefix(tt.version, "14.") {
				assert.Contains(t, said, "started: true")
			}
		})
	}
}

func TestS8_JobsThatSidekiqLostAreRun(t *testing.T) {
	out, said, err := ruby(t, rerun, `{"classes":["MigrateA","MigrateB"]}`)
	require.NoError(t, err, said)
	assert.Equal(t, "gitlab-codedeploy: 3\n", out)
	assert.Equal(t, "MigrateA 1 5\nMigrateA 6 9\nMigrateB 1 2\n", said)

	out, said, err = ruby(t, rerun, `{"classes":["MigrateA","MigrateB","MigrateGone"]}`, "BROKEN=1")
	require.Error(t, err)
	assert.Empty(t, out)
	assert.Equal(t, "MigrateA 1 5\nMigrateA 6 9\n2 of 4 jobs failed: ::MigrateB [1, 2]: RuntimeError: no 1\n", said, "one that fails stops no other")
}
