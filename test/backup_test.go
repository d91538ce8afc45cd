package test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/backup"
)

// backupStatements returns what the server may do with backups, by Sid.
func backupStatements(t *testing.T, tpl template) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for _, id := range tpl.ofType(t, "AWS::IAM::Policy") {
		policy := tpl.Resources[id].Properties
		for _, s := range statements(policy["PolicyDocument"]) {
			if sid, _ := s["Sid"].(string); strings.HasSuffix(sid, "Backups") {
				assert.Contains(t, text(policy["Roles"]), "ServerRole", "only the server: jobs run code of whoever can push")
				assert.Len(t, list(policy["Roles"]), 1)
				found[sid] = s
			}
		}
	}
	return found
}

func TestS10_theServerKeepsBackupsUnderItsPrefixesAndNothingElse(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	bucket := at(gitlab.Outputs, "BackupBucketName", "Value", "Ref").(string)
	rights := backupStatements(t, gitlab)
	require.Len(t, rights, 3)

	keep := rights["KeepBackups"]
	assert.ElementsMatch(t, []any{"s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject", "s3:DeleteObject"}, keep["Action"],
		"no version can be deleted: what the server removes can be brought back")
	for i, prefix := range []string{"/backups/*", "/secrets/*"} {
		assert.Contains(t, text(at(keep, "Resource", i)), bucket)
		assert.Contains(t, text(at(keep, "Resource", i)), `"`+prefix+`"`)
	}
	assert.Len(t, list(keep["Resource"]), 2)

	assert.Equal(t, "s3:ListBucket", rights["ListBackups"]["Action"])
	assert.Equal(t, map[string]any{"StringLike": map[string]any{"s3:prefix": []any{"backups/*", "secrets/*"}}}, rights["ListBackups"]["Condition"])
	assert.Equal(t, "cloudwatch:PutMetricData", rights["CountBackups"]["Action"])
}

func TestS10_aRemovedBackupCanBeBroughtBackForTheConfiguredDays(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	bucket := gitlab.Resources[at(gitlab.Outputs, "BackupBucketName", "Value", "Ref").(string)]
	var days []any
	for _, rule := range list(at(bucket.Properties, "LifecycleConfiguration", "Rules")) {
		assert.Nil(t, at(rule, "ExpirationInDays"), "the newest backup must not go by its age")
		if d := at(rule, "NoncurrentVersionExpiration", "NoncurrentDays"); d != nil {
			days = append(days, d)
		}
	}
	assert.EqualValues(t, []any{float64(staging(t).GitLab.Backup.DeletedDays)}, days)
}

// TestS10_noVersionOfABackupGoesWhileItCounts: what a server can do that was
// taken over, it does to backups first.
func TestS10_noVersionOfABackupGoesWhileItCounts(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.Backup.KeepDays = 12
	gitlab := synthesiseGitLab(t, cfg)
	bucket := gitlab.Resources[at(gitlab.Outputs, "BackupBucketName", "Value", "Ref").(string)].Properties
	assert.Equal(t, "Enabled", at(bucket, "VersioningConfiguration", "Status"))
	assert.Equal(t, true, bucket["ObjectLockEnabled"])
	assert.Equal(t, map[string]any{
		"ObjectLockEnabled": "Enabled",
		"Rule":              map[string]any{"DefaultRetention": map[string]any{"Mode": "GOVERNANCE", "Days": 12.0}},
	}, bucket["ObjectLockConfiguration"], "compliance mode could not be lifted by anybody, not even for what has to go by law")
}

func TestS10_backupsAreUnderTheBucketsKey(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	bucket := gitlab.Resources[at(gitlab.Outputs, "BackupBucketName", "Value", "Ref").(string)].Properties
	key := at(gitlab.Outputs, "BackupKeyArn", "Value")
	rule := at(bucket, "BucketEncryption", "ServerSideEncryptionConfiguration", 0)
	assert.Equal(t, "aws:kms", at(rule, "ServerSideEncryptionByDefault", "SSEAlgorithm"))
	assert.Equal(t, key, at(rule, "ServerSideEncryptionByDefault", "KMSMasterKeyID"))
	assert.Equal(t, true, at(rule, "BucketKeyEnabled"), "the context that the server's policy names is the one of bucket keys")

	id := at(key, "Fn::GetAtt", 0).(string)
	assert.Equal(t, true, gitlab.Resources[id].Properties["EnableKeyRotation"])
	assert.Contains(t, gitlab.Resources[id].DeletionPolicy, "Retain", "with the key goes everything under it")
	assert.EqualValues(t, 30, gitlab.Resources[id].Properties["PendingWindowInDays"])
	// Operators read manifests, and have no right to the key: package backup tests it.
	assert.Contains(t, read(t, "docs/migration.md"), `--include '*/manifest.json' --sse AES256`)
}

