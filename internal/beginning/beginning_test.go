package beginning

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
)

func example(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../../config/staging.yaml")
	require.NoError(t, err)
	return text
}

var answers = Answers{
	Environment: "production", Region: "eu-central-1", GitLabAccount: "012345678901", DeployAccount: "210987654321",
	Network: Network{"10.30.0.0/16", []string{"10.30.0.0/24", "10.30.1.0/24"}, "10.30.16.0/24"}, Zones: []string{"eu-central-1a", "eu-central-1b"},
	AllowedRanges: []string{"198.51.100.0/24", "192.0.2.7/32"}, DomainName: "git.example.org",
	CertificateARN: "arn:aws:acm:eu-central-1:012345678901:certificate/00000000-0000-0000-0000-000000000000",
	GitLabVersion:  "18.11.13", RunnerVersion: "18.11.0", ServerSystem: config.AmazonLinux2023, ServerImage: "ami-00000000000000001", RunnerImage: "ami-00000000000000002",
	ServerInstance: "m6g.xlarge", RunnerInstance: "t3.large", Bucket: "artifacts-production", Groups: []Group{{"web", "blue"}},
}

// load loads what was made, as the program does.
func load(t *testing.T, text []byte) config.Config {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(folder+"/production.yaml", text, 0o600))
	cfg, err := config.Load(folder, "production")
	require.NoError(t, err, string(text))
	return cfg
}

func TestTheFileLoadsAndHasEveryKey(t *testing.T) {
	text, err := File(example(t), answers)
	require.NoError(t, err)
	cfg := load(t, text)
	assert.Equal(t, "012345678901", cfg.GitLab.Account)
	assert.Equal(t, "210987654321", cfg.Deploy.Account)
	assert.Equal(t, "eu-central-1", cfg.Region)
	assert.Equal(t, answers.AllowedRanges, cfg.GitLab.LoadBalancer.AllowedRanges)
	assert.Equal(t, answers.CertificateARN, cfg.GitLab.LoadBalancer.CertificateARN)
	assert.Nil(t, cfg.GitLab.LoadBalancer.HostedZone)
	assert.Equal(t, "18.11.13", cfg.GitLab.Server.Version)
	assert.Equal(t, config.AmazonLinux2023, cfg.GitLab.Server.OperatingSystem)
	assert.Equal(t, answers.Zones, cfg.GitLab.Network.Zones)
	assert.Equal(t, []config.DeploymentGroup{{Application: "web", DeploymentGroup: "blue", RequireProtectedRef: true}}, cfg.Deploy.DeploymentGroups)
	assert.Empty(t, cfg.GitLab.AlarmEmail)
	assert.Empty(t, cfg.GitLab.BreakGlassRoles)
	for _, key := range config.Keys() {
		name := key.Path[strings.LastIndex(key.Path, ".")+1:]
		assert.Regexp(t, regexp.MustCompile(`(?m)^ *(# *)?(- )?`+name+`:`), string(text), key.Path)
	}
	// Its comments are the example's, but for the beginning.
	_, want, _ := strings.Cut(string(example(t)), "\n\n")
	_, got, _ := strings.Cut(string(text), "\n\n")
	assert.Equal(t, explanations(strings.ReplaceAll(want, "staging.jwks", "production.jwks")), explanations(got))
	assert.NotContains(t, got, "staging.jwks")
	assert.True(t, strings.HasPrefix(string(text), "# yaml-language-server: $schema=./schema.json\n"))
}

// explanations are the sentences of a file's comments.
func explanations(text string) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if comment, is := strings.CutPrefix(line, "#"); is {
			comment = strings.TrimLeft(comment, " #-")
			if !regexp.MustCompile(`^[a-zA-Z]+:( |$)`).MatchString(comment) || strings.HasPrefix(comment, "true:") || strings.HasPrefix(comment, "false:") {
				out = append(out, comment)
			}
		}
	}
	return out
}

func TestTheFileOfOtherAnswers(t *testing.T) {
	other := answers
	other.CertificateARN, other.HostedZone = "", &config.HostedZone{ID: "Z0123456789ABCDEFGHIJ", Name: "example.org"}
	other.AlarmEmail = "ops@example.org"
	other.Groups = []Group{{"web", "blue"}, {"api", "true"}, {"12", "a"}}
	text, err := File(example(t), other)
	require.NoError(t, err)
	cfg := load(t, text)
	assert.Equal(t, other.HostedZone, cfg.GitLab.LoadBalancer.HostedZone)
	assert.Empty(t, cfg.GitLab.LoadBalancer.CertificateARN)
	assert.Equal(t, "ops@example.org", cfg.GitLab.AlarmEmail)
	assert.Equal(t, "ops@example.org", cfg.Deploy.AlarmEmail)
	var groups []Group
	for _, g := range cfg.Deploy.DeploymentGroups {
		groups = append(groups, Group{g.Application, g.DeploymentGroup})
	}
	assert.Equal(t, other.Groups, groups)
}

