package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/stacks"
)

// TestS1toS14_EveryFindingIsAccepted compares what five checkers report, when
// nothing is kept from them, with what the constructs accept: both have to be
// the same. A finding is fixed, or accepted next to its resource with a reason.
func TestS1toS14_EveryFindingIsAccepted(t *testing.T) {
	startCheckers(t)
	known, accepted := variants(t), acceptedFindings(t)
	t.Parallel()
	var reported []finding
	for _, f := range reportedFindings(t) {
		if _, is := known[f.variant]; is {
			reported = append(reported, f)
		}
	}
	for _, checker := range checkers {
		assert.True(t, slices.ContainsFunc(reported, func(f finding) bool { return f.checker == checker }),
			"%s reports nothing at all: does it run?", checker)
	}
	for _, f := range reported {
		if !slices.ContainsFunc(accepted, func(a acceptance) bool { return a.covers(f) }) {
			t.Errorf("new finding of %s: %s at %s (%s): %s\nFix it, or acknowledge it next to the resource (constructs/findings.go).",
				f.checker, f.rule, f.place(), f.stack, f.message)
		}
	}
	for _, a := range needless(accepted, reported) {
		t.Errorf("accepted, and no checker reports it any more: %s at %s\nRemove it from its acknowledge: %s", a.rule, a.path, a.reason)
	}
}

// TestCheckersAreTold runs the checkers as a user does, on the templates as they
// are deployed: nothing may be left. cfn-guard cannot be told anything, and is not
// asked.
func TestCheckersAreTold(t *testing.T) {
	startCheckers(t)
	t.Parallel()
	for _, f := range reportedFindings(t) {
		if f.variant == deployed {
			t.Errorf("%s still reports %s at %s: %s", f.checker, f.rule, f.place(), f.message)
		}
	}
}

// TestCheckersAreHeard keeps the tests above honest: each checker has something
// to say about a bucket with nothing but a name.
func TestCheckersAreHeard(t *testing.T) {
	startCheckers(t)
	t.Parallel()
	var rules []string
	for _, f := range reportedFindings(t) {
		if f.variant == badBucket {
			assert.Contains(t, f.place(), "Bucket")
			rules = append(rules, f.rule)
		}
	}
	for _, rule := range []string{"AwsSolutions-S1", "NIST.800.53.R5-S3BucketLoggingEnabled", "CKV_AWS_18", "CT.S3.PR.2", "E3031", "CloudFormation-Validate::F3031"} {
		assert.Contains(t, rules, rule)
	}
}

// TestValidationFailsTheSynthesis: what the CDK's own validation finds is an error
// of "cdk synth", and so of make synth and of a deploy, and no warning that
// scrolls by. A switch of cdk.json makes it one.
func TestValidationFailsTheSynthesis(t *testing.T) {
	app := newBadBucket(t)
	validated(app)
	assert.Panics(t, func() { app.Synth(nil) })
	assert.NotPanics(t, func() { newBadBucket(t).Synth(nil) }, "other tests would be validated, too")
}

// newBadBucket returns an app with a bucket that AWS would refuse.
func newBadBucket(t *testing.T) awscdk.App {
	t.Helper()
	app := newAppAsTheCLI(t)
	bucket := awss3.NewCfnBucket(awscdk.NewStack(app, jsii.String("Bad"), nil), jsii.String("Bucket"), nil)
	bucket.AddPropertyOverride(jsii.String("BucketName"), "Not_A_Name")
	return app
}

// TestGolden_FindingsAreListed keeps docs/findings.md, the list that a reviewer
// or an auditor reads, in step with what the constructs accept.
func TestGolden_FindingsAreListed(t *testing.T) {
	compareGolden(t, "../docs/findings.md", findingsPage(acceptedFindings(t)))
}

const (
	cdkNag      = "cdk-nag"
	cdkValidate = "CDK validation"
	cfnLint     = "cfn-lint"
	checkov     = "checkov"
	cfnGuard    = "cfn-guard"
)

var checkers = []string{cdkNag, cdkValidate, cfnLint, checkov, cfnGuard}

