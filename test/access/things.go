package access

import (
	"regexp"
	"strings"

	"gitlab-codedeploy/test/cfn"
)

// thing is what a request is about.
type thing struct {
	arn, account string
	policy       any  // its resource policy, nil without one
	blocked      bool // the bucket blocks public access
}

// thing returns the thing of a name; of a bucket "<bucket>/<key>" is an
// object.
func (w *World) thing(name string) thing {
	bucket, key, isObject := strings.Cut(name, "/")
	t, isBucket := w.bucket(bucket)
	if !isBucket {
		return w.resource(name)
	}
	if isObject {
		if key == "the job's program" {
			key = w.programArgument("key")
		}
		t.arn += "/" + key
	}
	return t
}

func (w *World) bucket(name string) (thing, bool) {
	region := w.A.Region()
	// What AWS documents as readable by everybody.
	public := func(bucket string) (thing, bool) {
		arn := "arn:aws:s3:::" + bucket
		return thing{arn: arn, account: accountAWS, policy: document(statement("Allow", "*", "s3:GetObject", arn+"/*"))}, true
	}
	strange := func(bucket string, principal any) (thing, bool) {
		arn := "arn:aws:s3:::" + bucket
		t := thing{arn: arn, account: accountC}
		if principal != nil {
			t.policy = document(statement("Allow", principal, "s3:*", []any{arn, arn + "/*"}))
		}
		return t, true
	}
	switch name {
	case "artifacts":
		return w.ownBucket(w.B, w.artifacts()), true
	case "programs":
		// The CDK's bucket of assets, as its bootstrap makes it: no policy lets
		// anybody in.
		return thing{arn: "arn:aws:s3:::" + w.programArgument("bucket"), account: w.A.Account(), blocked: true}, true
	case "programs of the same name, a stranger's":
		arn := "arn:aws:s3:::" + w.programArgument("bucket")
		return thing{arn: arn, account: accountC, policy: document(statement("Allow", "*", "s3:*", []any{arn, arn + "/*"}))}, true
	case "backups":
		return w.ownBucket(w.A, w.A.Output("BackupBucketName")), true
	case "access logs of B":
		logging, _ := w.B.Properties(w.artifacts())["LoggingConfiguration"].(map[string]any)
		return w.ownBucket(w.B, w.bucketNamed(w.B, logging["DestinationBucketName"])), true
	case "Amazon Linux 2":
		return public("amazonlinux-2-repos-" + region)
	case "Amazon Linux 2 of old":
		return public("amazonlinux." + region + ".amazonaws.com")
	case "Amazon Linux 2023":
		return public("al2023-repos-" + region + "-de612dc2")
	case "SSM Agent":
		return public("amazon-ssm-" + region)
	case "SSM documents":
		return public("aws-ssm-" + region)
	case "SSM packages":
		return public("amazon-ssm-packages-" + region)
	case "SSM attachments":
		return public("aws-ssm-document-attachments-" + region)
	case "patch baselines":
		return public("patch-baseline-snapshot-" + region)
	case "patch manager":
		return public("aws-patch-manager-" + region + "-0123456789")
	case "wait conditions":
		return public("cloudformation-waitcondition-" + region)
	case "image layers":
		return public("prod-" + region + "-starport-layer-bucket")
	case "image layers of Docker Hub":
		return public("docker-images-prod")
	case "image layers of Docker Hub in another bucket":
		return public("docker-images-prod-" + region)
	case "a bucket that looks like Docker Hub's":
		return strange("docker-images-prod-stranger", "*")
	case "image layers of Kubernetes":
		return public("prod-registry-k8s-io-" + region)
	case "a public bucket":
		return public("public-bucket")
	case "a readable bucket":
		return public(w.ReadableBucket)
	case "a stranger's bucket":
		return strange("stranger", nil)
	case "a stranger's bucket that invites us":
		return strange("stranger", map[string]any{"AWS": "arn:aws:iam::" + w.A.Account() + ":root"})
	case "a stranger's bucket of the same name":
		return strange(w.B.Ref(w.artifacts()), map[string]any{"AWS": "arn:aws:iam::" + w.A.Account() + ":root"})
	}
	return thing{}, false
}

// programArgument is what the document that brings the job's program to the
// runner's host fetches it by: "bucket" or "key".
func (w *World) programArgument(name string) string {
	for _, id := range w.A.OfType("AWS::SSM::Document") {
		content, _ := w.A.Properties(id)["Content"].(map[string]any)
		for _, step := range list(content["mainSteps"]) {
			inputs, _ := step.(map[string]any)["inputs"].(map[string]any)
			for _, line := range list(inputs["runCommand"]) {
				if match := regexp.MustCompile(`^set -- .*--sha256 .*--` + name + ` '([^']+)'`).FindStringSubmatch(line.(string)); match != nil {
					return match[1]
				}
			}
		}
	}
	cfnRefuse("no document fetches the job's program by its %s", name)
	return ""
}