// The example may be somebody's environment by now. Nothing of it but its keys and comments is taken.
func TestNothingOfTheExamplesValuesIsTaken(t *testing.T) {
	text := string(example(t))
	for was, is := range map[string]string{
		"concurrentJobs: 2\n":               "concurrentJobs: 7\n",
		"keepDays: 30\n":                    "keepDays: 31\n",
		"    # tags: [deploy]\n":            "    tags:\n      - secret-tag\n",
		"terminationProtection: true\n":     "terminationProtection: false\n",
		"    allowReplacement: false\n":     "    allowReplacement: true\n",
		"allowedRanges: [203.0.113.0/24]":   "allowedRanges:\n      - 192.0.2.128/25\n      # a note\n      - 192.0.2.0/25",
		"      requireProtectedRef: true\n": "      requireProtectedRef: false\n    # another one\n    - application: theirs\n      deploymentGroup: theirs\n      projects: any\n",
	} {
		require.Contains(t, text, was)
		text = strings.Replace(text, was, is, 1)
	}
	made, err := File([]byte(text), answers)
	require.NoError(t, err)
	plainly, err := File(example(t), answers)
	require.NoError(t, err)
	assert.Equal(t, load(t, plainly), load(t, made))
	assert.NotContains(t, string(made), "theirs")
}

func TestAnExampleThatIsNoneIsNamed(t *testing.T) {
	for want, text := range map[string]string{
		"is no YAML":                         "\na: [\n",
		"has the key b":                      "\nb: 1\n",
		"does not have":                      "\nregion: x\n",
		"has no mapping":                     "\n- a\n",
		"no list at deploy.deploymentGroups": "\ndeploy:\n  account: \"1\"\n  deploymentGroups: []\n",
	} {
		_, err := File([]byte(text), answers)
		assert.ErrorContains(t, err, want, text)
	}
}

func TestARangeIsFoundThatOverlapsWithNoVPC(t *testing.T) {
	for want, taken := range map[string][]string{
		"10.20.0.0/16": {"172.31.0.0/16", "10.0.0.0/24"},
		"10.22.0.0/16": {"10.20.4.0/22", "10.21.255.0/24"},
		"10.64.0.0/16": {"10.16.0.0/12", "10.32.0.0/11"},
		"10.0.0.0/16":  {"10.128.0.0/9", "10.64.0.0/10", "10.32.0.0/11", "10.16.0.0/12"},
	} {
		var found Found
		for _, text := range taken {
			found.Networks = append(found.Networks, netip.MustParsePrefix(text))
		}
		network, err := found.FreeNetwork()
		require.NoError(t, err)
		assert.Equal(t, want, network.VPC)
	}
	_, err := Found{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}.FreeNetwork()
	assert.ErrorIs(t, err, ErrNoRange)
}

func TestARangeIsDivided(t *testing.T) {
	for text, want := range map[string]Network{
		"10.20.0.0/16":       {"10.20.0.0/16", []string{"10.20.0.0/24", "10.20.1.0/24"}, "10.20.16.0/24"},
		"192.168.64.0/19":    {"192.168.64.0/19", []string{"192.168.64.0/24", "192.168.65.0/24"}, "192.168.80.0/24"},
		"192.168.16.0/22":    {"192.168.16.0/22", []string{"192.168.16.0/24", "192.168.17.0/24"}, "192.168.18.0/24"},
		"192.168.255.128/25": {"192.168.255.128/25", []string{"192.168.255.128/27", "192.168.255.160/27"}, "192.168.255.192/27"},
	} {
		got, err := Divide(text)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		var cfg = answers
		cfg.Network = got
		made, err := File(example(t), cfg)
		require.NoError(t, err)
		load(t, made)
	}
	for _, text := range []string{"", "10.0.0.0", "10.0.0.0/8", "10.0.0.0/26", "10.0.0.1/16", "fd00::/16"} {
		_, err := Divide(text)
		assert.ErrorContains(t, err, "want a range from /16 to /25", text)
	}
}

func TestTheCertificateAndTheZoneOfAName(t *testing.T) {
	found := Found{
		Certificates: []Certificate{{"wild", []string{"example.com", "*.example.com"}}, {"exact", []string{"git.example.com"}}},
		HostedZones:  []config.HostedZone{{ID: "Z1", Name: "example.com"}, {ID: "Z2", Name: "dev.example.com"}, {ID: "Z3", Name: "ple.com"}},
	}
	for name, want := range map[string][2]string{
		"git.example.com": {"exact", "Z1"}, "other.example.com": {"wild", "Z1"}, "a.b.example.com": {"", "Z1"},
		"git.dev.example.com": {"", "Z2"}, "example.com": {"wild", "Z1"}, "notexample.com": {"", ""},
	} {
		arn, _ := found.CertificateFor(name)
		zone, has := found.HostedZoneFor(name)
		assert.Equal(t, want, [2]string{arn, zone.ID}, name)
		assert.Equal(t, want[1] != "", has)
	}
}
