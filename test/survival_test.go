package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/stacks"
)

// keptRoots are the types of what has to survive, beside the server itself.
var keptRoots = []string{
	"AWS::EC2::Volume", "AWS::EC2::VolumeAttachment", "AWS::S3::Bucket", "AWS::ElasticLoadBalancingV2::LoadBalancer",
	"AWS::SecretsManager::Secret", "AWS::Backup::BackupVault",
}

// protected returns the ids of what has to survive in a stack, and of
// everything that it refers to: subnets, groups, roles.
func protected(t *testing.T, tpl template) []string {
	t.Helper()
	kept := map[string]bool{}
	var keep func(id string)
	keep = func(id string) {
		r, inStack := tpl.Resources[id]
		if !inStack || kept[id] {
			return
		}
		kept[id] = true
		for _, next := range references(r.Properties) {
			keep(next)
		}
	}
	keep(text(at(tpl.Outputs, "ServerInstanceId", "Value", "Ref")))
	for id, r := range tpl.Resources {
		if slices.Contains(keptRoots, r.Type) {
			keep(id)
		}
	}
	require.NotEmpty(t, kept)
	return slices.Sorted(maps.Keys(kept))
}

// denied decides as CloudFormation does by a stack policy: what is not allowed
// is denied, and a denial wins.
func denied(t *testing.T, policy stacks.Protection, action, id, typ string) bool {
	t.Helper()
	allowed := false
	for _, s := range policy.Statement {
		require.Equal(t, "*", s.Principal)
		applies := matchesAny(t, s.Action, action) && matchesAny(t, s.Resource, "LogicalResourceId/"+id)
		for operator, condition := range s.Condition {
			require.Equal(t, "StringEquals", operator)
			require.Equal(t, []string{"ResourceType"}, slices.Collect(maps.Keys(condition)))
			applies = applies && slices.Contains(condition["ResourceType"], typ)
		}
		if applies && s.Effect == "Deny" {
			return true
		}
		allowed = allowed || applies
	}
	return !allowed
}

func matchesAny(t *testing.T, patterns []string, text string) bool {
	t.Helper()
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		// A "*" of a stack policy spans slashes; there is none behind the prefix.
		matched, err := path.Match(strings.Replace(pattern, "LogicalResourceId/", "", 1), strings.Replace(text, "LogicalResourceId/", "", 1))
		require.NoError(t, err)
		return matched
	})
}

// policyOf returns the policy of a stack, "GitLab" or "Deploy", for a deploy of
// cfg.
func policyOf(t *testing.T, cfg config.Config, stack string) stacks.Protection {
	t.Helper()
	policy, has := stacks.Protections(cfg)[stack+"-"+cfg.Environment+".deploy-policy.json"]
	require.True(t, has, stack)
	return policy
}

// refusals returns "id is replaced" of the changes that may happen to what has
// to survive. It fails the test when the policy of a deploy lets one through
// that nobody asked for, or when the switch does not let it through.
func refusals(t *testing.T, stack string, before, after template, cfg config.Config) []string {
	t.Helper()
	cfg.GitLab.Server.AllowReplacement, cfg.Deploy.Artifacts.AllowReplacement = false, false
	shut := policyOf(t, cfg, stack)
	cfg.GitLab.Server.AllowReplacement, cfg.Deploy.Artifacts.AllowReplacement = true, true
	open := policyOf(t, cfg, stack)

	found := changes(t, before, after)
	ids := protected(t, before)
	for _, id := range ids {
		action := "Update:Modify"
		switch found[id] {
		case untouched:
			continue
		case conditional, replaced:
			action = "Update:Replace"
		case deleted:
			action = "Update:Delete"
		}
		typ := before.Resources[id].Type
		assert.Equal(t, found[id] > modified, denied(t, shut, action, id, typ),
			"%s in %s is %s, and the stack's policy decides so about %s", id, stack, found[id], action)
		assert.False(t, denied(t, open, action, id, typ), "%s in %s: the switch does not allow %s", id, stack, action)
	}
	return atLeast(found, ids, conditional)
}

