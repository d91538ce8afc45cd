package test

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/constructs"
)

// programDocument returns the id of the document that brings the job's program,
// and its arguments by their flags.
func programDocument(t *testing.T, gitlab template) (id string, arguments map[string]string) {
	t.Helper()
	for _, document := range gitlab.ofType(t, "AWS::SSM::Document") {
		if gitlab.Resources[document].Metadata["Command"] != "host install-program" {
			continue
		}
		id, arguments = document, map[string]string{}
		header, _ := cutScript(runCommand(gitlab.Resources[document].Properties["Content"].(map[string]any)))
		for _, match := range regexp.MustCompile(`--([a-z0-9]+) '([^']*)'`).FindAllStringSubmatch(header[len(header)-1].(string), -1) {
			arguments[match[1]] = match[2]
		}
	}
	require.NotEmpty(t, id)
	return id, arguments
}

// TestS13_theDocumentNamesOneBuildAndNobodyElseDoes: who may send the document
// chooses neither what is fetched nor its hash.
func TestS13_theDocumentNamesOneBuildAndNobodyElseDoes(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	id, arguments := programDocument(t, gitlab)
	document := gitlab.Resources[id]
	assert.Empty(t, parametersOf(document.Properties["Content"].(map[string]any)))
	assert.Equal(t, "artifact", arguments["name"])
	assert.Regexp(t, `^[0-9a-f]{64}$`, arguments["sha256"])
	assert.Equal(t, "cdk-hnb659fds-assets-"+staging(t).GitLab.Account+"-"+staging(t).Region, arguments["bucket"])
	assert.Regexp(t, `^[0-9a-f]{64}\.bin$`, arguments["key"])

	var runs []string
	for _, association := range gitlab.ofType(t, "AWS::SSM::Association") {
		properties := gitlab.Resources[association].Properties
		if at(properties, "Name", "Ref") == id {
			runs = append(runs, association)
			assert.Equal(t, "rate(1 day)", properties["ScheduleExpression"], "what was missed is made up for")
			assert.Equal(t, at(gitlab.Outputs, "RunnerInstanceId", "Value"), at(properties, "Targets", 0, "Values", 0))
			assert.Nil(t, properties["Parameters"])
		}
	}
	assert.Len(t, runs, 1)

	// A changed document runs at once, and needs the rights to the new objects then: the
	// job's program, and the hosts', which brings it.
	rights := 0
	for _, policy := range gitlab.ofType(t, "AWS::IAM::Policy") {
		for _, s := range statements(gitlab.Resources[policy].Properties["PolicyDocument"]) {
			if s["Sid"] == "FetchProgram" && (strings.HasPrefix(policy, "JobProgram") || strings.HasPrefix(policy, "RunnerFetchesProgram")) {
				rights++
				assert.Contains(t, list(at(gitlab.raw, "Resources", id, "DependsOn")), policy)
			}
		}
	}
	assert.Equal(t, 2, rights)
}

// TestS13_anotherProcessorOfTheRunnerIsAnotherProgram, and no other host.
func TestS13_anotherProcessorOfTheRunnerIsAnotherProgram(t *testing.T) {
	before, _ := synthesiseStaging(t)
	cfg := staging(t)
	cfg.GitLab.Runner.InstanceType = "t4g.large"
	after := synthesiseGitLab(t, cfg)
	_, intel := programDocument(t, before)
	id, arm := programDocument(t, after)
	assert.NotEqual(t, intel["sha256"], arm["sha256"])
	assert.NotEqual(t, intel["key"], arm["key"])
	assert.Contains(t, before.Resources, id, "the document stays the same resource")
}

// TestS13_theHashInTheTemplateIsThatOfThePublishedProgram builds two programs of
// a module of their own, twice in different folders, and looks at what would be
// published.
func TestS13_theHashInTheTemplateIsThatOfThePublishedProgram(t *testing.T) {
	publish := func(architecture string) (hash string, machine elf.Machine) {
		root, outdir := t.TempDir(), t.TempDir()
		for name, text := range map[string]string{
			"go.mod": "module example\n\ngo 1.26\n", "cmd/tool/main.go": "package main\n\nfunc main() { println(\"tool\") }\n",
		} {
			path := filepath.Join(root, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		}
		app := awscdk.NewApp(&awscdk.AppProps{Outdir: &outdir})
		stack := awscdk.NewStack(app, jsii.String("Stack"), &awscdk.StackProps{
			Env: &awscdk.Environment{Account: jsii.String("111111111111"), Region: jsii.String("eu-west-1")},
		})
		program := constructs.NewProgram(stack, "Tool", constructs.ProgramProps{Root: root, Package: "cmd/tool", Architecture: architecture})
		assert.Equal(t, "tool", program.Name)
		assert.Equal(t, "cdk-hnb659fds-assets-111111111111-eu-west-1", *program.BucketName, "no token: it stands in a document")

		files, err := filepath.Glob(filepath.Join(outdir, "asset.*.bin"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		assert.Equal(t, "asset."+*program.ObjectKey, filepath.Base(files[0]))
		content, err := os.ReadFile(files[0])
		require.NoError(t, err)
		sum := sha256.Sum256(content)
		assert.Equal(t, hex.EncodeToString(sum[:]), program.SHA256)
		file, err := elf.Open(files[0])
		require.NoError(t, err)
		defer file.Close()
		libraries, err := file.ImportedLibraries()
		require.NoError(t, err)
		assert.Empty(t, libraries, "it runs in any image, whatever its libraries")
		return program.SHA256, file.Machine
	}
	intel, machine := publish("x86_64")
	assert.Equal(t, elf.EM_X86_64, machine)
	again, _ := publish("x86_64")
	assert.Equal(t, intel, again, "the same sources, in another folder")
	arm, machine := publish("aarch64")
	assert.Equal(t, elf.EM_AARCH64, machine)
	assert.NotEqual(t, intel, arm)
}

func TestS13_aProgramThatDoesNotCompileShowsTheCompilersMessage(t *testing.T) {
	root, outdir := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("module example\n"), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "cmd/tool"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "cmd/tool/main.go"), []byte("package main\n\nfunc main() { missing() }\n"), 0o644))
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: &outdir})
	stack := awscdk.NewStack(app, jsii.String("Stack"), nil)
	defer func() {
		err, _ := recover().(error)
		assert.ErrorContains(t, err, "cmd/tool/main.go:3:15: undefined: missing")
	}()
	constructs.NewProgram(stack, "Tool", constructs.ProgramProps{Root: root, Package: "cmd/tool", Architecture: "x86_64"})
	t.Error("it was taken")
}