// finding is what a checker reports about one resource.
type finding struct {
	checker, variant, stack string
	rule                    string // with what it applies to in brackets, for cdk-nag
	path                    string // of the construct, for cdk-nag and the CDK's own validation
	logicalID               string // for the others
	message                 string
}

func (f finding) place() string { return f.path + f.logicalID }

// acceptance is one rule of a finding that a construct accepts.
type acceptance struct {
	variant, stack  string
	rule, appliesTo string
	path, logicalID string
	reason          string
	general         bool
}

func (a acceptance) covers(f finding) bool {
	if a.variant != f.variant || a.stack != f.stack {
		return false
	}
	rule := a.rule
	if a.appliesTo != "" {
		rule += "[" + a.appliesTo + "]"
	}
	if rule != f.rule && (a.appliesTo != "" || !strings.HasPrefix(f.rule, rule+"[")) {
		return false
	}
	switch {
	case f.checker == cdkValidate: // it looks at constructs above, too
		return f.path == a.path || strings.HasPrefix(f.path, a.path+"/")
	case f.path != "":
		return f.path == a.path || strings.HasPrefix(f.path, a.path+"/") && a.logicalID != ""
	default:
		return f.logicalID == a.logicalID
	}
}

// needless returns what covers nothing in any variant. Some resources, and some
// of what a policy says, are only there with some settings.
func needless(accepted []acceptance, reported []finding) []acceptance {
	type key struct{ rule, appliesTo, path string }
	var order []key
	all := map[key]acceptance{}
	used := map[key]bool{}
	for _, a := range accepted {
		k := key{a.rule, a.appliesTo, a.path}
		if a.general {
			k.path = ""
		}
		if _, seen := all[k]; !seen {
			order = append(order, k)
			all[k] = a
		}
		used[k] = used[k] || slices.ContainsFunc(reported, a.covers)
	}
	var left []acceptance
	for _, k := range order {
		if !used[k] {
			left = append(left, all[k])
		}
	}
	return left
}

// variants are the configurations that are checked: staging, and one with what
// staging leaves out.
func variants(t *testing.T) map[string]config.Config {
	t.Helper()
	other := staging(t)
	other.GitLab.Server.Version, other.GitLab.Runner.Version = "15.4.6", "15.4.2"
	other.GitLab.LoadBalancer.AllowedRanges = []string{"0.0.0.0/0"}
	other.GitLab.LoadBalancer.CertificateARN = ""
	other.GitLab.LoadBalancer.HostedZone = &config.HostedZone{ID: "Z0123456789ABCDEFGHIJ", Name: "example.com"}
	for i := range 20 {
		name := fmt.Sprintf("application-%d", i)
		other.Deploy.DeploymentGroups = append(other.Deploy.DeploymentGroups, config.DeploymentGroup{
			Application: name, DeploymentGroup: name, RequireProtectedRef: true,
			Projects: config.Projects{List: []config.Project{{ID: 1, Path: "team/web"}}}, Refs: []string{"main"},
		})
	}
	other.Pipeline = &examplePipeline
	return map[string]config.Config{"staging": staging(t), "other": other}
}

// Beside the variants, the checkers read staging as it is deployed, with all
// that is accepted told to them, and a bucket with nothing but a name.
const (
	deployed  = "as deployed"
	badBucket = "bad bucket"
)

// checked is what the tests here share, for it takes long.
var checked struct {
	accepted []acceptance
	reported func() []finding
}

// variantApps returns an app for each variant, with nothing told to the checkers.
func variantApps(t *testing.T) map[string]awscdk.App {
	t.Helper()
	apps := map[string]awscdk.App{}
	for variant, cfg := range variants(t) {
		app := newAppAsTheCLI(t)
		stacks.NewGitLab(app, cfg, "..")
		stacks.NewDeploy(app, cfg, "..")
		apps[variant] = app
	}
	return apps
}