// TestS5_S9_nothingThatHasToSurviveCanBeReplaced: whatever the reason of a
// change is, a new version of the CDK as well, CloudFormation refuses it.
func TestS5_S9_nothingThatHasToSurviveCanBeReplaced(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	for stack, tpl := range map[string]template{"GitLab": gitlab, "Deploy": deploy} {
		policy := policyOf(t, staging(t), stack)
		for _, id := range protected(t, tpl) {
			typ := tpl.Resources[id].Type
			assert.True(t, denied(t, policy, "Update:Replace", id, typ), "%s (%s) may be replaced", id, typ)
			assert.True(t, denied(t, policy, "Update:Delete", id, typ), "%s (%s) may be deleted", id, typ)
			assert.False(t, denied(t, policy, "Update:Modify", id, typ), "%s (%s) may not be changed", id, typ)
		}
	}
}

// TestS11_S14_whatHoldsNothingMayBeReplaced: a policy that refuses too much is
// switched off for good by the next one who meets it.
func TestS11_S14_whatHoldsNothingMayBeReplaced(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	runner, _, _ := host(t, gitlab, "RunnerInstanceId")
	shut := policyOf(t, staging(t), "GitLab")
	assert.False(t, denied(t, shut, "Update:Replace", runner, "AWS::EC2::Instance"))
	for _, typ := range []string{"AWS::SSM::Document", "AWS::ElasticLoadBalancingV2::TargetGroup", "AWS::EC2::SecurityGroupIngress"} {
		for _, id := range gitlab.ofType(t, typ) {
			assert.False(t, denied(t, shut, "Update:Replace", id, typ), id)
			assert.False(t, denied(t, shut, "Update:Delete", id, typ), id)
		}
	}
	for _, id := range deploy.ofType(t, "AWS::Lambda::Function") {
		assert.False(t, denied(t, policyOf(t, staging(t), "Deploy"), "Update:Replace", id, "AWS::Lambda::Function"), id)
	}
}

// TestS11_theRunnerIsReplacedWithoutASwitchAndAwaited: nothing on it is worth a
// refused deploy, and a host that was not waited for is one that nobody knows to
// be broken.
func TestS11_theRunnerIsReplacedWithoutASwitchAndAwaited(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	before, instance, _ := host(t, gitlab, "RunnerInstanceId")
	assert.NotEqual(t, true, instance.Properties["DisableApiTermination"], "CloudFormation could not remove the old host")

	for _, key := range []string{
		"gitlab.runner.generation", "gitlab.runner.imageId", "gitlab.runner.rootVolumeGiB", "gitlab.runner.instanceType",
		"gitlab.network.vpcCidr", "gitlab.network.zones", "gitlab.network.gitlabSubnet",
	} {
		t.Run(key, func(t *testing.T) {
			cfg := staging(t)
			configCases[key].change(&cfg)
			after := synthesiseGitLab(t, cfg)
			found := changes(t, gitlab, after)
			require.GreaterOrEqual(t, found[before], conditional, "the case replaces no runner")

			now, _, _ := host(t, after, "RunnerInstanceId")
			association, _ := associationOf(t, after, now)
			for _, id := range append(waitsFor(t, after, association), association) {
				assert.Equal(t, created, found[id], "%s of the new host is %s: it would not be waited for", id, found[id])
			}
			if strings.HasPrefix(key, "gitlab.network.") {
				return // what it takes along is protected
			}
			for id, change := range found {
				action := map[bool]string{true: "Update:Delete", false: "Update:Replace"}[change == deleted]
				assert.False(t, change >= conditional && denied(t, policyOf(t, cfg, "GitLab"), action, id, gitlab.Resources[id].Type),
					"%s is %s for a new runner, and the stack's policy refuses it", id, change)
			}
		})
	}
}

// waitsFor returns the wait condition that an association ends, and its handle.
func waitsFor(t *testing.T, tpl template, association string) []string {
	t.Helper()
	handle := text(at(tpl.Resources[association].Properties, "Parameters", "SignalUrl", 0, "Ref"))
	for _, id := range tpl.ofType(t, "AWS::CloudFormation::WaitCondition") {
		if at(tpl.Resources[id].Properties, "Handle", "Ref") == handle {
			return []string{id, handle}
		}
	}
	require.Fail(t, "nothing waits for "+association)
	return nil
}

