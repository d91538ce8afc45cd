package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/trust/signer"
)

const realConfigs = "../../config"

func TestConfigRealFilesLoad(t *testing.T) {
	// The emulator has another group, to promote to.
	for environment, groups := range map[string]int{"staging": 1, "local": 2} {
		config, err := Load(realConfigs, environment)
		require.NoError(t, err)
		assert.Equal(t, environment, config.Environment)
		assert.Equal(t, "example-deploy-"+environment, config.Deploy.Artifacts.BucketName)
		require.Len(t, config.Deploy.DeploymentGroups, groups)
		assert.Equal(t, "sample-web", config.Deploy.DeploymentGroups[0].Application)
		assert.Equal(t, "sample-web-blue-green", config.Deploy.DeploymentGroups[0].DeploymentGroup)
	}
}

// TestS6TheExampleInstallsAVersionWithoutAKnownHole: it is what a newcomer copies.
func TestS6TheExampleInstallsAVersionWithoutAKnownHole(t *testing.T) {
	for _, env := range []string{"staging", "local"} {
		cfg, err := Load("../../config", env)
		require.NoError(t, err)
		version, err := gitlab.ParseVersion(cfg.GitLab.Server.Version)
		require.NoError(t, err)
		assert.Empty(t, gitlab.HolesOf(version), "config/%s.yaml", env)
	}
}

func TestConfigValuesReachTheirFields(t *testing.T) {
	got, err := load("config/staging.yaml", "staging", []byte(base))
	require.NoError(t, err)
	assert.Equal(t, Config{
		Environment: "staging",
		Region:      "eu-west-1",
		GitLab: GitLab{
			Account: "012345678901",
			Network: Network{
				VPCCIDR:       "10.20.0.0/16",
				Zones:         []string{"eu-west-1a", "eu-west-1b"},
				PublicSubnets: []string{"10.20.0.0/24", "10.20.1.0/24"},
				GitLabSubnet:  "10.20.16.0/24",
			},
			LoadBalancer: LoadBalancer{
				AllowedRanges:  []string{"203.0.113.0/24", "198.51.100.7/32"},
				DomainName:     "gitlab.example.com",
				CertificateARN: "arn:aws:acm:eu-west-1:012345678901:certificate/2f5a1c9e-7b34-4d8a-9c61-0e8d3b7f4a25",
			},
			Server: Server{
				Version: "13.10.2", Edition: "ee", OperatingSystem: AmazonLinux2, ImageID: "ami-0123456789abcdef0", InstanceType: "m5.xlarge",
				RootVolumeGiB: 31, DataVolumeGiB: 201, DataVolumeID: "vol-0123456789abcdef0", SnapshotKeepDays: 36, Generation: 2,
				AllowReplacement: true, PackageRepositoryURL: "https://mirror.example.com/gitlab",
			},
			Runner: Runner{
				Version: "13.10.0", OperatingSystem: AmazonLinux2023, ImageID: "ami-0123456789abcdef1", InstanceType: "t3.large",
				RootVolumeGiB: 101, Generation: 1, PackageRepositoryURL: "https://mirror.example.com:8443/runner",
				ConcurrentJobs: 2, JobImage: "alpine:3.20",
			},
			Backup:           Backup{Time: "18:00", KeepDays: 30, DeletedDays: 30},
			SecurityUpdates:  SecurityUpdates{Enabled: true, Day: "SAT", Time: "20:00"},
			LogRetentionDays: 30,
		},
		Deploy: Deploy{
			Account:          "222222222222",
			Artifacts:        Artifacts{BucketName: "example-deploy", Prefix: "releases/", ReplacedVersionDays: 91, AllowReplacement: true},
			LogRetentionDays: 60, LongestDeploymentHours: 25, StatusRetentionDays: 366, AlarmEmail: "team@example.com",
			DeploymentGroups: []DeploymentGroup{
				{Application: "web", DeploymentGroup: "web-blue-green", RequireProtectedRef: true},
				{Application: "web", DeploymentGroup: "web-canary", RequireProtectedRef: true},
			},
		},
		Pipeline: &Pipeline{
			IssuerURL: "https://ci.example.com/oidc", ProjectPath: "platform/infra/gitlab-codedeploy",
			Branch: "release/main", ForkPipelines: ForksOff, ExistingProvider: true,
		},
	}, got)
}

