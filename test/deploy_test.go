package test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/jsii-runtime-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/constructs"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/stacks"
)

// artifactBucket returns the id of the bucket that jobs upload to, and the
// statements of its policy by Sid.
func artifactBucket(t *testing.T, tpl template) (string, map[string]map[string]any) {
	t.Helper()
	id, _ := at(tpl.Outputs, "ArtifactBucketName", "Value", "Ref").(string)
	require.Contains(t, tpl.Resources, id)
	named := map[string]map[string]any{}
	for _, p := range tpl.ofType(t, "AWS::S3::BucketPolicy") {
		policy := tpl.Resources[p]
		if at(policy.Properties, "Bucket", "Ref") != id {
			continue
		}
		for _, s := range statements(policy.Properties["PolicyDocument"]) {
			if sid, ok := s["Sid"].(string); ok {
				named[sid] = s
			}
		}
	}
	return id, named
}

func TestS9_uploadsComeThroughAccountAsEndpointOnly(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	_, policy := artifactBucket(t, deploy)
	endpoint := ref("SourceVpceId")

	allow := policy["UploadThroughEndpoint"]
	assert.Equal(t, "Allow", allow["Effect"])
	assert.Equal(t, "arn:aws:iam::"+staging(t).GitLab.Account+":root", at(allow, "Principal", "AWS"))
	assert.ElementsMatch(t, []any{"s3:PutObject", "s3:AbortMultipartUpload"}, allow["Action"])
	assert.Equal(t, endpoint, at(allow, "Condition", "StringEquals", "aws:SourceVpce"))

	deny := policy["RefuseUploadsFromElsewhere"]
	assert.Equal(t, "Deny", deny["Effect"])
	assert.Equal(t, "*", deny["Principal"])
	assert.Equal(t, "s3:PutObject", deny["Action"], "a wider Deny locks out the console and the CodeDeploy agents")
	assert.Equal(t, endpoint, at(deny, "Condition", "StringNotEquals", "aws:SourceVpce"))

	for _, s := range []map[string]any{allow, deny} {
		assert.Contains(t, text(s["Resource"]), "/artifacts/*")
	}
}

func TestS15_accountAReadsStatesThroughItsEndpointOnly(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	bucket, policy := artifactBucket(t, deploy)
	read, list := policy["ReadStates"], policy["ListStates"]
	for _, s := range []map[string]any{read, list} {
		assert.Equal(t, "Allow", s["Effect"])
		assert.Equal(t, "arn:aws:iam::"+staging(t).GitLab.Account+":root", at(s, "Principal", "AWS"))
		assert.Equal(t, ref("SourceVpceId"), at(s, "Condition", "StringEquals", "aws:SourceVpce"))
	}
	assert.Equal(t, "s3:GetObject", read["Action"])
	assert.Contains(t, text(read["Resource"]), "/deployments/*")
	assert.Equal(t, "s3:ListBucket", list["Action"])
	assert.Equal(t, getAtt(bucket, "Arn"), list["Resource"])
	assert.Equal(t, "deployments/*", at(list, "Condition", "StringLike", "s3:prefix"))
}

func TestS15_tokensArePutThroughTheEndpointReadByOneRoleAndGoneAfterADay(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	id, policy := artifactBucket(t, deploy)
	put := policy["TokensThroughEndpoint"]
	assert.Equal(t, "s3:PutObject", put["Action"])
	assert.Contains(t, text(put["Resource"]), "/tokens/*")
	assert.Equal(t, ref("SourceVpceId"), at(put, "Condition", "StringEquals", "aws:SourceVpce"))
	assert.Contains(t, text(policy["RefuseUploadsFromElsewhere"]["Resource"]), "/tokens/*")

	keep := policy["OnlyTheTriggerReadsTokens"]
	_, function := functionOf(t, deploy, "TriggerFunctionName")
	assert.Equal(t, "Deny", keep["Effect"])
	assert.Equal(t, function.Properties["Role"], at(keep, "Condition", "ArnNotEquals", "aws:PrincipalArn"))
	assert.NotContains(t, text(keep["Resource"]), "artifacts/", "a wider Deny locks out the CodeDeploy agents")

	for _, rule := range list(at(deploy.Resources[id].Properties, "LifecycleConfiguration", "Rules")) {
		if at(rule, "Id") == "old-tokens" {
			assert.Equal(t, map[string]any{
				"Id": "old-tokens", "Prefix": "tokens/", "Status": "Enabled", "ExpirationInDays": 1.0,
				"NoncurrentVersionExpiration": map[string]any{"NoncurrentDays": 1.0},
			}, rule)
			return
		}
	}
	t.Error("no rule lets tokens expire")
}

