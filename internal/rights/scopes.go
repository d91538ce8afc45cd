package rights

import (
	"fmt"
	"strings"

	"gitlab-codedeploy/internal/account"
)

// scope is what actions are allowed on.
type scope struct {
	on   func(n Names, side account.Side) []string
	when map[string]map[string]any
	// why says what a star in it is for; "" when there is none but for the names that AWS gives below ours.
	why string
}

// scopes are all of them by their names. A name may have a colon and what it is about at its end.
var scopes = map[string]scope{
	"everything": {on: fixed("*"), why: "these actions know no resources, or are asked of all that there are; they read"},

	// Account A.
	"document": {}, // see scopeOf
	"hosts": {on: func(n Names, s account.Side) []string {
		return []string{n.host(s, "ServerInstanceId"), n.host(s, "RunnerInstanceId")}
	}},
	"manifests": {on: func(n Names, s account.Side) []string {
		return []string{n.bucketOf(s, "BackupBucketName") + "/backups/*/manifest.json"}
	}},
	"backups": {on: func(n Names, s account.Side) []string { return []string{n.bucketOf(s, "BackupBucketName")} }},
	"parts":   {on: func(n Names, s account.Side) []string { return []string{n.bucketOf(s, "BackupBucketName") + "/*"} }},
	"sessions": {
		on: func(n Names, s account.Side) []string {
			return []string{
				n.host(s, "ServerInstanceId"), n.host(s, "RunnerInstanceId"),
				n.arn(s, "ssm", "document/SSM-SessionManagerRunShell"),
				fmt.Sprintf("arn:%s:ssm:%s::document/AWS-StartPortForwardingSession", n.Config.Partition(), n.Config.Region),
			}
		},
		// The document counts, too, and not the instance alone.
		// https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-sessiondocumentaccesscheck.html
		when: map[string]map[string]any{"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}},
	},
	"own sessions": {
		on: func(n Names, _ account.Side) []string {
			return []string{"arn:" + n.Config.Partition() + ":ssm:*:*:session/${aws:userid}-*"}
		},
		why: "a session's id begins with who opened it, and goes on as AWS likes",
	},
	"root password": {on: func(n Names, s account.Side) []string { return []string{n.output(s, "RootPasswordSecretArn")} }},
	"runner token": {on: func(n Names, s account.Side) []string {
		return []string{n.arn(s, "ssm", "parameter/gitlab-codedeploy/"+n.Config.Environment+"/runner-token")}
	}},
	"certificate": {
		on: func(n Names, side account.Side) []string {
			if n.Config.GitLab.LoadBalancer.HostedZone != nil {
				return []string{n.arn(side, "acm", "certificate/*")}
			}
			return given(n.Config.GitLab.LoadBalancer.CertificateARN)
		},
		why: "with hostedZone the stack makes it, and AWS gives the id",
	},
	"hosted zone": {on: func(n Names, _ account.Side) []string {
		if zone := n.Config.GitLab.LoadBalancer.HostedZone; zone != nil {
			return []string{"arn:" + n.Config.Partition() + ":route53:::hostedzone/" + zone.ID}
		}
		return nil
	}},
	"newest images": {
		// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
		on: func(n Names, _ account.Side) []string {
			return []string{"arn:" + n.Config.Partition() + ":ssm:" + n.Config.Region + "::parameter/aws/service/ami-amazon-linux-latest/*"}
		},
		why: "AWS's own public parameters, one for each system and processor",
	},
	"data volume": {on: func(n Names, s account.Side) []string {
		return []string{n.arn(s, "ec2", "volume/"+n.output(s, "DataVolumeId"))}
	}},
	"volumes": {
		on:  func(n Names, s account.Side) []string { return []string{n.arn(s, "ec2", "volume/*")} },
		why: "a volume that is made of a snapshot has no id before; its key opens to break-glass roles alone",
	},
	"snapshots": {
		on: func(n Names, _ account.Side) []string {
			return []string{"arn:" + n.Config.Partition() + ":ec2:" + n.Config.Region + "::snapshot/*"}
		},
		why: "which snapshot is chosen in the emergency; its key opens to break-glass roles alone",
	},
	"server": {on: func(n Names, s account.Side) []string { return []string{n.host(s, "ServerInstanceId")} }},
	"vault": {on: func(n Names, s account.Side) []string {
		return []string{n.arn(s, "backup", "backup-vault:"+n.output(s, "SnapshotVaultName"))}
	}},

	// Account B.
	"artifact bucket": {on: func(n Names, _ account.Side) []string { return []string{n.artifacts("")} }},
	"states":          {on: func(n Names, _ account.Side) []string { return []string{n.artifacts("/deployments/*")} }},
	"artifacts": {on: func(n Names, _ account.Side) []string {
		return []string{n.artifacts("/" + n.Config.Deploy.Artifacts.Prefix + "*")}
	}},
	"orders":  {on: func(n Names, _ account.Side) []string { return []string{n.artifacts("/orders/*")} }},
	"records": {on: func(n Names, _ account.Side) []string { return []string{n.artifacts("/groups/*")} }},
	"queues": {on: func(n Names, s account.Side) []string {
		return []string{n.queue(s, "QueueUrl"), n.queue(s, "DeadLetterQueueUrl"), n.queue(s, "StatusDeadLetterQueueUrl")}
	}},
	"queue":           {on: func(n Names, s account.Side) []string { return []string{n.queue(s, "QueueUrl")} }},
	"dead letters":    {on: func(n Names, s account.Side) []string { return []string{n.queue(s, "DeadLetterQueueUrl")} }},
	"status function": {on: func(n Names, s account.Side) []string { return []string{n.function(s, "StatusFunctionName")} }},
	"functions": {on: func(n Names, s account.Side) []string {
		return []string{n.function(s, "StatusFunctionName"), n.function(s, "TriggerFunctionName")}
	}},
	"function logs": {
		on: func(n Names, s account.Side) []string {
			return []string{n.arn(s, "logs", "log-group:"+n.stack(s)+"-*")}
		},
		why: "CloudFormation ends the name of a log group that begins with its stack's",
	},
	"deployments":       {on: fixed("*"), why: "IAM knows no resource of StopDeployment"},
	"commands":          {on: fixed("*"), why: "IAM knows no resource of CancelCommand"},
	"applications":      {on: applications},
	"deployment groups": {on: deploymentGroups},
	"deployment configurations": {
		on:  func(n Names, s account.Side) []string { return []string{n.arn(s, "codedeploy", "deploymentconfig:*")} },
		why: "a group chooses its configuration, and may change it",
	},

	// The sample target, in account B.
	"sample stack": {
		on: func(n Names, s account.Side) []string {
			return []string{n.arn(s, "cloudformation", "stack/Sample-"+n.Config.Environment+"/*")}
		},
		why: "an id that CloudFormation gives to a stack of this one name",
	},
	"deploying role": {
		on: func(n Names, s account.Side) []string {
			return []string{n.role(s, fmt.Sprintf("cdk-hnb659fds-cfn-exec-role-%s-%s", n.account(s), n.Config.Region))}
		},
		when: map[string]map[string]any{"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}},
	},
	"sample roles": {
		on: func(n Names, s account.Side) []string {
			return []string{n.role(s, "Sample-"+n.Config.Environment+"-*")}
		},
		when: map[string]map[string]any{"StringEquals": {"iam:PassedToService": "codedeploy.amazonaws.com"}},
		why:  "CloudFormation ends the name of a role that begins with its stack's",
	},
	"sample instances": {
		on: func(n Names, s account.Side) []string {
			return []string{n.arn(s, "autoscaling", "autoScalingGroup:*:autoScalingGroupName/*")}
		},
		when: map[string]map[string]any{"StringLike": {"aws:ResourceTag/gitlab-codedeploy-sample": "sample-*"}},
		why:  "CodeDeploy names the copies; the tag says that they are the sample's",
	},

	// Both accounts.
	"stack": {
		on: func(n Names, s account.Side) []string {
			return []string{n.arn(s, "cloudformation", "stack/"+n.stack(s)+"/*")}
		},
		why: "an id that CloudFormation gives to a stack of this one name",
	},
	"toolkit": {
		on: func(n Names, s account.Side) []string {
			return []string{n.arn(s, "cloudformation", "stack/CDKToolkit/*")}
		},
		why: "an id that CloudFormation gives to a stack of this one name",
	},
	"stacks": {
		on:  func(n Names, s account.Side) []string { return []string{n.arn(s, "cloudformation", "stack/*/*")} },
		why: "which stack has a resource is asked without knowing the stack",
	},
	"bootstrap version": {on: func(n Names, s account.Side) []string {
		return []string{n.arn(s, "ssm", "parameter/cdk-bootstrap/hnb659fds/version")}
	}},
	"bootstrap roles": {on: func(n Names, s account.Side) []string {
		var arns []string
		for _, role := range []string{"deploy", "file-publishing", "lookup"} {
			arns = append(arns, n.role(s, fmt.Sprintf("cdk-hnb659fds-%s-role-%s-%s", role, n.account(s), n.Config.Region)))
		}
		return arns
	}},
	"instance profiles": {
		on: func(n Names, s account.Side) []string {
			return []string{n.global(s, "iam", "instance-profile/"+n.stack(s)+"-*")}
		},
		why: "CloudFormation ends the name of a profile that begins with its stack's",
	},
	"stack roles": {
		on:  func(n Names, s account.Side) []string { return []string{n.role(s, n.stack(s)+"-*")} },
		why: "CloudFormation ends the name of a role that begins with its stack's",
	},
	"named roles": {on: namedRoles},
	"identity provider": {on: func(n Names, s account.Side) []string {
		if n.Config.Pipeline == nil {
			return nil
		}
		return []string{n.global(s, "iam", "oidc-provider/"+strings.TrimPrefix(n.Config.Pipeline.IssuerURL, "https://"))}
	}},
}

// scopeOf finds a scope by its name.
func scopeOf(name string) (scope, error) {
	if operation, is := strings.CutPrefix(name, "document:"); is {
		return scope{on: func(n Names, s account.Side) []string {
			return []string{n.arn(s, "ssm", "document/gitlab-codedeploy-"+n.Config.Environment+"-"+operation)}
		}}, nil
	}
	s, is := scopes[name]
	if !is || s.on == nil {
		return scope{}, fmt.Errorf("internal/rights knows no scope %q", name)
	}
	return s, nil
}

func fixed(arns ...string) func(Names, account.Side) []string {
	return func(Names, account.Side) []string { return arns }
}

func given(arn string) []string {
	if arn == "" {
		return nil
	}
	return []string{arn}
}

func (n Names) account(side account.Side) string {
	if side == account.Deploy {
		return n.Config.Deploy.Account
	}
	return n.Config.GitLab.Account
}

func (n Names) stack(side account.Side) string {
	if side == account.Deploy {
		return "Deploy-" + n.Config.Environment
	}
	return "GitLab-" + n.Config.Environment
}

func (n Names) arn(side account.Side, service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", n.Config.Partition(), service, n.Config.Region, n.account(side), resource)
}

func (n Names) global(side account.Side, service, resource string) string {
	return fmt.Sprintf("arn:%s:%s::%s:%s", n.Config.Partition(), service, n.account(side), resource)
}

func (n Names) role(side account.Side, name string) string {
	return n.global(side, "iam", "role/"+name)
}

func (n Names) output(side account.Side, name string) string {
	if n.Output == nil {
		return "<" + name + ">"
	}
	return n.Output(side, name)
}

func (n Names) host(side account.Side, output string) string {
	return n.arn(side, "ec2", "instance/"+n.output(side, output))
}

func (n Names) bucketOf(side account.Side, output string) string {
	return "arn:" + n.Config.Partition() + ":s3:::" + n.output(side, output)
}

func (n Names) artifacts(key string) string {
	return "arn:" + n.Config.Partition() + ":s3:::" + n.Config.Deploy.Artifacts.BucketName + key
}

func (n Names) function(side account.Side, output string) string {
	return n.arn(side, "lambda", "function:"+n.output(side, output))
}

// queue is the ARN of the queue that an output has the URL of.
func (n Names) queue(side account.Side, output string) string {
	url := n.output(side, output)
	if n.Output == nil {
		return n.arn(side, "sqs", "<name in "+output+">")
	}
	return n.arn(side, "sqs", url[strings.LastIndex(url, "/")+1:])
}

// applications are CodeDeploy's, by name as long as there is room.
func applications(n Names, side account.Side) []string {
	var arns []string
	for _, group := range n.Config.Deploy.DeploymentGroups {
		arns = append(arns, n.arn(side, "codedeploy", "application:"+group.Application))
	}
	if n.crowded {
		return []string{n.arn(side, "codedeploy", "application:*")}
	}
	return arns
}

func deploymentGroups(n Names, side account.Side) []string {
	var arns []string
	for _, group := range n.Config.Deploy.DeploymentGroups {
		arns = append(arns, n.arn(side, "codedeploy", "deploymentgroup:"+group.Application+"/"+group.DeploymentGroup))
	}
	if n.crowded {
		return []string{n.arn(side, "codedeploy", "deploymentgroup:*/*")}
	}
	return arns
}

// namedRoles are those that the configuration names in the account.
func namedRoles(n Names, side account.Side) []string {
	if side == account.GitLab {
		return n.Config.GitLab.BreakGlassRoleARNs(n.Config.Region)
	}
	var arns []string
	for _, application := range n.Config.Deploy.Applications {
		arns = append(arns, n.Config.Deploy.ReaderRoleARNs(n.Config.Region, application)...)
	}
	if n.crowded {
		return []string{n.role(side, "*")}
	}
	return arns
}