func TestConfigBackupValuesReachTheirFields(t *testing.T) {
	text := strings.Replace(base, "deploy:\n", "  backup:\n    time: \"03:05\"\n    keepDays: 31\n  alarmEmail: ops@example.com\ndeploy:\n", 1)
	got, err := load("config/staging.yaml", "staging", []byte(text))
	require.NoError(t, err)
	assert.Equal(t, Backup{Time: "03:05", KeepDays: 31, DeletedDays: 30}, got.GitLab.Backup)
	assert.Equal(t, "ops@example.com", got.GitLab.AlarmEmail)
}

func TestConfigDefaultsFillWhatIsLeftOut(t *testing.T) {
	optional := regexp.MustCompile(`(?m)^ *(terminationProtection|edition|rootVolumeGiB|dataVolumeGiB|dataVolumeId|snapshotKeepDays|generation|allowReplacement|packageRepositoryUrl|concurrentJobs|jobImage|tags|logRetentionDays|prefix|replacedVersionDays|longestDeploymentHours|statusRetentionDays|alarmEmail|branch|existingProvider):.*\n`)
	got, err := load("config/staging.yaml", "staging", []byte(optional.ReplaceAllString(base, "")))
	require.NoError(t, err)
	assert.True(t, got.TerminationProtection)
	assert.Equal(t, "ce", got.GitLab.Server.Edition)
	assert.Equal(t, AmazonLinux2, got.GitLab.Server.OperatingSystem)
	assert.Equal(t, AmazonLinux2023, got.GitLab.Runner.OperatingSystem)
	assert.Equal(t, 30, got.GitLab.Server.RootVolumeGiB)
	assert.Equal(t, 200, got.GitLab.Server.DataVolumeGiB)
	assert.Empty(t, got.GitLab.Server.DataVolumeID)
	assert.Equal(t, 35, got.GitLab.Server.SnapshotKeepDays)
	assert.Equal(t, 1, got.GitLab.Server.Generation)
	assert.False(t, got.GitLab.Server.AllowReplacement)
	assert.False(t, got.Deploy.Artifacts.AllowReplacement)
	assert.Equal(t, "https://packages.gitlab.com/gitlab", got.GitLab.Server.PackageRepositoryURL)
	assert.Equal(t, 100, got.GitLab.Runner.RootVolumeGiB)
	assert.Equal(t, 1, got.GitLab.Runner.Generation)
	assert.Equal(t, "https://packages.gitlab.com/runner", got.GitLab.Runner.PackageRepositoryURL)
	assert.Equal(t, 2, got.GitLab.Runner.ConcurrentJobs)
	assert.Equal(t, "alpine:3.20", got.GitLab.Runner.JobImage)
	assert.Empty(t, got.GitLab.Runner.Tags)
	assert.Equal(t, 365, got.GitLab.LogRetentionDays)
	assert.Equal(t, 365, got.Deploy.LogRetentionDays)
	assert.Equal(t, "artifacts/", got.Deploy.Artifacts.Prefix)
	assert.Equal(t, 90, got.Deploy.Artifacts.ReplacedVersionDays)
	assert.Equal(t, 24, got.Deploy.LongestDeploymentHours)
	assert.Equal(t, 365, got.Deploy.StatusRetentionDays)
	assert.Empty(t, got.Deploy.AlarmEmail)
	assert.Equal(t, "main", got.Pipeline.Branch)
	assert.False(t, got.Pipeline.ExistingProvider)
}

