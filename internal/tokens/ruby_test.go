//go:build unix

package tokens

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ruby runs a program as gitlab-rails runner does, on a stand-in for Rails.
func ruby(t *testing.T, program string, env []string, arguments ...string) (stdout, stderr string) {
	t.Helper()
	file := t.TempDir() + "/program.rb"
	require.NoError(t, os.WriteFile(file, []byte(program), 0o600))
	command := exec.Command("ruby", append([]string{"-r", "./testdata/rails.rb", file}, arguments...)...)
	var out, err strings.Builder
	command.Stdout, command.Stderr, command.Env = &out, &err, append(os.Environ(), env...)
	require.NoError(t, command.Run(), err.String())
	return out.String(), err.String()
}

func TestS12_TheDoctorsWordsBecomeColumnsAndRows(t *testing.T) {
	out, _ := ruby(t, doctor, nil, `{"known":["projects"]}`)
	answer, is := strings.CutPrefix(strings.TrimSpace(out), "gitlab-codedeploy: ")
	require.True(t, is, out)
	// User 7's token is not unreadable: the model does not save another one.
	assert.JSONEq(t, `[
		{"table":"users","key":"id","attribute":"otp_secret","columns":["encrypted_otp_secret","encrypted_otp_secret_iv","encrypted_otp_secret_salt"],"ids":[[1,1],[7,7]]},
		{"table":"users","key":"id","attribute":"static_object_token","columns":["static_object_token","static_object_token_encrypted"],"ids":[[1,2]]},
		{"table":"deploy_tokens","key":"id","attribute":"token","columns":["token","token_encrypted"],"ids":[[1,3],[5,5]]},
		{"table":"keys","key":"id","attribute":"secret","columns":["secret"],"ids":[[9,9]]},
		{"table":"project_import_data","key":"id","attribute":"credentials","columns":["encrypted_credentials","encrypted_credentials_iv"],"ids":[[4,4]]}
	]`, answer)
}

func TestS12_OnlyASigningKeyThatIsGoneIsMade(t *testing.T) {
	out, said := ruby(t, signingKeys, []string{"SIGNING_KEY="})
	assert.Equal(t, "gitlab-codedeploy: [\"ci_jwt_signing_key\"]\n", out)
	assert.Equal(t, "saved 2048 bits\n", said)
	out, said = ruby(t, signingKeys, []string{"SIGNING_KEY=there"})
	assert.Equal(t, "gitlab-codedeploy: []\n", out)
	assert.Empty(t, said)
}