func acceptedFindings(t *testing.T) []acceptance {
	t.Helper()
	if checked.accepted == nil {
		apps := variantApps(t)
		for _, variant := range slices.Sorted(maps.Keys(apps)) {
			checked.accepted = append(checked.accepted, acceptancesOf(apps[variant], variant)...)
		}
	}
	return checked.accepted
}

// startCheckers synthesises what is checked, and starts the checkers. A test then
// calls t.Parallel, so that they run beside all tests that need the kernel, and
// asks for reportedFindings when those are done; it may not use the kernel then.
func startCheckers(t *testing.T) {
	t.Helper()
	if checked.reported != nil {
		return
	}
	apps := variantApps(t)
	apps[deployed] = newAppWithStaging(t)
	apps[badBucket] = newBadBucket(t)

	var reported []finding
	var templates []templateFile
	for _, variant := range slices.Sorted(maps.Keys(apps)) {
		reported = append(reported, nagFindings(t, apps[variant], variant)...)
		templates = append(templates, templatesOf(t, apps[variant], variant)...)
	}
	var waits []func() []finding
	for _, start := range []func(*testing.T, []templateFile) func() []finding{lintFindings, checkovFindings, guardFindings} {
		waits = append(waits, start(t, templates))
	}
	checked.reported = sync.OnceValue(func() []finding {
		for _, wait := range waits {
			reported = append(reported, wait()...)
		}
		return reported
	})
}

func reportedFindings(t *testing.T) []finding {
	t.Helper()
	found := checked.reported()
	require.NotEmpty(t, found, "a checker failed: see the other tests")
	return found
}

func acceptancesOf(app awscdk.App, variant string) []acceptance {
	var found []acceptance
	for _, f := range constructs.AcceptedFindings(app) {
		stack := awscdk.Stack_Of(f.Construct)
		a := acceptance{variant: variant, stack: *stack.StackName(), path: *f.Construct.Node().Path(), reason: f.Reason, general: f.General}
		if f.Construct.Node().DefaultChild() != nil || *awscdk.CfnResource_IsCfnResource(f.Construct) {
			resource := constructs.ResourceOf(f.Construct)
			a.logicalID = *stack.GetLogicalId(resource)
		}
		for _, rule := range f.Rules {
			a.rule = rule
			for _, a.appliesTo = range append(f.AppliesTo, make([]string, max(0, 1-len(f.AppliesTo)))...) {
				found = append(found, a)
			}
		}
	}
	return found
}

// Checkers. The programs are started by the functions here, and waited for by
// what these return, so that they run at the same time.

// nagFindings synthesises app under cdk-nag's packs and the CDK's own validation.
func nagFindings(t *testing.T, app awscdk.App, variant string) []finding {
	t.Helper()
	validated(app)
	props := &cdknag.NagPackProps{Reports: jsii.Bool(false)}
	awscdk.Aspects_Of(app).Add(cdknag.NewAwsSolutionsChecks(props), nil)
	awscdk.Aspects_Of(app).Add(cdknag.NewNIST80053R5Checks(props), nil)
	func() {
		// An error of a checker ends synth with a panic; the report is
		// written before.
		defer func() { _ = recover() }()
		app.Synth(nil)
	}()

	raw, err := os.ReadFile(filepath.Join(*app.Outdir(), "validation-report.json"))
	require.NoError(t, err)
	var report struct {
		PluginReports []struct {
			PluginName string
			Violations []struct {
				RuleName, Description string
				ViolatingConstructs   []struct{ ConstructPath string }
			}
		}
	}
	require.NoError(t, json.Unmarshal(raw, &report))
	require.NotEmpty(t, report.PluginReports, "no checker ran")
	var found []finding
	for _, plugin := range report.PluginReports {
		for _, v := range plugin.Violations {
			for _, c := range v.ViolatingConstructs {
				f := finding{checker: cdkValidate, variant: variant, rule: "CloudFormation-Validate::" + v.RuleName, path: c.ConstructPath, message: v.Description}
				// What cdk-nag reports comes as an annotation: its rule stands
				// in front of the text.
				if strings.HasPrefix(v.RuleName, "Annotation::") {
					f.checker = cdkNag
					f.rule, f.message, _ = strings.Cut(v.Description, ": ")
				}
				f.stack, _, _ = strings.Cut(c.ConstructPath, "/")
				found = append(found, f)
			}
		}
	}
	return found
}