// artifacts is the logical id of the artifact bucket.
func (w *World) artifacts() string { return w.B.Output("ArtifactBucketName") }

// ownBucket is a bucket of a template with its policy.
func (w *World) ownBucket(t *cfn.Template, id string) thing {
	if t.Resources[id].Type != "AWS::S3::Bucket" {
		cfnRefuse("%q is no bucket of the template", id)
	}
	block, _ := t.Properties(id)["PublicAccessBlockConfiguration"].(map[string]any)
	own := thing{arn: t.ARN(id), account: t.Account(), blocked: block["RestrictPublicBuckets"] == true}
	for _, p := range t.OfType("AWS::S3::BucketPolicy") {
		if properties := t.Properties(p); properties["Bucket"] == t.Ref(id) {
			own.policy = properties["PolicyDocument"]
		}
	}
	return own
}

func (w *World) bucketNamed(t *cfn.Template, name any) string {
	for _, id := range t.OfType("AWS::S3::Bucket") {
		if t.Ref(id) == name {
			return id
		}
	}
	return ""
}

func (w *World) resource(name string) thing {
	codeDeploy := "arn:aws:codedeploy:" + w.B.Region() + ":" + w.B.Account() + ":"
	ssm := "arn:aws:ssm:" + w.A.Region() + ":" + w.A.Account() + ":"
	plain := func(t *cfn.Template, arn string) thing { return thing{arn: arn, account: t.Account()} }
	role := func(t *cfn.Template, arn string) thing {
		return thing{arn: arn, account: t.Account(), policy: t.Properties(arn[strings.LastIndex(arn, "/")+1:])["AssumeRolePolicyDocument"]}
	}
	switch name {
	case "listed group":
		return plain(w.B, codeDeploy+"deploymentgroup:"+w.Application+"/"+w.Group)
	case "another group":
		return plain(w.B, codeDeploy+"deploymentgroup:"+w.Application+"/another")
	case "listed application":
		return plain(w.B, codeDeploy+"application:"+w.Application)
	case "queue":
		return w.queue("QueueUrl")
	case "dead letters of status":
		return w.queue("StatusDeadLetterQueueUrl")
	case "alarms":
		return w.topic(w.B)
	case "alarms of A":
		return w.topic(w.A)
	case "markers function":
		return w.functionOf(w.A, "MarkersFunctionName")
	case "dead letters of markers":
		id := w.A.Output("MarkersDeadLetterQueueUrl")
		return thing{w.A.ARN(id), w.A.Account(), w.policyFor(w.A, "AWS::SQS::QueuePolicy", "Queues", w.A.Ref(id)), false}
	case "status function":
		return w.functionThing("StatusFunctionName")
	case "trigger function":
		return w.functionThing("TriggerFunctionName")
	case "root password":
		return plain(w.A, w.A.ARN(w.A.Output("RootPasswordSecretArn")))
	case "token's key":
		return w.key("RunnerTokenKeyArn")
	case "data volume's key":
		return w.key("DataKeyArn")
	case "backups' key":
		return w.key("BackupKeyArn")
	case "vault":
		id := w.only(w.A, "AWS::Backup::BackupVault")
		arn := "arn:aws:backup:" + w.A.Region() + ":" + w.A.Account() + ":backup-vault:gitlab"
		return thing{arn, w.A.Account(), w.A.Properties(id)["AccessPolicy"], false}
	case "token's parameter":
		return plain(w.A, ssm+"parameter/gitlab-codedeploy/staging/runner-token")
	case "parameter of the server's agent", "parameter of the runner's agent":
		host := map[string]string{"parameter of the server's agent": "server", "parameter of the runner's agent": "runner"}[name]
		return plain(w.A, ssm+"parameter/AmazonCloudWatch-gitlab-codedeploy-staging-"+host)
	case "metrics of A": // PutMetricData knows no resources.
		return plain(w.A, "*")
	case "instances of deployments": // BatchGetDeploymentTargets knows none either.
		return plain(w.B, "*")
	case "another parameter":
		return plain(w.A, ssm+"parameter/another")
	case "document status":
		return plain(w.A, ssm+"document/gitlab-codedeploy-staging-status")
	case "AWS's document for a shell script":
		// AWS's own has no account in its name, which the simulator does not take.
		return plain(w.A, ssm+"document/AWS-RunShellScript")
	case "a document of another environment":
		return plain(w.A, ssm+"document/gitlab-codedeploy-production-status")
	case "everything":
		return plain(w.A, "*")
	case "hook of security updates":
		return plain(w.A, ssm+"document/GitLab-staging-SecurityUpdatesHold")
	case "baseline of security updates":
		return plain(w.A, ssm+"patchbaseline/pb-0123456789abcdef0")
	case "another instance of A":
		return plain(w.A, "arn:aws:ec2:"+w.A.Region()+":"+w.A.Account()+":instance/i-0fedcba9876543210")
	case "role of the flow log":
		return role(w.A, w.A.Properties(w.only(w.A, "AWS::EC2::FlowLog"))["DeliverLogsPermissionArn"].(string))
	case "instance of the server":
		return plain(w.A, w.A.ARN(w.A.Output("ServerInstanceId")))
	case "role of the runner":
		return role(w.A, w.actor("runner").context["aws:PrincipalArn"])
	case "role of jobs":
		return role(w.A, w.actor("job").context["aws:PrincipalArn"])
	case "role of the server":
		return role(w.A, w.actor("server").context["aws:PrincipalArn"])
	case "deploy role of the pipeline":
		return w.namedRole("gitlab-codedeploy-staging-deploy")
	case "review role of the pipeline":
		return w.namedRole("gitlab-codedeploy-staging-review")
	case "role of the trigger":
		return role(w.B, w.actor("trigger").context["aws:PrincipalArn"])
	}
	cfnRefuse("nothing is called %q", name)
	return thing{}
}