func TestConfigWhoMayDeployReachesItsFields(t *testing.T) {
	text := strings.Replace(base, "    - {application: web, deploymentGroup: web-blue-green}\n", `    - application: web
      deploymentGroup: web-blue-green
      projects:
        - id: 42
          path: team/web
        - {id: 43, path: team/sub.group/tools_2}
      refs: [main, release/2.x, v1.0, "版", "#1"]
      requireProtectedRef: false
    - application: web
      deploymentGroup: web-blue-red
      projects: any
`, 1)
	got, err := load("config/staging.yaml", "staging", []byte(text))
	require.NoError(t, err)
	assert.Equal(t, []DeploymentGroup{
		{
			Application: "web", DeploymentGroup: "web-blue-green",
			Projects: Projects{List: []Project{{42, "team/web"}, {43, "team/sub.group/tools_2"}}},
			Refs:     []string{"main", "release/2.x", "v1.0", "版", "#1"},
		},
		{Application: "web", DeploymentGroup: "web-blue-red", Projects: Projects{Any: true}, RequireProtectedRef: true},
		{Application: "web", DeploymentGroup: "web-canary", RequireProtectedRef: true},
	}, got.Deploy.DeploymentGroups)
	assert.Equal(t, "https://gitlab.example.com", got.GitLab.URL())
}

func TestConfigGitLabsKeysLieBesideTheFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "staging.yaml"), []byte(base), 0o600))
	got, err := Load(dir, "staging")
	require.NoError(t, err)
	assert.Empty(t, got.Keys, "a new GitLab has none that anybody could have read")

	gitlab, err := signer.New("https://gitlab.example.com")
	require.NoError(t, err)
	file := KeysFile(dir, "staging")
	assert.Equal(t, filepath.Join(dir, "staging.jwks.json"), file)
	require.NoError(t, os.WriteFile(file, gitlab.Keys().Encode(), 0o600))
	got, err = Load(dir, "staging")
	require.NoError(t, err)
	assert.Equal(t, gitlab.Keys(), got.Keys)
	source, err := LoadSource(dir, "staging")
	require.NoError(t, err)
	assert.Equal(t, gitlab.Keys(), source.Config().Keys)

	for text, want := range map[string]string{
		`{"keys":[]}`: "staging.jwks.json: got no key, want at least one", `{"keys":[{"kty":"RSA","d":"x"}]}`: "keys[0]: got a private key",
		strings.Repeat(" ", maxKeysFile+1): "want at most 65536",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err = Load(dir, "staging")
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "scripts/ops trust writes this file")
	}
}

func TestConfigNoPipelineIsTrustedUnlessOneIsNamed(t *testing.T) {
	config, err := Load(realConfigs, "staging")
	require.NoError(t, err)
	assert.Nil(t, config.Pipeline)
}

func TestConfigUnknownEnvironmentListsThoseThatThereAre(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside.yaml")
	require.NoError(t, os.WriteFile(outside, []byte(base), 0o600))
	dir = filepath.Join(dir, "config")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "folder.yaml"), 0o700))
	for _, name := range []string{"staging.yaml", "local.yaml", "README.md", "Upper.yaml"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(base), 0o600))
	}

	for _, environment := range []string{
		"production", "", ".", "..", "../outside", outside, "staging.yaml", "staging/", "Upper", "folder",
		"staging\x00", "a-name-longer-than-20", "stag\ning",
	} {
		_, err := Load(dir, environment)
		assert.EqualError(t, err, fmt.Sprintf("environment: got %q, want one of local, staging (the .yaml files in %s)", environment, dir))
	}
}

func TestConfigWithoutAnyEnvironmentSaysWhereItLooked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nothing")
	_, err := Load(dir, "staging")
	assert.EqualError(t, err, fmt.Sprintf(`environment: got "staging", but there are none: want a file <environment>.yaml in %s`, dir))
}

func TestConfigMessagesNameTheFileAsItWasFound(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "production.yaml"), []byte(base), 0o600))
	_, err := Load(dir, "production")
	assert.EqualError(t, err, dir+`/production.yaml:1: environment: got "staging", want "production": it must be the name of the file`)
}

