package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/inputs"
)

// tiny measures as little as possible. How scripts of an old commit do with the tools of
// today is for "make bench" to find out.
func tiny(t *testing.T) Options {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	require.NoError(t, inputs.Are(root))
	if err := checkMachine(root); err != nil {
		if os.Getenv("CI") == "true" {
			require.NoError(t, err)
		}
		t.Skip(err)
	}
	return Options{
		// e2e measures the operator's commands, on the emulator that it has.
		Parts: []string{"trigger", "upload", "backup", "synth"},
		Root:  root, Work: t.TempDir(), Keep: t.TempDir(), Script: "scripts/ci/upload-artifact.sh",
		Pairs: 1, Warm: 2, MemoryEvery: time.Second / 2, UploadPairs: 1, FolderMB: 12, SmallFolderMB: 1, HugeFolderMB: 24,
		BackupPairs: 1, BackupMB: 20,
		SynthPairs: 1, DeploymentGroups: 20,
		GOARCH: runtime.GOARCH, Progress: t.Output(),
	}
}

func TestEveryBenchmarkStillMeasures(t *testing.T) {
	options := tiny(t)
	report, err := Measure(t.Context(), options)
	require.NoError(t, err)

	var names []string
	for _, row := range report.Rows {
		names = append(names, row.Name)
		assert.Positive(t, median(row.Series.Ours), row.Name)
		for _, ratio := range row.Series.ratios() {
			assert.Positive(t, ratio, row.Name)
		}
	}
	for _, part := range []string{"trigger: program", "status: program", "start to ready", "first invocation", "warm invocation", "peak memory", "calls per deployment",
		"AWS's pace", "never waits", "24 against 1 MB", "artifact: program for arm64",
		"backup of 20 MB: time", "backup of 20 MB: peak memory", "synth: 20 deployment groups", "synth: without the CDK's validation"} {
		assert.True(t, slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, part) }), "no row on %q in %q", part, names)
	}
	assert.NotEmpty(t, report.Calls)
	for _, call := range report.Calls {
		assert.NotEmpty(t, call.Buys, "say in purposes what %s is good for", call.Operation)
	}
	var table strings.Builder
	require.NoError(t, report.Print(&table))
	assert.Regexp(t, `≥ 25×: (met|MISSED)`, table.String())

	// A benchmark of what leaves a part out would be none.
	want := filesUnder(t, filepath.Join(options.Work, "large"))
	assert.Equal(t, want, tarFiles(t, filepath.Join(options.Keep, ourKey)))
	assert.Equal(t, want, zipFiles(t, filepath.Join(options.Keep, pushKey)))
}

func TestWhatIsAskedForWronglyIsSaidBeforeAnythingIsMeasured(t *testing.T) {
	options := tiny(t)
	options.Parts = []string{"trigger", "opps"}
	_, err := Measure(t.Context(), options)
	assert.EqualError(t, err, `part: got "opps", want one of trigger, upload, backup, ops, synth, tests`)

	options.Parts, options.Emulator = []string{"trigger", "ops"}, t.TempDir()
	report, err := Measure(t.Context(), options)
	assert.ErrorContains(t, err, "ops is measured on the emulator in the folder that -emulator names, got")
	assert.ErrorContains(t, err, "no emulator is up in "+options.Emulator)
	assert.Empty(t, report.Rows)
}

func TestS14_ReferenceInPythonAsksForTheSameDeployment(t *testing.T) {
	options := tiny(t)
	ours, reference, err := programs(options)
	require.NoError(t, err)
	var deployments, statuses [2]map[string]any
	for i, p := range []program{ours, reference} {
		account := newAccount(options.Warm + 1)
		defer account.server.Close()
		certificates := filepath.Join(options.Work, "certificates.pem")
		require.NoError(t, trust(account.server, certificates))
		p.env = environment(account.server.URL, certificates)
		f, _, err := p.start(t.Context(), filepath.Join(options.Work, "log"))
		require.NoError(t, err)
		defer f.stop()
		_, err = f.invoke(t.Context(), account.upload(7))
		require.NoError(t, err)

		require.NoError(t, account.check(1))
		d := account.aws.Deployments.Of(pair)[0]
		deployments[i] = map[string]any{"revision": d.Object, "description": uploadedTime.ReplaceAllString(d.Description, "uploaded=…")}
		require.NotEmpty(t, d.Object.Version)
		require.NoError(t, json.Unmarshal(account.aws.Bucket.Under("deployments/")[0].Body(), &statuses[i]))
		for _, name := range []string{"updatedAt", "deploymentId"} {
			assert.NotEmpty(t, statuses[i][name])
			delete(statuses[i], name)
		}
	}
	assert.Equal(t, deployments[0], deployments[1])
	assert.Equal(t, statuses[0], statuses[1])
}

