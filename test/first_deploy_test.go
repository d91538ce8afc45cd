package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/inputs"
)

// protectionOn are the parameters after "scripts/ops deploy" has made its second
// step; without any, a stack is being created.
var protectionOn = map[string]string{"Protection": "on"}

// decided returns v with each Fn::If decided, as CloudFormation does with these
// parameters and the defaults of the others.
func (tpl template) decided(t *testing.T, v any, parameters map[string]string) any {
	t.Helper()
	switch v := v.(type) {
	case []any:
		all := make([]any, len(v))
		for i, item := range v {
			all[i] = tpl.decided(t, item, parameters)
		}
		return all
	case map[string]any:
		if choice := list(v["Fn::If"]); len(choice) == 3 {
			equals := list(at(tpl.Conditions, text(choice[0]), "Fn::Equals"))
			require.Len(t, equals, 2, "condition %s", choice[0])
			name := text(at(equals[0], "Ref"))
			value, given := parameters[name]
			if !given {
				value = text(at(tpl.Parameters, name, "Default"))
			}
			if value == equals[1] {
				return tpl.decided(t, choice[1], parameters)
			}
			return tpl.decided(t, choice[2], parameters)
		}
		all := map[string]any{}
		for key, item := range v {
			all[key] = tpl.decided(t, item, parameters)
		}
		return all
	}
	return v
}

// protections returns what in a value refuses a deletion: "DisableApiTermination
// is true". A lock on what is inside, a bucket's or a vault's, does not.
func protections(v any) []string {
	var found []string
	note := func(key string, value any) {
		if refusesDeletion.MatchString(key) && !slices.Contains([]any{nil, false, "false", "off", "INACTIVE"}, value) {
			found = append(found, fmt.Sprintf("%s is %v", key, value))
		}
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			found = append(found, protections(item)...)
		}
	case map[string]any:
		if key, isText := v["Key"].(string); isText {
			note(key, v["Value"])
		}
		for key, item := range v {
			switch item.(type) {
			case []any, map[string]any:
				found = append(found, protections(item)...)
			default:
				note(key, item)
			}
		}
	}
	return found
}

var refusesDeletion = regexp.MustCompile(`(?i)(deletion|termination)_?protect|^DisableApi(Termination|Stop)$`)

// retainedType is what is known of a type that outlives its stack.
type retainedType struct {
	// deleted is what can make its deletion fail, and why it does not while the
	// stack is created; "" when it must not be tried: the policy is Retain then.
	deleted string
	page    string
}

// retainedTypes are the types that outlive their stack. A type that is not here
// has to be looked up first: what makes its deletion fail?
var retainedTypes = map[string]retainedType{
	"AWS::S3::Bucket": {"is refused while it holds an object; nothing may put one there before all the rest exists",
		"https://docs.aws.amazon.com/AmazonS3/latest/userguide/delete-bucket.html"},
	"AWS::EC2::Volume": {"is refused while it is attached; the instance, whose termination ends that, goes first",
		"https://docs.aws.amazon.com/ebs/latest/userguide/ebs-deleting-volume.html"},
	"AWS::EC2::VolumeAttachment": {"", // hangs while the volume is mounted
		"https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-volumeattachment.html"},
	"AWS::Logs::LogGroup": {"takes what it holds along",
		"https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DeleteLogGroup.html"},
	"AWS::SecretsManager::Secret": {"is never refused: a secret without a replica can be deleted at any time",
		"https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_delete-secret.html"},
	"AWS::Backup::BackupVault": {"is refused while it holds a recovery point; nothing makes one before all the rest exists",
		"https://docs.aws.amazon.com/aws-backup/latest/devguide/vaults.html"},
	"AWS::KMS::Key": {"schedules it, and is never refused",
		"https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html"},
}

// logBuckets returns the ids of the buckets that AWS itself writes to as soon as
// they exist.
func logBuckets(tpl template) map[string]bool {
	found := map[string]bool{}
	for _, r := range tpl.Resources {
		for _, id := range references(at(r.Properties, "LoggingConfiguration", "DestinationBucketName")) {
			found[id] = true
		}
		for _, a := range list(r.Properties["LoadBalancerAttributes"]) {
			if strings.HasSuffix(text(at(a, "Key")), "_logs.s3.bucket") {
				for _, id := range references(at(a, "Value")) {
					found[id] = true
				}
			}
		}
	}
	return found
}