// What lies in the functions' packages decides who may deploy. The template shows
// it to a reviewer, who sees but a hash of the package.
func TestS15_theTemplateSaysWhoMayDeploy(t *testing.T) {
	cfg := staging(t)
	groups := &cfg.Deploy.DeploymentGroups
	*groups = append(*groups,
		config.DeploymentGroup{Application: "shop", DeploymentGroup: "open", Projects: config.Projects{Any: true}, RequireProtectedRef: true},
		config.DeploymentGroup{Application: "shop", DeploymentGroup: "closed", RequireProtectedRef: true},
		config.DeploymentGroup{
			Application: "shop", DeploymentGroup: "two", Refs: []string{"main", "v1"},
			Projects: config.Projects{List: []config.Project{{ID: 2, Path: "team/a"}, {ID: 3, Path: "team/b"}}},
		})
	deploy := synthesiseDeploy(t, cfg)
	_, function := functionOf(t, deploy, "TriggerFunctionName")
	assert.Equal(t, []any{
		"sample-web/sample-web-blue-green: 1 team/sample-web from main",
		"shop/open: any project, without a proof",
		"shop/closed: nobody",
		"shop/two: 2 team/a, 3 team/b from main, v1, unprotected too",
	}, function.Metadata["DeploymentGroups"])
	assert.Equal(t, cfg.Keys.IDs(), texts(function.Metadata["GitLabKeys"]))
	require.NotEmpty(t, cfg.Keys.IDs())
}

func texts(v any) (found []string) {
	for _, e := range list(v) {
		found = append(found, e.(string))
	}
	return found
}

// Each synth warns of what nobody should overlook.
func TestS15_aSynthWarnsOfWhoMayDeployWithoutAProof(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*config.Config)
		want   string // of the one warning, "" for none
	}{
		"as it should be": {func(*config.Config) {}, ""},
		"any project":     {func(c *config.Config) { c.Deploy.DeploymentGroups[0].Projects = config.Projects{Any: true} }, "projects: any lets every job that can upload deploy to sample-web/sample-web-blue-green"},
		"no project":      {func(c *config.Config) { c.Deploy.DeploymentGroups[0].Projects = config.Projects{} }, "nothing may deploy to sample-web/sample-web-blue-green"},
		"no keys":         {func(c *config.Config) { c.Keys = nil }, "GitLab's keys are not known, so every upload is refused: run scripts/ops trust"},
		"no keys, no proof": {func(c *config.Config) {
			c.Keys = nil
			c.Deploy.DeploymentGroups[0].Projects = config.Projects{Any: true}
		}, "projects: any"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := staging(t)
			tt.change(&cfg)
			app := newApp(t)
			stack := stacks.NewDeploy(app, cfg, "..")
			constructs.AcceptFindings(app)
			annotations := assertions.Annotations_FromStack(stack)
			warnings := *annotations.FindWarning(jsii.String("*"), assertions.Match_AnyValue())
			if tt.want == "" {
				assert.Empty(t, warnings)
				return
			}
			require.Len(t, warnings, 1)
			assert.NotPanics(t, func() {
				annotations.HasWarning(jsii.String("*"), assertions.Match_StringLikeRegexp(jsii.String(regexp.QuoteMeta(tt.want))))
			})
		})
	}
}

func TestS9_theEndpointIsACheckedParameter(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	parameter := at(deploy.Parameters, "SourceVpceId")
	assert.Equal(t, "String", at(parameter, "Type"))
	assert.Equal(t, "^vpce-[0-9a-f]{8,17}$", at(parameter, "AllowedPattern"))
	assert.Nil(t, at(parameter, "Default"), "a default would be somebody's endpoint")
}

func TestS9_replacedArtifactsEndAndUnfinishedUploadsToo(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	id, _ := artifactBucket(t, deploy)
	rules := text(at(deploy.Resources[id].Properties, "LifecycleConfiguration", "Rules"))
	assert.Contains(t, rules, fmt.Sprintf(`"NoncurrentDays":%d`, staging(t).Deploy.Artifacts.ReplacedVersionDays))
	assert.Contains(t, rules, `"DaysAfterInitiation":7`)
	assert.Contains(t, rules, fmt.Sprintf(`"ExpirationInDays":%d`, staging(t).Deploy.StatusRetentionDays))
}