// TestReplacementsAreSeen keeps the computation honest: a replaced network
// takes everything in it along.
func TestReplacementsAreSeen(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	cfg := staging(t)
	cfg.GitLab.Network.VPCCIDR = "10.20.0.0/17"
	after := synthesiseGitLab(t, cfg)
	found := changes(t, gitlab, after)
	server, _, _ := host(t, gitlab, "ServerInstanceId")
	volume, _ := gitlab.one(t, "AWS::EC2::Volume")
	attachment, _ := gitlab.one(t, "AWS::EC2::VolumeAttachment")
	balancer, _ := gitlab.one(t, "AWS::ElasticLoadBalancingV2::LoadBalancer")
	vpc, _ := gitlab.one(t, "AWS::EC2::VPC")
	for id, want := range map[string]change{vpc: replaced, server: replaced, attachment: replaced, volume: untouched, balancer: modified} {
		assert.Equal(t, want, found[id], "%s is %s", id, found[id])
	}
	assert.Empty(t, changes(t, gitlab, gitlab))
}

// TestS5_S9_dailyChangesTouchNothingThatHasToSurvive: edits that are no change
// of the configuration.
func TestS5_S9_dailyChangesTouchNothingThatHasToSurvive(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)

	t.Run("the hosts' program is changed", func(t *testing.T) {
		before, err := json.Marshal(gitlab.raw)
		require.NoError(t, err)
		hash := regexp.MustCompile(`hash=([0-9a-f]{64})`).FindSubmatch(before)
		require.NotNil(t, hash)
		changed := strings.ReplaceAll(string(before), string(hash[1]), strings.Repeat("0", 64))
		var after template
		require.NoError(t, json.Unmarshal([]byte(changed), &after))
		require.NoError(t, json.Unmarshal([]byte(changed), &after.raw))
		found := changes(t, gitlab, after)
		for _, id := range gitlab.ofType(t, "AWS::SSM::Document") {
			if gitlab.Resources[id].Metadata["Command"] == nil {
				continue // of AWS, one after the other
			}
			assert.GreaterOrEqual(t, found[id], modified, id)
		}
		assert.Empty(t, atLeast(found, protected(t, gitlab), modified))
	})

	t.Run("every switch of the CDK falls back to its default", func(t *testing.T) {
		context := map[string]any{
			"aws:cdk:bundling-stacks": []string{},
			// Without it, access logs would ask for ACLs, which the buckets refuse.
			"@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": true,
		}
		outdir := t.TempDir()
		app := awscdk.NewApp(&awscdk.AppProps{Context: &context, Outdir: &outdir})
		a, b := stacks.NewGitLab(app, staging(t), ".."), stacks.NewDeploy(app, staging(t), "..")
		// Some do replace: that is what the policy is for.
		refusals(t, "GitLab", gitlab, templateOf(t, a), staging(t))
		refusals(t, "Deploy", deploy, templateOf(t, b), staging(t))
	})
}

// configCase is a change of one key that a user could make.
type configCase struct {
	change func(*config.Config)
	// elsewhere are the stacks, "GitLab" or "Deploy", that the change makes anew
	// in another place, and leaves as they are where they were.
	elsewhere []string
}