// fixedName returns the name that a resource has in every stack of this
// template, or "": what identifies it is in the template, and nothing of that is
// another resource's id or the stack's own.
func fixedName(t *testing.T, r resource) string {
	t.Helper()
	var names []string
	for _, property := range schemaOf(t, r.Type).PrimaryIdentifier {
		value, given := r.Properties[strings.TrimPrefix(property, "/properties/")]
		if !given {
			continue // AWS makes it up
		}
		for _, id := range references(value) {
			if id == "AWS::StackId" || !strings.HasPrefix(id, "AWS::") {
				return ""
			}
		}
		names = append(names, text(value))
	}
	return strings.Join(names, " ")
}

// TestS1_S9_aFailedFirstDeployCanBeUndoneAndRepeated: CloudFormation deletes what
// it made when a creation fails. What refuses that leaves a stack which nothing
// can be done with, and what is left under a fixed name fails the next creation.
func TestS1_S9_aFailedFirstDeployCanBeUndoneAndRepeated(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	seen := map[string]bool{}
	for stack, tpl := range map[string]template{"GitLab": gitlab, "Deploy": deploy} {
		logs := logBuckets(tpl)
		require.NotEmpty(t, logs)
		for id, r := range tpl.Resources {
			assert.Empty(t, protections(tpl.decided(t, r.Properties, nil)), "%s in %s refuses to be deleted while the stack is created", id, stack)
			if r.DeletionPolicy == "" || r.DeletionPolicy == "Delete" {
				continue
			}
			known, isKnown := retainedTypes[r.Type]
			require.True(t, isKnown, "%s is an %s that outlives its stack: say in retainedTypes what can make its deletion fail", id, r.Type)
			seen[r.Type] = true

			if known.deleted == "" || logs[id] {
				assert.Equal(t, "Retain", r.DeletionPolicy, "%s in %s: its deletion would fail the rollback: %s", id, stack, known.page)
				assert.Empty(t, fixedName(t, r), "%s in %s stays when a creation fails, and its name is in the way of the next one", id, stack)
				continue
			}
			assert.Equal(t, "RetainExceptOnCreate", r.DeletionPolicy, "%s in %s stays when a creation fails; its deletion %s: %s", id, stack, known.deleted, known.page)
		}
	}
	for _, typ := range []string{"AWS::S3::Bucket", "AWS::EC2::Volume", "AWS::EC2::VolumeAttachment", "AWS::Logs::LogGroup",
		"AWS::SecretsManager::Secret", "AWS::Backup::BackupVault"} {
		assert.True(t, seen[typ], "no %s is kept any more", typ)
	}
}

// TestS9_whatFillsWhatIsKeptComesLast: a vault with a snapshot and a bucket with
// an object cannot be deleted, so nothing may come into them as long as the
// creation can still fail.
func TestS9_whatFillsWhatIsKeptComesLast(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	fillers := gitlab.ofType(t, "AWS::Backup::BackupSelection")
	for _, id := range gitlab.ofType(t, "AWS::SSM::Association") {
		for _, document := range references(gitlab.Resources[id].Properties) {
			for _, named := range references(gitlab.Resources[document].Properties) { // what it works with stands in the document
				if gitlab.Resources[document].Type == "AWS::SSM::Document" && gitlab.Resources[named].Type == "AWS::S3::Bucket" {
					fillers = append(fillers, id)
				}
			}
		}
	}
	require.GreaterOrEqual(t, len(fillers), 2, "snapshots and nightly backups")
	for _, id := range fillers {
		earlier := gitlab.before(id)
		for _, wait := range gitlab.ofType(t, "AWS::CloudFormation::WaitCondition") {
			assert.True(t, earlier[wait], "%s may fill what is kept before %s has shown that a host works", id, wait)
		}
	}

	bucket, door := "", ""
	for _, id := range deploy.ofType(t, "AWS::S3::BucketPolicy") {
		if strings.Contains(text(deploy.Resources[id].Properties), "UploadThroughEndpoint") {
			bucket, door = text(at(deploy.Resources[id].Properties, "Bucket", "Ref")), id
		}
	}
	require.NotEmpty(t, door)
	earlier := deploy.before(door)
	for id := range deploy.Resources {
		assert.True(t, id == door || earlier[id], "uploads may come into %s before %s exists", bucket, id)
	}
}