func TestConfigAcceptsAHostedZoneInsteadOfACertificate(t *testing.T) {
	// The way staging.yaml shows it: what is commented out there must work once it is not.
	text, err := os.ReadFile(filepath.Join(realConfigs, "staging.yaml"))
	require.NoError(t, err)
	switched := regexp.MustCompile(`(?m)^ *certificateArn:.*\n`).ReplaceAllString(string(text), "")
	switched = regexp.MustCompile(`(?m)^( *)# (hostedZone:|  (?:id|name):)`).ReplaceAllString(switched, "$1$2")
	got, err := load("config/staging.yaml", "staging", []byte(switched))
	require.NoError(t, err)
	assert.Empty(t, got.GitLab.LoadBalancer.CertificateARN)
	assert.Equal(t, &HostedZone{ID: "Z0123456789ABCDEFGHIJ", Name: "example.com"}, got.GitLab.LoadBalancer.HostedZone)
}

// The comments of staging.yaml are the reference of the configuration: every key has one, with the default that the
// code applies, or that it is required.
func TestConfigEveryKeyIsExplainedInStaging(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(realConfigs, "staging.yaml"))
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")

	checked := 0
	var explained func(path string, of reflect.Type, from, indent int)
	explained = func(path string, of reflect.Type, from, indent int) {
		for _, f := range fieldsOf(of) {
			key := regexp.MustCompile(fmt.Sprintf(`^ {%d}(# |- |)( *)%s:`, indent, f.key))
			at := -1
			for i := from; i < len(lines); i++ {
				if key.MatchString(lines[i]) {
					at = i
					break
				}
			}
			here := child(path, f.key)
			if !assert.GreaterOrEqual(t, at, 0, "staging.yaml does not show %s", here) {
				continue
			}
			var comment []string
			for i := at - 1; i >= 0 && strings.HasPrefix(strings.TrimLeft(lines[i], " "), "#"); i-- {
				comment = append(comment, strings.Trim(lines[i], " #"))
			}
			slices.Reverse(comment)
			explanation := strings.Join(comment, " ")
			want := "Required"
			switch {
			case f.value != "":
				want = "Default: " + f.value + "."
			case f.optional && !strings.Contains(explanation, want):
				want = "Default: none"
			}
			assert.Contains(t, explanation, want, "the comment of %s", here)
			checked++

			switch fieldType := of.Field(f.index).Type; {
			case fieldType == projectsType:
				explained(here, reflect.TypeFor[Project](), at+1, indent+4)
			case fieldType.Kind() == reflect.Struct:
				explained(here, fieldType, at+1, indent+2)
			case fieldType.Kind() == reflect.Pointer:
				explained(here, fieldType.Elem(), at+1, indent)
			case fieldType.Kind() == reflect.Slice && fieldType.Elem().Kind() == reflect.Struct:
				// The first key of an element stands behind its dash, the others below it.
				explained(here, fieldType.Elem(), at+1, indent+2)
			}
		}
	}
	explained("", configType, 0, 0)
	assert.Equal(t, 81, checked, "keys of the configuration")
}

func TestConfigTreeHasALineForEveryKey(t *testing.T) {
	// The lines in messages come from the parser: compare them with the text, in all the forms that a list can have.
	file, err := parser.ParseBytes([]byte(base), 0)
	require.NoError(t, err)
	lines := strings.Split(base, "\n")
	keys := 0
	ast.Walk(visitor(func(node ast.Node) {
		if entry, ok := node.(*ast.MappingValueNode); ok {
			key := entry.Key.GetToken()
			assert.Contains(t, lines[key.Position.Line-1], key.Value+":")
			keys++
		}
	}), file.Docs[0].Body)
	assert.Greater(t, keys, 35)
}

type visitor func(ast.Node)

func (v visitor) Visit(node ast.Node) ast.Visitor {
	v(node)
	return v
}