// configCases has a case for every key of the configuration.
var configCases = map[string]configCase{
	"environment":           {func(c *config.Config) { c.Environment = "production" }, []string{"GitLab", "Deploy"}},
	"region":                {func(c *config.Config) { c.Region = "ap-northeast-3" }, []string{"GitLab", "Deploy"}},
	"terminationProtection": {func(c *config.Config) { c.TerminationProtection = false }, nil},

	"gitlab.account":                             {func(c *config.Config) { c.GitLab.Account = "333333333333" }, []string{"GitLab"}},
	"gitlab.network.vpcCidr":                     {func(c *config.Config) { c.GitLab.Network.VPCCIDR = "10.20.0.0/17" }, nil},
	"gitlab.network.zones":                       {func(c *config.Config) { slices.Reverse(c.GitLab.Network.Zones) }, nil},
	"gitlab.network.publicSubnets":               {func(c *config.Config) { c.GitLab.Network.PublicSubnets[1] = "10.20.2.0/24" }, nil},
	"gitlab.network.gitlabSubnet":                {func(c *config.Config) { c.GitLab.Network.GitLabSubnet = "10.20.32.0/24" }, nil},
	"gitlab.network.readableBuckets":             {func(c *config.Config) { c.GitLab.Network.ReadableBuckets = []string{"another-bucket"} }, nil},
	"gitlab.loadBalancer.allowedRanges":          {func(c *config.Config) { c.GitLab.LoadBalancer.AllowedRanges = []string{"198.51.100.0/24"} }, nil},
	"gitlab.loadBalancer.domainName":             {func(c *config.Config) { c.GitLab.LoadBalancer.DomainName = "git.example.com" }, nil},
	"gitlab.loadBalancer.certificateArn":         {func(c *config.Config) { c.GitLab.LoadBalancer.CertificateARN = otherCertificate }, nil},
	"gitlab.loadBalancer.hostedZone.id":          {func(c *config.Config) { inHostedZone(c, "Z0123456789ABCDEFGHIJ") }, nil},
	"gitlab.loadBalancer.hostedZone.name":        {func(c *config.Config) { inHostedZone(c, "Z0123456789ABCDEFGHIJ") }, nil},
	"gitlab.server.version":                      {func(c *config.Config) { c.GitLab.Server.Version = "15.4.6" }, nil},
	"gitlab.server.edition":                      {func(c *config.Config) { c.GitLab.Server.Edition = "ee" }, nil},
	"gitlab.server.operatingSystem":              {func(c *config.Config) { c.GitLab.Server.OperatingSystem = config.AmazonLinux2 }, nil},
	"gitlab.server.imageId":                      {func(c *config.Config) { c.GitLab.Server.ImageID = "ami-0fedcba9876543210" }, nil},
	"gitlab.server.instanceType":                 {func(c *config.Config) { c.GitLab.Server.InstanceType = "m5.2xlarge" }, nil},
	"gitlab.server.rootVolumeGiB":                {func(c *config.Config) { c.GitLab.Server.RootVolumeGiB++ }, nil},
	"gitlab.server.dataVolumeGiB":                {func(c *config.Config) { c.GitLab.Server.DataVolumeGiB++ }, nil},
	"gitlab.server.dataVolumeId":                 {func(c *config.Config) { c.GitLab.Server.DataVolumeID = "vol-0fedcba9876543210" }, nil},
	"gitlab.server.snapshotKeepDays":             {func(c *config.Config) { c.GitLab.Server.SnapshotKeepDays++ }, nil},
	"gitlab.server.generation":                   {func(c *config.Config) { c.GitLab.Server.Generation++ }, nil},
	"gitlab.server.allowReplacement":             {func(c *config.Config) { c.GitLab.Server.AllowReplacement = true }, nil},
	"gitlab.server.packageRepositoryUrl":         {func(c *config.Config) { c.GitLab.Server.PackageRepositoryURL = "https://mirror.example.com" }, nil},
	"gitlab.runner.version":                      {func(c *config.Config) { c.GitLab.Runner.Version = "13.10.1" }, nil},
	"gitlab.runner.operatingSystem":              {func(c *config.Config) { c.GitLab.Runner.OperatingSystem = config.AmazonLinux2 }, nil},
	"gitlab.runner.imageId":                      {func(c *config.Config) { c.GitLab.Runner.ImageID = "ami-0fedcba9876543210" }, nil},
	"gitlab.runner.instanceType":                 {func(c *config.Config) { c.GitLab.Runner.InstanceType = "t3.xlarge" }, nil},
	"gitlab.runner.rootVolumeGiB":                {func(c *config.Config) { c.GitLab.Runner.RootVolumeGiB++ }, nil},
	"gitlab.runner.generation":                   {func(c *config.Config) { c.GitLab.Runner.Generation++ }, nil},
	"gitlab.runner.concurrentJobs":               {func(c *config.Config) { c.GitLab.Runner.ConcurrentJobs++ }, nil},
	"gitlab.runner.jobImage":                     {func(c *config.Config) { c.GitLab.Runner.JobImage = "debian:13" }, nil},
	"gitlab.runner.tags":                         {func(c *config.Config) { c.GitLab.Runner.Tags = []string{"other"} }, nil},
	"gitlab.runner.packageRepositoryUrl":         {func(c *config.Config) { c.GitLab.Runner.PackageRepositoryURL = "https://mirror.example.com" }, nil},
	"gitlab.backup.time":                         {func(c *config.Config) { c.GitLab.Backup.Time = "19:00" }, nil},
	"gitlab.backup.keepDays":                     {func(c *config.Config) { c.GitLab.Backup.KeepDays++ }, nil},
	"gitlab.backup.deletedDays":                  {func(c *config.Config) { c.GitLab.Backup.DeletedDays++ }, nil},
	"gitlab.securityUpdates.enabled":             {func(c *config.Config) { c.GitLab.SecurityUpdates.Enabled = false }, nil},
	"gitlab.securityUpdates.day":                 {func(c *config.Config) { c.GitLab.SecurityUpdates.Day = "SUN" }, nil},
	"gitlab.securityUpdates.time":                {func(c *config.Config) { c.GitLab.SecurityUpdates.Time = "21:00" }, nil},
	"gitlab.alarmEmail":                          {func(c *config.Config) { c.GitLab.AlarmEmail = "" }, nil},
	"gitlab.breakGlassRoles":                     {func(c *config.Config) { c.GitLab.BreakGlassRoles = []string{"other"} }, nil},
	"gitlab.logRetentionDays":                    {func(c *config.Config) { c.GitLab.LogRetentionDays = 30 }, nil},
	"deploy.account":                             {func(c *config.Config) { c.Deploy.Account = "333333333333" }, []string{"Deploy"}},
	"deploy.artifacts.bucketName":                {func(c *config.Config) { c.Deploy.Artifacts.BucketName = "another-bucket" }, nil},
	"deploy.artifacts.prefix":                    {func(c *config.Config) { c.Deploy.Artifacts.Prefix = "releases/" }, nil},
	"deploy.artifacts.replacedVersionDays":       {func(c *config.Config) { c.Deploy.Artifacts.ReplacedVersionDays++ }, nil},
	"deploy.artifacts.allowReplacement":          {func(c *config.Config) { c.Deploy.Artifacts.AllowReplacement = true }, nil},
	"deploy.logRetentionDays":                    {func(c *config.Config) { c.Deploy.LogRetentionDays = 30 }, nil},
	"deploy.longestDeploymentHours":              {func(c *config.Config) { c.Deploy.LongestDeploymentHours++ }, nil},
	"deploy.statusRetentionDays":                 {func(c *config.Config) { c.Deploy.StatusRetentionDays++ }, nil},
	"deploy.alarmEmail":                          {func(c *config.Config) { c.Deploy.AlarmEmail = "" }, nil},
	"deploy.applications[0].name":                {func(c *config.Config) { c.Deploy.Applications[0].Name = "other" }, nil},
	"deploy.applications[0].readerRoles":         {func(c *config.Config) { c.Deploy.Applications[0].ReaderRoles = []string{"other"} }, nil},
	"deploy.deploymentGroups[0].application":     {func(c *config.Config) { c.Deploy.DeploymentGroups[0].Application = "other" }, nil},
	"deploy.deploymentGroups[0].deploymentGroup": {func(c *config.Config) { c.Deploy.DeploymentGroups[0].DeploymentGroup = "other" }, nil},
	"deploy.deploymentGroups[0].projects[0].id":  {func(c *config.Config) { c.Deploy.DeploymentGroups[0].Projects.List[0].ID++ }, nil},
	"deploy.deploymentGroups[0].projects[0].path": {func(c *config.Config) {
		c.Deploy.DeploymentGroups[0].Projects.List[0].Path = "other/project"
	}, nil},
	"deploy.deploymentGroups[0].refs": {func(c *config.Config) { c.Deploy.DeploymentGroups[0].Refs = []string{"release"} }, nil},
	"deploy.deploymentGroups[0].requireProtectedRef": {func(c *config.Config) {
		c.Deploy.DeploymentGroups[0].RequireProtectedRef = false
	}, nil},

	"pipeline.issuerUrl":        {func(c *config.Config) { trusted(c).IssuerURL = "https://gitlab.com" }, nil},
	"pipeline.projectPath":      {func(c *config.Config) { trusted(c).ProjectPath = "other/project" }, nil},
	"pipeline.branch":           {func(c *config.Config) { trusted(c).Branch = "release" }, nil},
	"pipeline.forkPipelines":    {func(c *config.Config) { trusted(c).ForkPipelines = config.ForksOff }, nil},
	"pipeline.existingProvider": {func(c *config.Config) { trusted(c).ExistingProvider = true }, nil},
}