func TestS14_theBucketTellsTheQueueOfEveryArtifact(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	id, _ := artifactBucket(t, deploy)
	queue := at(deploy.Outputs, "QueueUrl", "Value", "Ref").(string)
	notification := at(deploy.Resources[id].Properties, "NotificationConfiguration", "QueueConfigurations", 0)
	assert.Equal(t, "s3:ObjectCreated:*", at(notification, "Event"), "a large artifact arrives as CompleteMultipartUpload")
	assert.Equal(t, getAtt(queue, "Arn"), at(notification, "Queue"))
	assert.Equal(t, map[string]any{"Name": "prefix", "Value": "artifacts/"}, at(notification, "Filter", "S3Key", "Rules", 0))

	for _, p := range deploy.ofType(t, "AWS::SQS::QueuePolicy") {
		policy := deploy.Resources[p]
		if at(policy.Properties, "Queues", 0, "Ref") != queue {
			continue
		}
		assert.Contains(t, list(deploy.Resources[id].DependsOn), p, "S3 refuses a queue that refuses S3")
		for _, s := range statements(policy.Properties["PolicyDocument"]) {
			if s["Effect"] != "Allow" {
				continue
			}
			assert.Equal(t, "s3.amazonaws.com", at(s, "Principal", "Service"))
			assert.Equal(t, "sqs:SendMessage", s["Action"])
			assert.Contains(t, text(at(s, "Condition", "ArnEquals", "aws:SourceArn")), ":s3:::"+staging(t).Deploy.Artifacts.BucketName)
			assert.Equal(t, staging(t).Deploy.Account, at(s, "Condition", "StringEquals", "aws:SourceAccount"))
		}
	}
}

//fault:words a group is busy for `longestDeploymentHours`, and messages come back at any pace | the queue lets them come for that long
func TestS14_theQueueWaitsLongerThanTheFunctionAndEndsInADeadLetterQueue(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	queue := deploy.Resources[at(deploy.Outputs, "QueueUrl", "Value", "Ref").(string)].Properties
	dead := at(deploy.Outputs, "DeadLetterQueueUrl", "Value", "Ref").(string)
	_, function := functionOf(t, deploy, "TriggerFunctionName")

	timeout, visibility := function.Properties["Timeout"].(float64), queue["VisibilityTimeout"].(float64)
	assert.GreaterOrEqual(t, visibility, 6*timeout)
	receives := at(queue, "RedrivePolicy", "maxReceiveCount").(float64)
	assert.GreaterOrEqual(t, (receives-10)*visibility, float64(staging(t).Deploy.LongestDeploymentHours*60*60),
		"after ten quick tries a message comes back no sooner than the queue would let it, however it comes back")
	assert.EqualValues(t, 360, visibility, "the function's own longest pause: see lambda/deploy/patience.go")
	assert.LessOrEqual(t, receives, 1000.0, "SQS takes no more")
	assert.Equal(t, getAtt(dead, "Arn"), at(queue, "RedrivePolicy", "deadLetterTargetArn"))
	assert.EqualValues(t, 14*24*60*60, deploy.Resources[dead].Properties["MessageRetentionPeriod"], "the longest that SQS keeps")
}

func TestS14_theFunctionTakesTheQueueAndReportsEachFailureByItself(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	id, function := functionOf(t, deploy, "TriggerFunctionName")
	_, mapping := deploy.one(t, "AWS::Lambda::EventSourceMapping")
	queue := at(deploy.Outputs, "QueueUrl", "Value", "Ref").(string)

	assert.Equal(t, getAtt(queue, "Arn"), mapping.Properties["EventSourceArn"])
	assert.Equal(t, ref(id), mapping.Properties["FunctionName"])
	assert.Equal(t, []any{"ReportBatchItemFailures"}, mapping.Properties["FunctionResponseTypes"])
	assert.Equal(t, map[string]any{
		"ARTIFACT_BUCKET": staging(t).Deploy.Artifacts.BucketName,
		"ARTIFACT_PREFIX": staging(t).Deploy.Artifacts.Prefix,
		"QUEUE_URL":       ref(queue),
		"GITLAB_URL":      "https://" + staging(t).GitLab.LoadBalancer.DomainName,
	}, at(function.Properties, "Environment", "Variables"))
}