// TestS5_theVolumeIsDeletedAfterTheInstanceThatItIsAttachedTo: CloudFormation
// deletes in the reverse order, and leaves the attachment to the termination.
func TestS5_theVolumeIsDeletedAfterTheInstanceThatItIsAttachedTo(t *testing.T) {
	gitlab, _ := synthesiseStaging(t)
	server, _, _ := host(t, gitlab, "ServerInstanceId")
	volume, _ := gitlab.one(t, "AWS::EC2::Volume")
	_, attachment := gitlab.one(t, "AWS::EC2::VolumeAttachment")
	assert.True(t, gitlab.before(server)[volume], "%s may be deleted while %s has it", volume, server)
	assert.Equal(t, "Delete", attachment.UpdateReplacePolicy, "an old attachment would keep the volume from a new server")
}

// TestS1_S5_afterTheFirstDeployNothingCanBeDeletedByMistake: the same templates
// protect what they are to protect, once the parameter is on.
func TestS1_S5_afterTheFirstDeployNothingCanBeDeletedByMistake(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	assert.Equal(t, "off", at(gitlab.Parameters, "Protection", "Default"), "who forgets it must not be locked in")
	var protected []string
	for id, r := range gitlab.Resources {
		for _, what := range protections(gitlab.decided(t, r.Properties, protectionOn)) {
			protected = append(protected, logicalHash.ReplaceAllString(id, "")+": "+what)
		}
	}
	assert.ElementsMatch(t, []string{
		"LoadBalancer: deletion_protection.enabled is true", "ServerInstance: DisableApiTermination is true",
	}, protected)
	assert.NotContains(t, deploy.Parameters, "Protection")

	cfg := staging(t)
	cfg.TerminationProtection = false
	gitlab = synthesiseGitLab(t, cfg)
	assert.NotContains(t, gitlab.Parameters, "Protection", "nothing is to be protected")
	assert.NotContains(t, gitlab.Conditions, "Protected")
	for id, r := range gitlab.Resources {
		assert.Empty(t, protections(r.Properties), id)
	}
}

// TestS1_S9_theFirstStepByThePlainCDKDiffersInTheManifestAlone: "-c create=true"
// leaves the stacks' termination protection out, and changes nothing else.
func TestS1_S9_theFirstStepByThePlainCDKDiffersInTheManifestAlone(t *testing.T) {
	require.NoError(t, inputs.Are("..", "main.go", "go.mod", "stacks", "constructs", "internal", "config", "scripts", "cdk.json"))
	var file struct{ Context map[string]any }
	readJSON(t, "../cdk.json", &file)
	file.Context["aws:cdk:bundling-stacks"] = []string{}
	folders := map[bool]string{}
	for _, create := range []bool{false, true} {
		folders[create] = t.TempDir()
		file.Context["create"] = fmt.Sprint(create)
		context, err := json.Marshal(file.Context)
		require.NoError(t, err)
		app := exec.Command("go", "run", ".")
		app.Dir = ".."
		app.Env = append(os.Environ(), "CDK_OUTDIR="+folders[create], "CDK_CONTEXT_JSON="+string(context), "CDK_VALIDATION=false")
		out, err := app.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	for _, stack := range []string{"GitLab-staging", "Deploy-staging"} {
		templates := map[bool]string{}
		for create, folder := range folders {
			raw, err := os.ReadFile(filepath.Join(folder, stack+".template.json"))
			require.NoError(t, err)
			templates[create] = string(raw)
			var manifest struct {
				Artifacts map[string]struct {
					Properties struct{ TerminationProtection bool }
				}
			}
			readJSON(t, filepath.Join(folder, "manifest.json"), &manifest)
			assert.Equal(t, !create, manifest.Artifacts[stack].Properties.TerminationProtection, "%s with create=%v", stack, create)
		}
		assert.Equal(t, templates[false], templates[true], stack)
	}
}

// TestProtectionsAreSeen keeps the search honest.
func TestProtectionsAreSeen(t *testing.T) {
	for _, properties := range []map[string]any{
		{"DisableApiTermination": true},
		{"DisableApiStop": true},
		{"DeletionProtection": "ACTIVE"},
		{"DeletionProtectionEnabled": true},
		{"Settings": []any{map[string]any{"Key": "deletion_protection.enabled", "Value": "true"}}},
		{"LoadBalancerAttributes": []any{map[string]any{"Key": "deletion_protection.enabled", "Value": map[string]any{"Ref": "Protection"}}}},
	} {
		assert.Len(t, protections(properties), 1, "%v", slices.Collect(maps.Keys(properties)))
	}
	assert.Empty(t, protections(map[string]any{
		"DisableApiTermination": false, "Attributes": []any{map[string]any{"Key": "deletion_protection.enabled", "Value": "false"}},
	}))
}