// namedRole is the role of account B with that name.
func (w *World) namedRole(name string) thing {
	for _, id := range w.B.OfType("AWS::IAM::Role") {
		if properties := w.B.Properties(id); properties["RoleName"] == name {
			return thing{arn: "arn:aws:iam::" + w.B.Account() + ":role/" + name, account: w.B.Account(), policy: properties["AssumeRolePolicyDocument"]}
		}
	}
	cfnRefuse("no role is called %q", name)
	return thing{}
}

// key is the key of an output of account A.
func (w *World) key(output string) thing {
	id := w.A.Output(output)
	return thing{w.A.ARN(id), w.A.Account(), w.A.Properties(id)["KeyPolicy"], false}
}

func (w *World) topic(t *cfn.Template) thing {
	id := t.Output("AlarmTopicArn")
	return thing{t.ARN(id), t.Account(), w.policyFor(t, "AWS::SNS::TopicPolicy", "Topics", t.Ref(id)), false}
}

func (w *World) queue(output string) thing {
	id := w.B.Output(output)
	return thing{w.B.ARN(id), w.B.Account(), w.policyFor(w.B, "AWS::SQS::QueuePolicy", "Queues", w.B.Ref(id)), false}
}

// policyFor is the policy of a type that names what it is for in a list.
func (w *World) policyFor(t *cfn.Template, typ, property, ref string) any {
	var found any
	for _, id := range t.OfType(typ) {
		properties := t.Properties(id)
		for _, named := range list(properties[property]) {
			if named == ref {
				if found != nil {
					cfnRefuse("%s has two policies, of which AWS keeps one", ref)
				}
				found = properties["PolicyDocument"]
			}
		}
	}
	return found
}

// functionThing is a function with the policy that its permissions make.
// https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html
func (w *World) functionThing(output string) thing { return w.functionOf(w.B, output) }

func (w *World) functionOf(template *cfn.Template, output string) thing {
	id := template.Output(output)
	arn := template.ARN(id)
	var statements []map[string]any
	for _, permission := range template.OfType("AWS::Lambda::Permission") {
		p := template.Properties(permission)
		if p["FunctionName"] != arn && p["FunctionName"] != id {
			continue
		}
		s := statement("Allow", map[string]any{"Service": p["Principal"]}, p["Action"], arn)
		condition := map[string]any{}
		if p["SourceArn"] != nil {
			condition["ArnLike"] = map[string]any{"aws:SourceArn": p["SourceArn"]}
		}
		if p["SourceAccount"] != nil {
			condition["StringEquals"] = map[string]any{"aws:SourceAccount": p["SourceAccount"]}
		}
		if len(condition) > 0 {
			s["Condition"] = condition
		}
		statements = append(statements, s)
	}
	t := thing{arn: arn, account: template.Account()}
	if len(statements) > 0 {
		t.policy = document(statements...)
	}
	return t
}

// only is the only resource of a type.
func (w *World) only(t *cfn.Template, typ string) string {
	ids := t.OfType(typ)
	if len(ids) != 1 {
		cfnRefuse("got %d of %s, want one", len(ids), typ)
	}
	return ids[0]
}

// stateChanges is the rule that hears of CodeDeploy; the other one is a schedule.
func (w *World) stateChanges() string {
	for _, id := range w.B.OfType("AWS::Events::Rule") {
		if w.B.Properties(id)["EventPattern"] != nil {
			return id
		}
	}
	cfnRefuse("no rule hears of CodeDeploy")
	return ""
}