func TestS14_eachFunctionHasALogOfItsOwn(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	logs := map[string]bool{}
	for _, id := range deploy.ofType(t, "AWS::Lambda::Function") {
		log, _ := at(deploy.Resources[id].Properties, "LoggingConfig", "LogGroup", "Ref").(string)
		require.Contains(t, deploy.Resources, log, id)
		assert.EqualValues(t, staging(t).Deploy.LogRetentionDays, deploy.Resources[log].Properties["RetentionInDays"])
		logs[log] = true
	}
	assert.Len(t, logs, 2)
}

// functionOf returns the function that an output names.
func functionOf(t *testing.T, tpl template, output string) (string, resource) {
	t.Helper()
	id, _ := at(tpl.Outputs, output, "Value", "Ref").(string)
	require.Contains(t, tpl.Resources, id)
	require.Equal(t, "AWS::Lambda::Function", tpl.Resources[id].Type)
	return id, tpl.Resources[id]
}

// actionsOf returns the resources of each action that the role of a function
// may take.
func actionsOf(t *testing.T, tpl template, output string) map[string][]any {
	t.Helper()
	_, function := functionOf(t, tpl, output)
	role := ref(at(function.Properties, "Role", "Fn::GetAtt", 0).(string))
	actions := map[string][]any{}
	for _, id := range tpl.ofType(t, "AWS::IAM::Policy") {
		policy := tpl.Resources[id].Properties
		if text(list(policy["Roles"])) != text([]any{role}) {
			continue
		}
		for _, s := range statements(policy["PolicyDocument"]) {
			for _, action := range list(s["Action"]) {
				actions[action.(string)] = append(actions[action.(string)], list(s["Resource"])...)
			}
		}
	}
	return actions
}

func TestS14_theFunctionsMayDoWhatTheyDoAndNoMore(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	trigger, status := actionsOf(t, deploy, "TriggerFunctionName"), actionsOf(t, deploy, "StatusFunctionName")
	logs := []string{"logs:CreateLogStream", "logs:PutLogEvents"}
	assert.ElementsMatch(t, append([]string{
		"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:PutObjectVersionTagging", "s3:ListBucket", "s3:ListBucketVersions",
		"codedeploy:CreateDeployment", "codedeploy:GetDeploymentGroup", "codedeploy:ListDeployments", "codedeploy:BatchGetDeployments",
		"codedeploy:RegisterApplicationRevision", "codedeploy:GetApplicationRevision", "codedeploy:GetDeploymentConfig",
		"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes",
	}, logs...), slices.Collect(maps.Keys(trigger)))
	assert.ElementsMatch(t, append([]string{
		"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:PutObjectVersionTagging", "s3:ListBucket",
		"codedeploy:GetDeployment", "codedeploy:BatchGetDeployments", "codedeploy:ListDeploymentTargets", "codedeploy:BatchGetDeploymentTargets",
		"sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage",
	}, logs...), slices.Collect(maps.Keys(status)))

	group := staging(t).Deploy.DeploymentGroups[0]
	arn := "arn:aws:codedeploy:ap-northeast-1:" + staging(t).Deploy.Account
	groups := []any{arn + ":deploymentgroup:" + group.Application + "/" + group.DeploymentGroup}
	assert.Equal(t, groups, trigger["codedeploy:CreateDeployment"])
	assert.Equal(t, []any{arn + ":deploymentgroup:*"}, status["codedeploy:GetDeployment"], "a group that left the list may have deployments under way")
	queue, dead := at(deploy.Outputs, "QueueUrl", "Value", "Ref").(string), at(deploy.Outputs, "DeadLetterQueueUrl", "Value", "Ref").(string)
	own := at(deploy.Outputs, "StatusDeadLetterQueueUrl", "Value", "Ref").(string)
	assert.ElementsMatch(t, []any{getAtt(queue, "Arn"), getAtt(own, "Arn")}, status["sqs:SendMessage"])
	assert.ElementsMatch(t, []any{getAtt(dead, "Arn"), getAtt(own, "Arn")}, status["sqs:ReceiveMessage"])
	assert.Equal(t, []any{getAtt(own, "Arn")}, status["sqs:DeleteMessage"], "an upload's letter is looked at and stays")
	assert.Equal(t, []any{arn + ":application:" + group.Application}, trigger["codedeploy:RegisterApplicationRevision"])
	assert.Contains(t, text(trigger["s3:GetObjectVersion"]), "/artifacts/*")
	for _, put := range [][]any{trigger["s3:PutObject"], status["s3:PutObject"]} {
		assert.Contains(t, text(put), "/deployments/*")
		assert.NotContains(t, text(put), "/artifacts/*", "no function can make an artifact")
	}
}

