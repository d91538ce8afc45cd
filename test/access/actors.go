package access

import (
	"maps"
	"slices"
	"strings"

	"gitlab-codedeploy/test/cfn"
)

// actor is who makes a request.
type actor struct {
	principal any // an ARN, a service, or the simulator's word for nobody
	policies  []policy
	context   map[string]string
}

// actor returns the actor of a name.
func (w *World) actor(name string) actor {
	a, b := w.A.Account(), w.B.Account()
	switch name {
	case "runner":
		return w.instance(w.A, "RunnerInstanceId")
	case "job":
		return w.templateRole(w.A, w.A.Output("JobRoleArn"), "gitlab-job")
	case "server":
		return w.instance(w.A, "ServerInstanceId")
	case "trigger":
		return w.function("TriggerFunctionName")
	case "markers":
		arn, _ := w.A.Properties(w.A.Output("MarkersFunctionName"))["Role"].(string)
		return w.templateRole(w.A, arn[strings.LastIndex(arn, "/")+1:], "function")
	case "status":
		return w.function("StatusFunctionName")
	case "CodeDeploy's instance":
		return role(b, w.Reader, "i-0123456789abcdef0")
	case "another application's instance":
		return role(b, w.OtherReader, "i-0abcdef0123456789")
	case "another instance of B":
		return role(b, "another-instance", "i-0fedcba9876543210")
	case "a role of A without policies":
		return role(a, "no-policies", "session")
	case "another role of A that may write to S3":
		return role(a, "writer", "session", policy{"AllOfS3", document(statement("Allow", nil, "s3:*", "*"))})
	case "administrator of A":
		return role(a, "administrator", "operator", w.managed("AdministratorAccess"))
	case "break-glass role":
		return role(a, w.BreakGlass, "person", w.managed("AdministratorAccess"))
	case "break-glass role without policies of its own":
		return role(a, w.BreakGlass, "person")
	case "CloudFormation, deploying":
		return role(a, "cdk-hnb659fds-cfn-exec-role-"+a+"-"+w.A.Region(), "AWSCloudFormation", w.managed("AdministratorAccess"))
	case "AWS Backup's role":
		roleARN := w.A.Properties(w.only(w.A, "AWS::Backup::BackupSelection"))["BackupSelection"].(map[string]any)["IamRoleArn"].(string)
		return w.templateRole(w.A, roleARN[strings.LastIndex(roleARN, "/")+1:], "backup")
	case "administrator of B":
		return role(b, "administrator", "operator", w.managed("AdministratorAccess"))
	case "administrator of C":
		return role(accountC, "administrator", "stranger", w.managed("AdministratorAccess"))
	case "auditor of B":
		return role(b, "auditor", "auditor", w.managed("ReadOnlyAccess"))
	case "operator":
		return role(a, "operator", "person", policy{"Operator", w.Operator})
	case "operator of B":
		return role(b, "operator", "person", policy{"Orders", w.orders()})
	case "operator with a shell":
		return role(a, "operator", "person", policy{"Operator", w.Operator}, policy{"Shell", w.Shell})
	case "anonymous":
		return actor{principal: map[string]string{"type": "Anonymous"}}
	case "CloudFormation's presigned URL", "ECR's presigned URL", "Docker Hub's presigned URL":
		// Signed in the account that the bucket belongs to.
		return role(accountAWS, "presigner", "url", w.managed("AdministratorAccess"))
	}
	if job, isJob := strings.CutPrefix(name, "job of "); isJob {
		return w.job(job)
	}
	return w.service(name)
}

// orders is the right to order, and to see what came of it: what rollback, promote,
// pause and resume need.
func (w *World) orders() any {
	bucket := w.ownBucket(w.B, w.artifacts()).arn
	return document(
		statement("Allow", nil, "s3:PutObject", bucket+"/orders/*"),
		statement("Allow", nil, "s3:GetObject", []any{bucket + "/groups/*", bucket + "/deployments/*"}),
		statement("Allow", nil, "s3:ListBucket", bucket),
	)
}