// trusted lets a pipeline in, which staging does not.
func trusted(c *config.Config) *config.Pipeline {
	pipeline := examplePipeline
	c.Pipeline = &pipeline
	return c.Pipeline
}

const otherCertificate = "arn:aws:acm:ap-northeast-1:111111111111:certificate/00000000-0000-0000-0000-000000000000"

func inHostedZone(c *config.Config, id string) {
	c.GitLab.LoadBalancer.CertificateARN = ""
	c.GitLab.LoadBalancer.HostedZone = &config.HostedZone{ID: id, Name: "example.com"}
}

// configKeys returns the keys of a type of the configuration that have values
// of their own.
func configKeys(of reflect.Type, prefix string) []string {
	var keys []string
	for i := range of.NumField() {
		key, _, _ := strings.Cut(of.Field(i).Tag.Get("yaml"), ",")
		field := of.Field(i).Type
		if key == "-" {
			continue
		}
		if field == reflect.TypeFor[config.Projects]() { // or the word any
			field = reflect.TypeFor[[]config.Project]()
		}
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		switch {
		case field.Kind() == reflect.Struct:
			keys = append(keys, configKeys(field, prefix+key+".")...)
		case field.Kind() == reflect.Slice && field.Elem().Kind() == reflect.Struct:
			keys = append(keys, configKeys(field.Elem(), prefix+key+"[0].")...)
		default:
			keys = append(keys, prefix+key)
		}
	}
	return keys
}