// templateFile is a template in a folder of its own variant.
type templateFile struct{ variant, stack, path string }

func templatesOf(t *testing.T, app awscdk.App, variant string) []templateFile {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(*app.Outdir(), "*.template.json"))
	require.NoError(t, err)
	require.NotEmpty(t, paths, "nothing was synthesised")
	var files []templateFile
	for _, path := range paths {
		stack, _, _ := strings.Cut(filepath.Base(path), ".")
		files = append(files, templateFile{variant, stack, path})
	}
	return files
}

// fileOf returns the template that a checker's message is about.
func fileOf(t *testing.T, files []templateFile, path string) templateFile {
	t.Helper()
	for _, f := range files {
		if strings.HasSuffix(f.path, path) {
			return f
		}
	}
	require.Fail(t, "a finding in a file that was not checked: "+path)
	return templateFile{}
}

// answerOf starts a checker, whose exit code only says that it found something.
// The function that it returns waits for the end, and decodes the JSON that was
// printed.
func answerOf(t *testing.T, name string, args ...string) func(answer any) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, startOnAnyProcessor(cmd))
	return func(answer any) {
		t.Helper()
		err := cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(t, err)
		}
		require.NoError(t, json.Unmarshal(stdout.Bytes(), answer), "%s %s: %s%s", name, strings.Join(args, " "), stdout.String(), stderr.String())
	}
}

func lintFindings(t *testing.T, files []templateFile) func() []finding {
	t.Helper()
	args := []string{"--include-checks", "I", "--regions", staging(t).Region, "--format", "json", "--template"}
	for _, f := range files {
		args = append(args, f.path)
	}
	wait := answerOf(t, tool(t, ".venv/bin/cfn-lint"), args...)
	return func() []finding {
		var answer []struct {
			Filename, Message string
			Location          struct{ Path []any }
			Rule              struct{ ID string }
		}
		wait(&answer)
		var found []finding
		for _, a := range answer {
			file := fileOf(t, files, a.Filename)
			f := finding{checker: cfnLint, variant: file.variant, stack: file.stack, rule: a.Rule.ID, message: a.Message}
			if len(a.Location.Path) > 1 && a.Location.Path[0] == "Resources" {
				f.logicalID = fmt.Sprint(a.Location.Path[1])
			}
			found = append(found, f)
		}
		return found
	}
}

func checkovFindings(t *testing.T, files []templateFile) func() []finding {
	t.Helper()
	args := []string{"-m", "checkov.main", "--framework", "cloudformation", "--output", "json", "--quiet", "--compact", "--skip-download"}
	for _, f := range files {
		args = append(args, "--file", f.path)
	}
	wait := answerOf(t, tool(t, ".venv-checkov/bin/python3"), args...)
	return func() []finding {
		var answer struct {
			Results struct {
				FailedChecks []struct {
					CheckID   string `json:"check_id"`
					CheckName string `json:"check_name"`
					FilePath  string `json:"file_abs_path"`
					Resource  string `json:"resource"`
				} `json:"failed_checks"`
				ParsingErrors []string `json:"parsing_errors"`
			} `json:"results"`
		}
		wait(&answer)
		require.Empty(t, answer.Results.ParsingErrors)
		var found []finding
		for _, c := range answer.Results.FailedChecks {
			file := fileOf(t, files, c.FilePath)
			_, id, _ := strings.Cut(c.Resource, ".")
			found = append(found, finding{checker: checkov, variant: file.variant, stack: file.stack, rule: c.CheckID, logicalID: id, message: c.CheckName})
		}
		return found
	}
}