// job returns the actor with a token that GitLab signed for a job, as the
// account sees it: by the provider that it believes, audience and subject.
func (w *World) job(name string) actor {
	issuer := w.Pipeline.Issuer
	audience, project := "sts.amazonaws.com", w.Pipeline.Project
	switch name {
	case "the branch", "a fork's branch of that name, before GitLab 18.2.2":
		// The same token: AWS cannot tell them apart.
		return federated(w.B.Account(), issuer, audience, subject(project, "branch", w.Pipeline.Branch))
	case "a fork's branch of that name":
		return federated(w.B.Account(), issuer, audience, subject("stranger/gitlab-codedeploy", "branch", w.Pipeline.Branch))
	case "another branch":
		return federated(w.B.Account(), issuer, audience, subject(project, "branch", "feature"))
	case "a branch whose name begins like it":
		return federated(w.B.Account(), issuer, audience, subject(project, "branch", w.Pipeline.Branch+"-2"))
	case "a tag of the branch's name":
		return federated(w.B.Account(), issuer, audience, subject(project, "tag", w.Pipeline.Branch))
	case "another project":
		return federated(w.B.Account(), issuer, audience, subject("platform/another", "branch", w.Pipeline.Branch))
	case "a project whose path begins like it":
		return federated(w.B.Account(), issuer, audience, subject(project+"-2", "branch", w.Pipeline.Branch))
	case "the branch, for somebody else":
		return federated(w.B.Account(), issuer, "https://vault.example.com", subject(project, "branch", w.Pipeline.Branch))
	case "the branch, signed by this environment's GitLab":
		// Where account B believes that one, too, for something else.
		return federated(w.B.Account(), w.GitLab, audience, subject(project, "branch", w.Pipeline.Branch))
	}
	cfnRefuse("no job is called %q", name)
	return actor{}
}

// subject is the "sub" of a job's token.
// https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload
func subject(project, refType, ref string) string {
	return "project_path:" + project + ":ref_type:" + refType + ":ref:" + ref
}

// federated returns the actor with a token of an issuer that an account
// believes.
func federated(account, issuer, audience, subject string) actor {
	return actor{
		principal: "arn:aws:iam::" + account + ":oidc-provider/" + issuer,
		context:   map[string]string{issuer + ":aud": audience, issuer + ":sub": subject},
	}
}

// service returns an actor that is a service of AWS, on whose behalf it acts
// included.
func (w *World) service(name string) actor {
	b := w.B.Account()
	bucket, rule := w.B.ARN(w.artifacts()), w.B.ARN(w.stateChanges())
	alarm := w.B.ARN(w.B.OfType("AWS::CloudWatch::Alarm")[0])
	strange := func(arn string) string { return strings.Replace(arn, b, accountC, 1) }
	switch name {
	case "S3, for the artifact bucket":
		return service("s3", bucket, b)
	case "S3, for a stranger's bucket":
		return service("s3", "arn:aws:s3:::stranger", accountC)
	case "S3, for a stranger's bucket of the same name":
		return service("s3", bucket, accountC)
	case "S3's log delivery, for the artifact bucket":
		return service("logging.s3", bucket, b)
	case "S3's log delivery, for a stranger's bucket":
		return service("logging.s3", "arn:aws:s3:::stranger", accountC)
	case "EventBridge, for our rule of backups":
		return service("events", w.A.ARN(w.only(w.A, "AWS::Events::Rule")), w.A.Account())
	case "EventBridge, for our rule":
		return service("events", rule, b)
	case "EventBridge, for a stranger's rule":
		return service("events", strange(rule), accountC)
	case "CloudWatch, for our alarm":
		return service("cloudwatch", alarm, b)
	case "CloudWatch, for an alarm of A":
		return service("cloudwatch", w.A.ARN(w.A.OfType("AWS::CloudWatch::Alarm")[0]), w.A.Account())
	case "CloudWatch, for a stranger's alarm":
		return service("cloudwatch", strange(alarm), accountC)
	case "VPC flow logs":
		return service("vpc-flow-logs", "arn:aws:ec2:"+w.A.Region()+":"+w.A.Account()+":vpc-flow-log/fl-1", w.A.Account())
	case "VPC flow logs of a stranger":
		return service("vpc-flow-logs", "arn:aws:ec2:"+w.A.Region()+":"+accountC+":vpc-flow-log/fl-1", accountC)
	case "EC2":
		return service("ec2", "", "")
	case "Lambda":
		return service("lambda", "", "")
	}
	cfnRefuse("no actor is called %q", name)
	return actor{}
}