func TestS15_stateChangesOfTheListedApplicationsReachTheStatusFunction(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	id, function := functionOf(t, deploy, "StatusFunctionName")
	rule := stateChangesOf(t, deploy)
	assert.Equal(t, map[string]any{
		"source":      []any{"aws.codedeploy"},
		"detail-type": []any{"CodeDeploy Deployment State-change Notification"},
		"detail":      map[string]any{"application": []any{staging(t).Deploy.DeploymentGroups[0].Application}},
	}, rule.Properties["EventPattern"])
	assert.Equal(t, getAtt(id, "Arn"), at(rule.Properties, "Targets", 0, "Arn"))

	dead := getAtt(at(deploy.Outputs, "StatusDeadLetterQueueUrl", "Value", "Ref").(string), "Arn")
	assert.Equal(t, dead, at(rule.Properties, "Targets", 0, "DeadLetterConfig", "Arn"), "an event that does not reach the function")
	assert.Equal(t, dead, at(function.Properties, "DeadLetterConfig", "TargetArn"), "an event that the function fails on")
}

// stateChangesOf returns the rule that hears of CodeDeploy; the other one is the
// schedule.
func stateChangesOf(t *testing.T, deploy template) resource {
	t.Helper()
	var found []resource
	for _, id := range deploy.ofType(t, "AWS::Events::Rule") {
		if r := deploy.Resources[id]; r.Properties["EventPattern"] != nil {
			found = append(found, r)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

func TestS15_aScheduleLooksAtWhatIsUnfinishedEveryFiveMinutes(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	id, function := functionOf(t, deploy, "StatusFunctionName")
	var schedules []any
	for _, rule := range deploy.ofType(t, "AWS::Events::Rule") {
		if p := deploy.Resources[rule].Properties; p["ScheduleExpression"] != nil {
			assert.Equal(t, getAtt(id, "Arn"), at(p, "Targets", 0, "Arn"))
			schedules = append(schedules, p["ScheduleExpression"])
		}
	}
	assert.Equal(t, []any{"rate(5 minutes)"}, schedules)
	assert.LessOrEqual(t, function.Properties["Timeout"], 300.0, "one run ends before the next one begins")
	for name, output := range map[string]string{
		"QUEUE_URL": "QueueUrl", "DEAD_LETTER_QUEUE_URL": "DeadLetterQueueUrl", "OWN_DEAD_LETTER_QUEUE_URL": "StatusDeadLetterQueueUrl",
	} {
		assert.Equal(t, at(deploy.Outputs, output, "Value"), at(function.Properties, "Environment", "Variables", name))
	}
}

func TestS14_alarmsOfAccountBReachTheConfiguredAddress(t *testing.T) {
	_, deploy := synthesiseStaging(t)
	_, subscription := deploy.one(t, "AWS::SNS::Subscription")
	assert.Equal(t, at(deploy.Outputs, "AlarmTopicArn", "Value"), subscription.Properties["TopicArn"])
	assert.Equal(t, staging(t).Deploy.AlarmEmail, subscription.Properties["Endpoint"])
	assert.EqualValues(t, staging(t).Deploy.LongestDeploymentHours*3600, alarmsOf(t, deploy)["ArtifactsWaitLong"]["Threshold"])
}

// TestS14_alarmsMayPublish: a topic policy takes the place of the default one,
// which let alarms in. Nothing tells that they cannot, until one is missed.
func TestS14_alarmsMayPublish(t *testing.T) {
	each(t, "AWS::SNS::TopicPolicy", func(t *testing.T, _ template, _ string, policy resource) {
		publishers := map[string]map[string]any{}
		for _, s := range statements(policy.Properties["PolicyDocument"]) {
			if s["Effect"] == "Allow" {
				assert.Equal(t, "sns:Publish", s["Action"])
				publishers[text(at(s, "Principal", "Service"))] = s
			}
		}
		require.Len(t, publishers, 1)
		account := at(publishers["cloudwatch.amazonaws.com"], "Condition", "StringEquals", "aws:SourceAccount")
		assert.Contains(t, []any{staging(t).GitLab.Account, staging(t).Deploy.Account}, account)
	})
}

// TestS14_instancesReadTheirOwnApplicationsArtifacts: of a single application all
// of the prefix, of several each its folder.
func TestS14_instancesReadTheirOwnApplicationsArtifacts(t *testing.T) {
	cfg := staging(t)
	require.Len(t, cfg.Deploy.Applications, 1)
	read := func() map[string]string {
		deploy := synthesiseDeploy(t, cfg)
		_, policy := artifactBucket(t, deploy)
		read := map[string]string{}
		for sid, s := range policy {
			if !strings.HasPrefix(sid, "AgentsReadArtifacts") {
				continue
			}
			assert.Equal(t, "Allow", s["Effect"])
			assert.ElementsMatch(t, []any{"s3:GetObject", "s3:GetObjectVersion"}, s["Action"])
			parts := at(s, "Resource", "Fn::Join", 1).([]any)
			require.Len(t, parts, 2, "the bucket, and the keys")
			read[text(at(s, "Principal", "AWS"))] = parts[1].(string)
		}
		return read
	}
	role := func(name string) string { return "arn:aws:iam::" + cfg.Deploy.Account + ":role/" + name }
	assert.Equal(t, map[string]string{role("sample-web-instance"): "/artifacts/*"}, read())

	cfg.Deploy.DeploymentGroups = append(cfg.Deploy.DeploymentGroups, config.DeploymentGroup{Application: "shop", DeploymentGroup: "blue-green"},
		config.DeploymentGroup{Application: "without-readers", DeploymentGroup: "blue-green"})
	cfg.Deploy.Applications = append(cfg.Deploy.Applications, config.Application{Name: "shop", ReaderRoles: []string{"shop-instance"}},
		config.Application{Name: "without-readers"})
	assert.Equal(t, map[string]string{role("sample-web-instance"): "/artifacts/sample-web/*", role("shop-instance"): "/artifacts/shop/*"}, read())
}

func TestS14_withoutAnAddressNobodyIsSubscribed(t *testing.T) {
	cfg := staging(t)
	cfg.Deploy.AlarmEmail = ""
	deploy := synthesiseDeploy(t, cfg)
	for id, r := range deploy.Resources {
		assert.NotEqual(t, "AWS::SNS::Subscription", r.Type, id)
	}
}

// TestS14_manyPairsFitTheTemplate: IAM takes 10,240 characters of inline
// policy a role, whatever the number of applications.
func TestS14_manyPairsFitTheTemplate(t *testing.T) {
	for _, pairs := range []int{16, 17, 1000} {
		t.Run(fmt.Sprint(pairs), func(t *testing.T) {
			cfg := staging(t)
			cfg.Deploy.DeploymentGroups = nil
			for i := range pairs {
				name := strings.Repeat("x", 95) + fmt.Sprintf("%05d", i)
				group := config.DeploymentGroup{Application: name, DeploymentGroup: name, Refs: []string{strings.Repeat("r", 255)}, RequireProtectedRef: true}
				for id := range 50 { // and who may deploy is bounded, too
					group.Projects.List = append(group.Projects.List, config.Project{ID: id + 1, Path: strings.Repeat("p", 127) + "/" + strings.Repeat("q", 127)})
				}
				cfg.Deploy.DeploymentGroups = append(cfg.Deploy.DeploymentGroups, group)
			}
			deploy := synthesiseDeploy(t, cfg)
			inline := map[string]int{}
			for _, id := range deploy.ofType(t, "AWS::IAM::Policy") {
				policy := deploy.Resources[id].Properties
				inline[text(policy["Roles"])] += len(text(policy["PolicyDocument"]))
			}
			for role, size := range inline {
				assert.Less(t, size, 10240, role)
			}
			rule := stateChangesOf(t, deploy)
			assert.Less(t, len(text(rule.Properties["EventPattern"])), 2048)
			assert.Less(t, len(text(deploy.raw)), 1_000_000, "CloudFormation's limit of a template")

			_, function := functionOf(t, deploy, "TriggerFunctionName")
			assert.Len(t, function.Metadata["DeploymentGroups"], pairs, "a reviewer sees every pair")
		})
	}
}