// guardFindings leaves out the templates as they are deployed: cfn-guard takes
// longest, and reads nothing that was told to it.
func guardFindings(t *testing.T, files []templateFile) func() []finding {
	t.Helper()
	files = slices.DeleteFunc(slices.Clone(files), func(f templateFile) bool { return f.variant == deployed })
	platform := map[string]string{"linux": "ubuntu", "darwin": "macos"}[runtime.GOOS]
	architecture := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	home := "node_modules/@cdklabs/cdk-validator-cfnguard/"
	args := []string{"validate", "--output-format", "json", "--show-summary", "none", "--structured", "--rules", tool(t, home+"rules/control-tower/cfn-guard")}
	for _, f := range files {
		args = append(args, "--data", f.path)
	}
	wait := answerOf(t, tool(t, home+filepath.Join("bin", platform, architecture, "cfn-guard")), args...)
	return func() []finding {
		var answer []struct {
			Name         string            `json:"name"`
			NotCompliant []json.RawMessage `json:"not_compliant"`
		}
		wait(&answer)
		var found []finding
		for _, a := range answer {
			file := fileOf(t, files, a.Name)
			for _, raw := range a.NotCompliant {
				for _, f := range guardRule(raw) {
					f.checker, f.variant, f.stack = cfnGuard, file.variant, file.stack
					found = append(found, f)
				}
			}
		}
		return found
	}
}

var (
	controlID    = regexp.MustCompile(`\[(CT\.[A-Z0-9]+\.PR\.[0-9]+)\]: ([^\\]*)`)
	resourcePath = regexp.MustCompile(`"/Resources/([A-Za-z0-9]+)`)
)

// guardRule finds in what cfn-guard says about one rule, a tree that depends on
// how the rule is written, the control and the resources.
func guardRule(raw json.RawMessage) []finding {
	control := controlID.FindSubmatch(raw)
	if control == nil {
		return []finding{{rule: "unreadable", message: string(raw)}}
	}
	var found []finding
	seen := map[string]bool{}
	for _, match := range resourcePath.FindAllSubmatch(raw, -1) {
		if id := string(match[1]); !seen[id] {
			seen[id] = true
			found = append(found, finding{rule: string(control[1]), logicalID: id, message: strings.TrimSpace(string(control[2]))})
		}
	}
	return found
}

// Page.

// findingsPage lists what is accepted, by its reason.
func findingsPage(accepted []acceptance) string {
	type entry struct{ rules, places []string }
	entries := map[string]*entry{}
	for _, a := range accepted {
		e := entries[a.reason]
		if e == nil {
			e = &entry{}
			entries[a.reason] = e
		}
		stack, rest, _ := strings.Cut(a.path, "/")
		account, _, _ := strings.Cut(stack, "-")
		rule := "`" + a.rule + "`"
		if a.appliesTo != "" {
			rule = "`" + a.rule + "[" + a.appliesTo + "]`"
		}
		place := account + "/" + strings.TrimSuffix(rest, "/Resource")
		if a.general {
			place = "each of its type"
		}
		if !slices.Contains(e.rules, rule) {
			e.rules = append(e.rules, rule)
		}
		if !slices.Contains(e.places, place) {
			e.places = append(e.places, place)
		}
	}
	var page strings.Builder
	page.WriteString(`# Accepted findings

Generated by ` + "`go test ./test -run Golden -update`" + ` from the constructs; the text stands next to each resource there. See
[review.md](review.md#findings).

Checkers: cfn-lint with informational rules (` + "`E…`, `W…`, `I…`" + `), the CDK's own validation (` + "`…::…`" + `), cdk-nag with AwsSolutions
and NIST 800-53 revision 5, checkov (` + "`CKV…`" + `), and cfn-guard with AWS Control Tower's proactive controls (` + "`CT.…`" + `). What is not in
this list, they have nothing to say about.

| accepted because | rules | resources |
|---|---|---|
`)
	for _, reason := range slices.Sorted(maps.Keys(entries)) {
		e := entries[reason]
		slices.Sort(e.rules)
		slices.Sort(e.places)
		fmt.Fprintf(&page, "| %s | %s | %s |\n", reason, strings.Join(e.rules, "<br>"), strings.Join(e.places, "<br>"))
	}
	return page.String()
}