// TestGolden_S5_S9_noChangeOfTheConfigurationReplacesWhatHasToSurvive makes every
// change, and writes what each does into docs/changes.md.
func TestGolden_S5_S9_noChangeOfTheConfigurationReplacesWhatHasToSurvive(t *testing.T) {
	keys := configKeys(reflect.TypeFor[config.Config](), "")
	for _, key := range keys {
		_, has := configCases[key]
		assert.True(t, has, "configCases needs a change of the key %s", key)
	}
	assert.Len(t, configCases, len(keys), "configCases has a key that the configuration does not have")
	before := map[string]template{}
	before["GitLab"], before["Deploy"] = synthesiseStaging(t)

	var rows strings.Builder
	for _, key := range keys {
		changed, has := configCases[key]
		if !has {
			continue
		}
		cfg := staging(t)
		changed.change(&cfg)
		after := map[string]template{}
		after["GitLab"], after["Deploy"] = synthesise(t, cfg)
		var others, refused, inPlace []string
		for _, stack := range []string{"GitLab", "Deploy"} {
			if slices.Contains(changed.elsewhere, stack) {
				continue
			}
			refused = append(refused, refusals(t, stack, before[stack], after[stack], cfg)...)
			found := changes(t, before[stack], after[stack])
			kept := protected(t, before[stack])
			inPlace = append(inPlace, atLeast(found, kept, modified)...)
			others = append(others, atLeast(found, slices.DeleteFunc(slices.Sorted(maps.Keys(found)), func(id string) bool { return slices.Contains(kept, id) }), created)...)
		}
		// Who may deploy goes into a function's package, which tests do not build.
		_, was := functionOf(t, before["Deploy"], "TriggerFunctionName")
		_, is := functionOf(t, after["Deploy"], "TriggerFunctionName")
		if text(was.Metadata["DeploymentGroups"]) != text(is.Metadata["DeploymentGroups"]) {
			others = append(others, "package of the trigger")
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", strings.ReplaceAll(key, "[0]", ""), outcome(changed, refused, inPlace, others), listed(refused, inPlace))
	}
	compareFile(t, "../docs/changes.md", changesPage(t, before, rows.String()))
}

// outcome says in a word what a deploy of a changed key does.
func outcome(c configCase, refused, inPlace, others []string) string {
	switch {
	case len(c.elsewhere) == 2:
		return "other stacks; these stay"
	case len(c.elsewhere) == 1:
		return fmt.Sprintf("another `%s` stack; this one stays", c.elsewhere[0])
	case slices.ContainsFunc(refused, func(r string) bool { return !strings.HasSuffix(r, conditional.String()) }):
		return "**refused**"
	case len(refused) > 0:
		return "in place if EC2 can, with a stop; else **refused**"
	case len(inPlace) > 0:
		return "in place"
	case len(others) > 0:
		return "none of them"
	}
	return "nothing"
}

// listed names what has to survive and is changed, the worst only, without the
// hash that ends a logical id.
func listed(refused, inPlace []string) string {
	lines := inPlace
	if len(refused) > 0 {
		lines = refused
	}
	byChange := map[string][]string{}
	for _, line := range lines {
		id, how, _ := strings.Cut(line, " is ")
		byChange[how] = append(byChange[how], logicalHash.ReplaceAllString(id, ""))
	}
	var parts []string
	for _, how := range slices.Sorted(maps.Keys(byChange)) {
		parts = append(parts, how+": "+strings.Join(slices.Compact(slices.Sorted(slices.Values(byChange[how]))), ", "))
	}
	return strings.Join(parts, "; ")
}

var logicalHash = regexp.MustCompile(`[0-9A-F]{8}$`)

// changesPage is docs/changes.md.
func changesPage(t *testing.T, before map[string]template, rows string) string {
	t.Helper()
	var page strings.Builder
	page.WriteString(`# What a change does

Generated from the templates and from CloudFormation's own resource schemas: ` + "`go test ./test -run Golden -update`" + `.
Do not edit.

What has to survive is the server, its data volume, the buckets, the load balancer, the root password, the vault of
snapshots, and everything that these refer to. CloudFormation itself refuses a deploy that would replace or delete one of
them ([why](adr/0013-cloudformation-refuses-replacements.md)), unless ` + "`gitlab.server.allowReplacement`" + ` (account A) or
` + "`deploy.artifacts.allowReplacement`" + ` (account B) is set. A refused deploy is undone, and nothing is lost.
Nor does the deletion of the stack delete what holds data; only a first deploy that fails takes its empty beginnings along
([why](adr/0020-create-then-protect.md)).

## Keys of the configuration

| key | a deploy of another value | of what has to survive |
|---|---|---|
`)
	page.WriteString(rows)
	page.WriteString(`
## What cannot be changed in place

The properties in the templates whose change means another resource; with a ?, it depends on the values.

| resource | type | properties |
|---|---|---|
`)
	for _, stack := range []string{"GitLab", "Deploy"} {
		for _, id := range protected(t, before[stack]) {
			r := before[stack].Resources[id]
			schema := schemaOf(t, r.Type)
			var properties []string
			for mark, paths := range map[string][]string{"": schema.CreateOnlyProperties, "?": schema.ConditionalCreateOnlyProperties} {
				for _, path := range paths {
					if values := valuesAt(r, path); len(values.([]any)) > 0 {
						properties = append(properties, strings.ReplaceAll(strings.TrimPrefix(path, "/properties/"), "/", ".")+mark)
					}
				}
			}
			slices.Sort(properties)
			fmt.Fprintf(&page, "| %s %s | %s | %s |\n", stack, logicalHash.ReplaceAllString(id, ""), r.Type, strings.Join(properties, ", "))
		}
	}
	return page.String()
}

// compareFile compares a generated file, or writes it with -update.
func compareFile(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, want, string(got), "%s is not what the templates say; if that is meant, run the tests with -update", path)
}