var uploadedTime = regexp.MustCompile(`uploaded=\S+`)

func TestCommandThatDoesNotDoItsWorkIsNotMeasured(t *testing.T) {
	for name, tt := range map[string]struct {
		script, says string
		status       int
		want         string // "" when it is
	}{
		"its work":            {script: "echo 3 backups", says: "backups"},
		"its status":          {script: "echo found; exit 1", says: "found", status: 1},
		"another status":      {script: "echo found; exit 2", says: "found", status: 1, want: "exit status 2, want 1"},
		"a status for none":   {script: "echo found", says: "found", status: 1, want: "exit status 0, want 1"},
		"no status is wanted": {script: "exit 1", want: "exit status 1"},
		"nothing":             {script: "true", says: "backups", want: `did not do its work: want "backups"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := command{args: []string{"sh", "-c", tt.script}, says: tt.says, status: tt.status}.run(t.Context())
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestFollowingThatEndsEarlyIsNotMeasured(t *testing.T) {
	h := newHost(time.Minute)
	defer h.server.Close()
	h.send("gitlab-codedeploy-local-backup", map[string][]string{"RunId": {"20261128T000000-00000001"}})
	follow := h.send("gitlab-codedeploy-local-follow", map[string][]string{"LogFrom": {"0"}, "Wait": {"8"}})
	assert.Equal(t, "InProgress", h.invocation(follow, "i-1")["Status"])
	assert.ErrorContains(t, h.check(), "was not followed for 1m0s")
}

func TestRatioIsThatOfThePairsAndNotOfTheMedians(t *testing.T) {
	var s Series
	s.add(1, 30)
	s.add(10, 100) // while the machine was busy with something else
	s.add(2, 50)
	assert.Equal(t, []float64{10, 25, 30}, s.ratios())
	assert.True(t, (&Target{Times: 25}).met(s))
	assert.False(t, (&Target{Times: 26}).met(s))
	assert.True(t, (&Target{Most: 2}).met(s))
	assert.False(t, (&Target{Most: 1.9}).met(s))
}

func TestMissedTargetIsAWordInTheTable(t *testing.T) {
	var table strings.Builder
	report := Report{Rows: []Row{{Name: "memory", Unit: Megabytes, Series: Series{Ours: []float64{21e6}}, Target: &Target{Most: 20e6}}}}
	require.NoError(t, report.Print(&table))
	assert.Regexp(t, `memory\s+21\.0 MB\s+-\s+-\s+-\s+1\s+≤ 20 MB: MISSED`, table.String())
}

func TestSameFolderComesOutEachTime(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	require.NoError(t, makeFolder(a, 3e6))
	require.NoError(t, makeFolder(b, 3e6))
	files := filesUnder(t, a)
	assert.Equal(t, files, filesUnder(t, b))
	size := 0
	for _, f := range files {
		size += f.size
	}
	assert.InDelta(t, 3e6, size, 1000)
}

// content stands for a file's, so that a difference can be read.
type content struct {
	size int
	md5  string
}

func contentOf(text []byte) content { return content{len(text), fmt.Sprintf("%x", md5.Sum(text))} }

func filesUnder(t *testing.T, root string) map[string]content {
	t.Helper()
	files := map[string]content{}
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		files[path] = contentOf(text)
		return err
	}))
	return files
}

func tarFiles(t *testing.T, file string) map[string]content {
	t.Helper()
	in, err := os.Open(file)
	require.NoError(t, err)
	defer in.Close()
	unzipped, err := gzip.NewReader(in)
	require.NoError(t, err)
	files := map[string]content{}
	for archive := tar.NewReader(unzipped); ; {
		entry, err := archive.Next()
		if err == io.EOF {
			return files
		}
		require.NoError(t, err)
		if entry.Typeflag == tar.TypeReg {
			text, err := io.ReadAll(archive)
			require.NoError(t, err)
			files[strings.TrimPrefix(entry.Name, "./")] = contentOf(text)
		}
	}
}

func zipFiles(t *testing.T, file string) map[string]content {
	t.Helper()
	archive, err := zip.OpenReader(file)
	require.NoError(t, err)
	defer archive.Close()
	files := map[string]content{}
	for _, entry := range archive.File {
		in, err := entry.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(in)
		in.Close()
		require.NoError(t, err)
		files[entry.Name] = contentOf(text)
	}
	return files
}