func service(name, sourceARN, sourceAccount string) actor {
	context := map[string]string{"aws:PrincipalIsAWSService": "true"}
	if sourceARN != "" {
		context["aws:SourceArn"], context["aws:SourceAccount"] = sourceARN, sourceAccount
	}
	return actor{principal: name + ".amazonaws.com", context: context}
}

// role returns an actor with a session of a role.
func role(account, name, session string, policies ...policy) actor {
	if policies == nil {
		policies = []policy{}
	}
	return actor{
		principal: "arn:aws:sts::" + account + ":assumed-role/" + name + "/" + session,
		policies:  policies,
		context:   map[string]string{"aws:PrincipalAccount": account, "aws:PrincipalArn": "arn:aws:iam::" + account + ":role/" + name},
	}
}

// managed returns a policy that AWS wrote.
func (w *World) managed(name string) policy {
	p, ok := w.Managed[name]
	if !ok {
		cfnRefuse("the policy %s of AWS is not at hand", name)
	}
	return policy{name, p}
}

// instance returns the actor that is the host of an output.
func (w *World) instance(t *cfn.Template, output string) actor {
	profile, _ := t.Properties(t.Output(output))["IamInstanceProfile"].(string)
	roles, _ := t.Properties(profile)["Roles"].([]any)
	if len(roles) != 1 {
		cfnRefuse("the instance of %s has no role", output)
	}
	return w.templateRole(t, roles[0].(string), "i-0123456789abcdef0")
}

// function returns the actor that is the function of an output.
func (w *World) function(output string) actor {
	arn, _ := w.B.Properties(w.B.Output(output))["Role"].(string)
	return w.templateRole(w.B, arn[strings.LastIndex(arn, "/")+1:], "function")
}

// templateRole returns the actor with a session of a role of a template.
func (w *World) templateRole(t *cfn.Template, id, session string) actor {
	if t.Resources[id].Type != "AWS::IAM::Role" {
		cfnRefuse("%s is no role of the template", id)
	}
	return role(t.Account(), id, session, w.policiesOf(t, id)...)
}

// policiesOf gathers what is attached to a role, in each of the ways that a
// template has for it.
func (w *World) policiesOf(t *cfn.Template, id string) []policy {
	var found []policy
	properties := t.Properties(id)
	for _, arn := range list(properties["ManagedPolicyArns"]) {
		name := arn.(string)
		found = append(found, w.managed(name[strings.LastIndex(name, "/")+1:]))
	}
	for _, inline := range list(properties["Policies"]) {
		p := inline.(map[string]any)
		found = append(found, policy{p["PolicyName"].(string), p["PolicyDocument"]})
	}
	for _, other := range slices.Sorted(maps.Keys(t.Resources)) {
		switch t.Resources[other].Type {
		case "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy":
		default:
			continue
		}
		p := t.Properties(other)
		if slices.Contains(list(p["Roles"]), any(t.Ref(id))) || p["RoleName"] == t.Ref(id) {
			found = append(found, policy{other, p["PolicyDocument"]})
		}
	}
	return found
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}