func TestS10_withoutBreakGlassRolesTheServerAloneReadsBackups(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.BreakGlassRoles = nil
	gitlab := synthesiseGitLab(t, cfg)
	bucket := at(gitlab.Outputs, "BackupBucketName", "Value", "Ref").(string)
	for _, id := range gitlab.ofType(t, "AWS::S3::BucketPolicy") {
		policy := gitlab.Resources[id].Properties
		if at(policy, "Bucket", "Ref") != bucket {
			continue
		}
		assert.NotContains(t, text(policy), "BreakGlass")
		for _, s := range statements(policy["PolicyDocument"]) {
			if s["Sid"] == "NobodyElseReadsBackups" {
				assert.Contains(t, text(at(s, "Condition", "ArnNotEquals", "aws:PrincipalArn")), "ServerRole")
			}
		}
	}
}

func TestS10_tenBreakGlassRolesFitThePolicies(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.BreakGlassRoles = nil
	for i := range 10 {
		cfg.GitLab.BreakGlassRoles = append(cfg.GitLab.BreakGlassRoles,
			fmt.Sprintf("arn:aws:iam::%s:role/%s/%s%02d", cfg.GitLab.Account, strings.Repeat("p", 500), strings.Repeat("r", 62), i))
	}
	gitlab := synthesiseGitLab(t, cfg)
	parsed := parse(t, gitlab, cfg.GitLab.Account, cfg, nil)
	for _, id := range parsed.OfType("AWS::S3::BucketPolicy") {
		assert.Less(t, len(text(parsed.Properties(id)["PolicyDocument"])), 20*1024)
	}
	// https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
	for _, id := range parsed.OfType("AWS::KMS::Key") {
		assert.Less(t, len(text(parsed.Properties(id)["KeyPolicy"])), 32*1024)
	}
}

func TestS10_aBackupIsMadeEachNightAtTheConfiguredTime(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.Backup.Time, cfg.GitLab.Backup.KeepDays = "03:05", 12
	gitlab := synthesiseGitLab(t, cfg)
	server, _, _ := host(t, gitlab, "ServerInstanceId")
	found := 0
	for _, id := range gitlab.ofType(t, "AWS::SSM::Association") {
		association := gitlab.Resources[id].Properties
		if at(association, "Parameters", "RunId") == nil {
			continue
		}
		found++
		assert.Equal(t, "cron(5 3 * * ? *)", association["ScheduleExpression"])
		assert.Equal(t, true, association["ApplyOnlyAtCronInterval"], "a deploy must not start a backup")
		assert.Equal(t, []any{ref(server)}, at(association, "Targets", 0, "Values"))
		assert.Equal(t, []any{"nightly"}, at(association, "Parameters", "RunId"))
		assert.Equal(t, []any{"12"}, at(association, "Parameters", "KeepDays"))

		document := gitlab.Resources[at(association, "Name", "Ref").(string)].Properties
		assert.Equal(t, "gitlab-codedeploy-staging-backup", document["Name"])
		declared := parametersOf(document["Content"].(map[string]any))
		assert.Len(t, declared, 2, "who sends it has no say in where a backup goes")
		assert.Equal(t, "set -- backup --bucket '"+whole(at(gitlab.Outputs, "BackupBucketName", "Value"))+
			"' --region 'ap-northeast-1' --environment 'staging' --detach '{{ RunId }}' --keep-days '{{ KeepDays }}'",
			runCommand(document["Content"].(map[string]any))[2])
		for name, value := range association["Parameters"].(map[string]any) {
			require.Contains(t, declared, name)
			if plain, ok := at(value, 0).(string); ok {
				assert.Regexp(t, at(declared[name], "allowedPattern"), plain)
			}
		}
	}
	assert.Equal(t, 1, found)
}

// alarmWith returns the only alarm on a metric.
func alarmWith(t *testing.T, tpl template, metric string) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, id := range tpl.ofType(t, "AWS::CloudWatch::Alarm") {
		if p := tpl.Resources[id].Properties; p["MetricName"] == metric {
			found = append(found, p)
		}
	}
	require.Len(t, found, 1, metric)
	return found[0]
}

