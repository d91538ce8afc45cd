package constructs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/jsii-runtime-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestS13_theStarterRunsTheBuildOfItsHashAndNothingElse gives the lines of a document
// to sh, as Systems Manager's agent does, beside a stand-in for the AWS CLI.
func TestS13_theStarterRunsTheBuildOfItsHashAndNothingElse(t *testing.T) {
	const program = "#!/bin/sh\nprintf '<%s>' \"$@\"\n"
	sum := sha256.Sum256([]byte(program))
	hash := hex.EncodeToString(sum[:])
	for name, tt := range map[string]struct {
		there  string // what the program's place holds
		sent   string // what S3 sends
		fails  int    // how often it refuses before
		status int
		output string
		calls  int // of the AWS CLI
	}{
		"a new host":                     {"", program, 0, 0, "<backup><--bucket><a-bucket><--keep><7>", 1},
		"it is there":                    {program, "", 0, 0, "<backup><--bucket><a-bucket><--keep><7>", 0},
		"another file is in its place":   {"#!/bin/sh\necho evil\n", program, 0, 0, "<backup><--bucket><a-bucket><--keep><7>", 1},
		"half of it is there":            {program[:20], program, 0, 0, "<backup><--bucket><a-bucket><--keep><7>", 1},
		"the right has not come yet":     {"", program, 3, 0, "<backup><--bucket><a-bucket><--keep><7>", 4},
		"no right":                       {"", program, 100, 1, "", 8},
		"S3 sends another program":       {"", "#!/bin/sh\necho evil\n", 0, 1, "", 1},
		"S3 sends nothing":               {"", "", 0, 1, "", 1},
		"another one, over an older one": {"#!/bin/sh\necho old\n", "#!/bin/sh\necho evil\n", 0, 1, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			place := filepath.Join(dir, "opt", hash, "host")
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
			if tt.there != "" {
				require.NoError(t, os.MkdirAll(filepath.Dir(place), 0o755))
				require.NoError(t, os.WriteFile(place, []byte(tt.there), 0o755))
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "sent"), []byte(tt.sent), 0o644))
			stub(t, dir, "sleep", `exit 0`)
			stub(t, dir, "uname", `echo x86_64`)
			stub(t, dir, "aws", fmt.Sprintf(`echo "$*" >>%[1]q/calls
[ "$(wc -l <%[1]q/calls)" -gt %[2]d ] || { echo "An error occurred (AccessDenied)" >&2; exit 254; }
for last; do :; done
cat %[1]q/sent >"$last"`, dir, tt.fails))

			content, err := hostDocumentContent(HostDocumentProps{
				Program: &HostProgram{Region: "ap-northeast-1", Builds: []*Program{
					{Architecture: "aarch64", SHA256: strings.Repeat("0", 64), BucketName: jsii.String("assets"), ObjectKey: jsii.String("arm.bin")},
					{Architecture: "x86_64", SHA256: hash, BucketName: jsii.String("assets"), ObjectKey: jsii.String("intel.bin")},
				}},
				Command: "backup", TimeoutSeconds: 60, Description: "x",
				Arguments:  []DocumentArgument{{Flag: "--bucket", Value: "a-bucket"}},
				Parameters: []DocumentParameter{{Name: "Keep", Flag: "--keep", Description: "x", Pattern: "^[0-9]+$"}},
			})
			require.NoError(t, err)
			lines := content["mainSteps"].([]any)[0].(map[string]any)["inputs"].(map[string]any)["runCommand"].([]string)
			text := strings.Join(lines, "\n")
			text = strings.ReplaceAll(strings.ReplaceAll(text, "{{ Keep }}", "7"), ProgramFolder, filepath.Join(dir, "opt"))
			command := exec.Command("sh", "-c", text)
			command.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")}
			var stderr strings.Builder
			command.Stderr = &stderr
			output, _ := command.Output()
			assert.Equal(t, tt.status, command.ProcessState.ExitCode(), stderr.String())
			assert.Equal(t, tt.output, string(output))
			calls, _ := os.ReadFile(filepath.Join(dir, "calls"))
			assert.Equal(t, tt.calls, strings.Count(string(calls), "\n"))
			if tt.calls > 0 {
				assert.Contains(t, string(calls), "s3api get-object --region ap-northeast-1 --bucket assets --key intel.bin ")
			}
			if tt.status != 0 {
				assert.NotEmpty(t, stderr.String())
				left, err := filepath.Glob(filepath.Join(dir, "opt", hash, "*"))
				require.NoError(t, err)
				if tt.there == "" {
					assert.Empty(t, left, "what is not the program is not left lying about")
				} else {
					assert.Equal(t, []string{place}, left)
				}
			}
		})
	}
}

// stub puts a program into the folder bin of dir.
func stub(t *testing.T, dir, name, body string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", name), []byte("#!/bin/sh\n"+body+"\n"), 0o755))
}

func TestS13_aHostDocumentTakesNothingThatASenderCouldLeaveItsQuotesBy(t *testing.T) {
	props := HostDocumentProps{Program: &HostProgram{Builds: []*Program{{SHA256: "0", BucketName: jsii.String("b"), ObjectKey: jsii.String("k")}}}, Command: "backup"}
	props.Arguments = []DocumentArgument{{Flag: "--bucket", Value: "a'; id; '"}}
	_, err := hostDocumentContent(props)
	assert.ErrorContains(t, err, `argument --bucket: got "a'; id; '", want letters, digits and . _ / : , @ - only`)
	props.Arguments, props.Parameters = nil, []DocumentParameter{{Name: "Keep", Flag: "--keep", Pattern: "[0-9]+"}}
	_, err = hostDocumentContent(props)
	assert.ErrorContains(t, err, "is not anchored at both ends")
}