// TestS10_anAlarmTellsOfARemovedBackup follows the way from the bucket to the
// people, of which the server can reach nothing.
func TestS10_anAlarmTellsOfARemovedBackup(t *testing.T) {
	cfg := staging(t)
	cfg.GitLab.Backup.KeepDays = 12
	gitlab := synthesiseGitLab(t, cfg)
	bucketRef := at(gitlab.Outputs, "BackupBucketName", "Value")
	bucket := gitlab.Resources[at(bucketRef, "Ref").(string)].Properties
	assert.Equal(t, true, at(bucket, "NotificationConfiguration", "EventBridgeConfiguration", "EventBridgeEnabled"))

	_, rule := gitlab.one(t, "AWS::Events::Rule")
	assert.Equal(t, map[string]any{
		"source": []any{"aws.s3"}, "detail-type": []any{"Object Deleted"},
		"detail": map[string]any{"bucket": map[string]any{"name": []any{bucketRef}}, "deletion-type": []any{"Delete Marker Created"}},
	}, rule.Properties["EventPattern"])
	name := at(gitlab.Outputs, "MarkersFunctionName", "Value")
	id := at(name, "Ref").(string)
	queue := at(gitlab.Outputs, "MarkersDeadLetterQueueUrl", "Value", "Ref").(string)
	assert.Equal(t, getAtt(id, "Arn"), at(rule.Properties, "Targets", 0, "Arn"))
	assert.Equal(t, getAtt(queue, "Arn"), at(rule.Properties, "Targets", 0, "DeadLetterConfig", "Arn"))

	function := gitlab.Resources[id].Properties
	assert.Equal(t, map[string]any{"BACKUP_BUCKET": bucketRef, "KEEP_DAYS": "12"}, at(function, "Environment", "Variables"))
	assert.Equal(t, getAtt(queue, "Arn"), at(function, "DeadLetterConfig", "TargetArn"))

	hidden := alarmWith(t, gitlab, "UnexpectedDeleteMarkers")
	assert.Equal(t, "GitLabCodeDeploy", hidden["Namespace"])
	assert.Equal(t, []any{map[string]any{"Name": "FunctionName", "Value": name}}, hidden["Dimensions"])
	assert.Equal(t, "Maximum", hidden["Statistic"], "the server writes metrics of this namespace: a sum could be made small again")
	assert.Equal(t, "GreaterThanThreshold", hidden["ComparisonOperator"])
	assert.EqualValues(t, 0, hidden["Threshold"])
	for _, other := range []string{"Errors", "ApproximateNumberOfMessagesVisible"} {
		assert.Equal(t, []any{at(gitlab.Outputs, "AlarmTopicArn", "Value")}, alarmWith(t, gitlab, other)["AlarmActions"], other)
	}
	assert.Equal(t, []any{at(gitlab.Outputs, "AlarmTopicArn", "Value")}, hidden["AlarmActions"])
}

func TestS10_anAlarmTellsWhenNoBackupWasCompletedForADay(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	p := alarmsOf(t, gitlab)["BackupMissing"]
	assert.Equal(t, "GitLabCodeDeploy", p["Namespace"], "the only one that the server may write to")
	assert.Equal(t, "BackupsCompleted", p["MetricName"])
	assert.Equal(t, []any{map[string]any{"Name": "Environment", "Value": "staging"}}, p["Dimensions"])
	assert.Equal(t, "breaching", p["TreatMissingData"], "a server that is off counts nothing")
	assert.Equal(t, "LessThanThreshold", p["ComparisonOperator"])
	assert.EqualValues(t, 1, p["Threshold"])
	assert.EqualValues(t, 26*3600, p["Period"].(float64)*p["EvaluationPeriods"].(float64))

	topic := at(gitlab.Outputs, "AlarmTopicArn", "Value")
	assert.Equal(t, []any{topic}, p["AlarmActions"])
	_, subscription := gitlab.one(t, "AWS::SNS::Subscription")
	assert.Equal(t, topic, subscription.Properties["TopicArn"])
	assert.Equal(t, staging(t).GitLab.AlarmEmail, subscription.Properties["Endpoint"])
	// What the server sends is what the alarm waits for.
	assert.Equal(t, backup.MetricNamespace, p["Namespace"])
	assert.Equal(t, backup.MetricName, p["MetricName"])
	assert.Equal(t, []any{map[string]any{"Name": backup.MetricDimension, "Value": "staging"}}, p["Dimensions"])
}

// TestS10_whoRestoresChoosesWhichBackupAndNothingElse: another bucket's content would
// become this GitLab, its users and their passwords.
func TestS10_whoRestoresChoosesWhichBackupAndNothingElse(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	found := 0
	eachDocument(t, func(t *testing.T, name string, content map[string]any) {
		if name != "restore" {
			return
		}
		found++
		assert.ElementsMatch(t, []string{"RunId", "Backup", "AcceptLost", "KeepSignUp"}, slices.Collect(maps.Keys(parametersOf(content))))
		assert.Contains(t, runCommand(content)[2], "set -- restore --bucket '"+whole(at(gitlab.Outputs, "BackupBucketName", "Value"))+"' --region 'ap-northeast-1' --yes 'yes' ")
	})
	assert.Equal(t, 1, found)
}
