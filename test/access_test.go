package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/test/access"
	"gitlab-codedeploy/test/cfn"
)

// accessConfig is staging with a second application, a bucket that jobs may read
// and a pipeline that may deploy.
func accessConfig(t *testing.T) config.Config {
	t.Helper()
	cfg := staging(t)
	cfg.GitLab.Network.ReadableBuckets = []string{"example-data-set"}
	shop := cfg.Deploy.DeploymentGroups[0]
	shop.Application, shop.DeploymentGroup = "sample-shop", "sample-shop-blue-green"
	cfg.Deploy.DeploymentGroups = append(cfg.Deploy.DeploymentGroups, shop)
	cfg.Deploy.Applications = append(cfg.Deploy.Applications, config.Application{Name: shop.Application, ReaderRoles: []string{"sample-shop-instance"}})
	pipeline := examplePipeline
	cfg.Pipeline = &pipeline
	return cfg
}

// managedPolicies are policies that AWS wrote, read once.
var managedPolicies map[string]any

// world returns both accounts of cfg as two templates make them.
func world(t *testing.T, cfg config.Config, gitlab, deploy template) *access.World {
	t.Helper()
	require.Len(t, cfg.Deploy.Applications, 2)
	require.NotEmpty(t, cfg.GitLab.BreakGlassRoles)
	if managedPolicies == nil {
		var err error
		managedPolicies, err = access.ManagedPolicies("..", "AmazonSSMManagedInstanceCore", "AdministratorAccess", "ReadOnlyAccess")
		require.NoError(t, err)
	}
	a := parse(t, gitlab, cfg.GitLab.Account, cfg, nil)
	operator, shell := operatorPolicies(t, a)
	w := &access.World{
		A:              a,
		Operator:       operator,
		Shell:          shell,
		B:              parse(t, deploy, cfg.Deploy.Account, cfg, map[string]string{"SourceVpceId": a.Ref(a.Output("S3EndpointId"))}),
		Managed:        managedPolicies,
		Reader:         cfg.Deploy.Applications[0].ReaderRoles[0],
		OtherReader:    cfg.Deploy.Applications[1].ReaderRoles[0],
		BreakGlass:     cfg.GitLab.BreakGlassRoles[0],
		Application:    cfg.Deploy.DeploymentGroups[0].Application,
		Group:          cfg.Deploy.DeploymentGroups[0].DeploymentGroup,
		ReadableBucket: cfg.GitLab.Network.ReadableBuckets[0],
		GitLab:         cfg.GitLab.LoadBalancer.DomainName,
	}
	w.Pipeline.Issuer = strings.TrimPrefix(cfg.Pipeline.IssuerURL, "https://")
	w.Pipeline.Project, w.Pipeline.Branch = cfg.Pipeline.ProjectPath, cfg.Pipeline.Branch
	return w
}

// operatorPolicies reads the policies of account A from docs/reference/rights.md, which
// is made of the commands, with the outputs of a template in the places of their names.
func operatorPolicies(t *testing.T, a *cfn.Template) (operator, shell any) {
	t.Helper()
	page := regexp.MustCompile(`<([A-Za-z]+)>`).ReplaceAllStringFunc(read(t, "docs/reference/rights.md"), func(name string) string {
		if id := a.Output(strings.Trim(name, "<>")); id != "" {
			return a.Ref(id)
		}
		return name
	})
	for role, policy := range map[string]*any{"operator": &operator, "shell": &shell} {
		found := regexp.MustCompile("(?s)\n## " + role + "\n\nAccount A [^\n]*\n\n```json\n(.*?)\n```").FindStringSubmatch(page)
		require.Len(t, found, 2, "the policy of %s in docs/reference/rights.md", role)
		require.NoError(t, json.Unmarshal([]byte(found[1]), policy))
	}
	return operator, shell
}

func accessCases(t *testing.T) []access.Subject {
	t.Helper()
	subjects, err := access.ReadCases("access/cases.yaml")
	require.NoError(t, err)
	return subjects
}

// wrong returns, for each of several worlds, the cases that are decided
// otherwise than the table says, in words.
func wrong(t *testing.T, subjects []access.Subject, worlds ...*access.World) [][]string {
	t.Helper()
	var cases []access.Case
	for _, subject := range subjects {
		cases = append(cases, subject.Cases...)
	}
	var simulations []access.Simulation
	for _, w := range worlds {
		for _, c := range cases {
			s, err := w.Simulation(c)
			require.NoError(t, err, "%s", c)
			simulations = append(simulations, s)
		}
	}
	decisions, err := access.Decide("..", simulations)
	require.NoError(t, err)
	found := make([][]string, len(worlds))
	for i, d := range decisions {
		c := cases[i%len(cases)]
		require.Empty(t, d.Error, "%s", c)
		require.Contains(t, access.Outcomes, d.Result, "%s", c)
		if is := access.Outcomes[d.Result]; is != c.Is {
			found[i/len(cases)] = append(found[i/len(cases)], fmt.Sprintf("%s: is %s, want %s: %s", c, is, c.Is, c.Why))
		}
		// A key that the simulator does not take decides nothing.
		assert.Empty(t, d.Ignored, "%s", c)
	}
	return found
}

// TestS9_S13_S14_everyRequestIsDecidedAsTheTableSays lets the simulator decide
// each request of test/access/cases.yaml.
func TestS9_S13_S14_everyRequestIsDecidedAsTheTableSays(t *testing.T) {
	cfg := accessConfig(t)
	gitlab, deploy := synthesise(t, cfg)
	subjects := accessCases(t)
	for _, message := range wrong(t, subjects, world(t, cfg, gitlab, deploy))[0] {
		t.Error(message)
	}

	counted := map[string]int{}
	for _, s := range subjects {
		for _, c := range s.Cases {
			counted[c.Is]++
		}
	}
	assert.GreaterOrEqual(t, counted["allowed"]+counted["refused"]+counted["denied"], 60)
	for is, n := range counted {
		assert.Greater(t, n, 10, "of each outcome more than a few: %s", is)
	}
}

// TestGoldenPageOfTheAccess compares docs/access.md with the table.
func TestGoldenPageOfTheAccess(t *testing.T) {
	goldenPage(t, "docs/access.md", fmt.Sprintf(`# Who may do what

Each row is a request that `+"`go test ./test -run everyRequest`"+` lets an [independent IAM simulator](adr/0015-proofs-from-the-template.md)
decide, over the synthesised policies of both accounts: roles, resource policies, the policy of the S3 endpoint, and block
public access. The rows are [cases.yaml](../test/access/cases.yaml); rewrite this page with `+"`go test ./test -run Golden -update`"+`.

A is the account of GitLab, B that of the artifacts, C a stranger's. "The endpoint" is A's S3 endpoint; whoever is on a host
of A comes through it to every bucket of the region. "The internet" is anywhere else, the NAT gateway included. **Allowed** is
allowed; refused means that nothing allows it; denied means that a policy forbids it, to administrators too.

%s
## What this does not stop

A host of A reaches the internet through the NAT gateway, and buckets of other regions with it. Who runs code on the runner
can carry what it sees anywhere but to a bucket of the region. Where that matters, put an egress firewall in front of the NAT
gateway.
`, access.Table(accessCases(t))))
}

// changed returns a copy of a template after a change of its JSON.
func changed(t *testing.T, tpl template, change func(resources map[string]any)) template {
	t.Helper()
	encoded, err := json.Marshal(tpl.raw)
	require.NoError(t, err)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(encoded, &raw))
	change(raw["Resources"].(map[string]any))
	return template{raw: raw}
}

// eachStatement calls change with every statement of every policy.
func eachStatement(resources map[string]any, change func(id string, statement map[string]any)) {
	for id, r := range resources {
		for _, property := range []string{"PolicyDocument", "AssumeRolePolicyDocument", "KeyPolicy", "AccessPolicy"} {
			for _, s := range list(at(r, "Properties", property, "Statement")) {
				change(id, s.(map[string]any))
			}
		}
	}
}

// TestS9_S13_S14_everyWidenedPolicyIsSeen makes one mistake at a time, and
// looks for a case that is decided otherwise.
func TestS9_S13_S14_everyWidenedPolicyIsSeen(t *testing.T) {
	cfg := accessConfig(t)
	gitlab, deploy := synthesise(t, cfg)
	bySid := func(sid string, change func(s map[string]any)) func(map[string]any) {
		return func(resources map[string]any) {
			eachStatement(resources, func(_ string, s map[string]any) {
				if s["Sid"] == sid {
					change(s)
				}
			})
		}
	}
	never := func(s map[string]any) {
		s["Condition"] = map[string]any{"Bool": map[string]any{"aws:MultiFactorAuthPresent": "never"}}
	}
	unconditional := func(s map[string]any) { delete(s, "Condition") }
	// trusting changes whom a role of the pipeline trusts.
	trusting := func(role string, change func(s map[string]any)) func(map[string]any) {
		return func(resources map[string]any) {
			for _, r := range resources {
				if at(r, "Properties", "RoleName") == "gitlab-codedeploy-staging-"+role {
					change(at(r, "Properties", "AssumeRolePolicyDocument", "Statement", 0).(map[string]any))
				}
			}
		}
	}
	subjectBecomes := func(pattern string) func(map[string]any) {
		return func(s map[string]any) {
			at(s, "Condition", "StringLike").(map[string]any)["ci.example.com:sub"] = pattern
		}
	}
	nothing := func(map[string]any) {}
	// alsoFor gives the policy with a statement to one more role.
	alsoFor := func(sid, role string) func(map[string]any) {
		return func(resources map[string]any) {
			var id string
			for name, r := range resources {
				if at(r, "Type") == "AWS::IAM::Role" && regexp.MustCompile("^"+role+"[0-9A-F]{8}$").MatchString(name) {
					id = name
				}
			}
			eachStatement(resources, func(policy string, s map[string]any) {
				if s["Sid"] == sid {
					properties := at(resources[policy], "Properties").(map[string]any)
					properties["Roles"] = append(list(properties["Roles"]), map[string]any{"Ref": id})
				}
			})
		}
	}
	mistakes := map[string]struct {
		inA, inB func(resources map[string]any)
		seen     string
	}{
		"uploads from elsewhere are not denied any more": {
			nothing, bySid("RefuseUploadsFromElsewhere", never),
			"administrator of B, s3:PutObject on artifacts/artifacts/sample-web/artifact.gz from the internet: is allowed, want denied",
		},
		"uploads are allowed by any way": {
			nothing, func(resources map[string]any) {
				bySid("UploadThroughEndpoint", unconditional)(resources)
				bySid("RefuseUploadsFromElsewhere", never)(resources)
			},
			"job, s3:PutObject on artifacts/artifacts/sample-web/artifact.gz from another endpoint: is allowed, want denied",
		},
		"tokens from elsewhere are not denied any more": {
			nothing, bySid("RefuseUploadsFromElsewhere", func(s map[string]any) { s["Resource"] = at(s, "Resource", 0) }),
			"administrator of B, s3:PutObject on artifacts/tokens/one from the internet: is allowed, want denied",
		},
		"tokens are put by any way": {
			nothing, func(resources map[string]any) {
				bySid("TokensThroughEndpoint", unconditional)(resources)
				bySid("RefuseUploadsFromElsewhere", func(s map[string]any) { s["Resource"] = at(s, "Resource", 0) })(resources)
			},
			"job, s3:PutObject on artifacts/tokens/one from another endpoint: is allowed, want denied",
		},
		"the bucket takes no tokens": {
			nothing, bySid("TokensThroughEndpoint", never),
			"job, s3:PutObject on artifacts/tokens/one from the endpoint: is refused, want allowed",
		},
		"jobs may put no tokens": {
			bySid("PutTokens", never), nothing,
			"job, s3:PutObject on artifacts/tokens/one from the endpoint: is refused, want allowed",
		},
		"the endpoint lets no tokens through": {
			bySid("Tokens", never), nothing,
			"job, s3:PutObject on artifacts/tokens/one from the endpoint: is refused, want allowed",
		},
		"the endpoint does not ask who owns the tokens' bucket": {
			bySid("Tokens", unconditional), nothing,
			"another role of A that may write to S3, s3:PutObject on a stranger's bucket of the same name/tokens/loot from the endpoint: is allowed, want refused",
		},
		"tokens are read by whoever may read the bucket": {
			nothing, bySid("OnlyTheTriggerReadsTokens", never),
			"administrator of B, s3:GetObject on artifacts/tokens/one from the internet: is allowed, want denied",
		},
		"nobody reads tokens": {
			nothing, bySid("OnlyTheTriggerReadsTokens", unconditional),
			"trigger, s3:GetObject on artifacts/tokens/one from AWS: is denied, want allowed",
		},
		"the trigger may read no tokens": {
			nothing, bySid("ReadTokens", never),
			"trigger, s3:GetObjectVersion on artifacts/tokens/one from AWS: is refused, want allowed",
		},
		"the trigger finds no versions": {
			nothing, bySid("FindVersions", never),
			"trigger, s3:ListBucketVersions on artifacts (s3:prefix tokens/one) from AWS: is refused, want allowed",
		},
		"the trigger looks through all versions": {
			nothing, bySid("FindVersions", unconditional),
			"trigger, s3:ListBucketVersions on artifacts (s3:prefix deployments/) from AWS: is allowed, want refused",
		},
		"states are read by any way": {
			nothing, bySid("ReadStates", unconditional),
			"job, s3:GetObject on artifacts/deployments/one.json from the internet: is allowed, want refused",
		},
		"artifacts are read by everybody, and block public access is off": {
			nothing, func(resources map[string]any) {
				bySid("AgentsReadArtifacts1", func(s map[string]any) { s["Principal"] = "*" })(resources)
				for _, r := range resources {
					delete(at(r, "Properties").(map[string]any), "PublicAccessBlockConfiguration")
				}
			},
			"anonymous, s3:GetObject on artifacts/artifacts/sample-web/artifact.gz from the internet: is allowed, want refused",
		},
		"artifacts are read by everybody of account B": {
			nothing, bySid("AgentsReadArtifacts1", func(s map[string]any) { s["Principal"] = "*" }),
			"another instance of B, s3:GetObject on artifacts/artifacts/sample-web/artifact.gz from the internet: is allowed, want refused",
		},
		"the readers are gone": {
			nothing, bySid("AgentsReadArtifacts1", never),
			"CodeDeploy's instance, s3:GetObjectVersion on artifacts/artifacts/sample-web/artifact.gz from the internet: is refused, want allowed",
		},
		"the readers of another application are gone": {
			nothing, bySid("AgentsReadArtifacts2", never),
			"another application's instance, s3:GetObjectVersion on artifacts/artifacts/sample-shop/artifact.gz from the internet: is refused, want allowed",
		},
		"instances read the artifacts of every application": {
			nothing, func(resources map[string]any) {
				bySid("AgentsReadArtifacts2", func(s map[string]any) {
					parts := at(s, "Resource", "Fn::Join", 1).([]any)
					parts[len(parts)-1] = "/artifacts/*"
				})(resources)
			},
			"another application's instance, s3:GetObjectVersion on artifacts/artifacts/sample-web/artifact.gz from the internet: is allowed, want refused",
		},
		"a Deny covers more than uploads": {
			nothing, bySid("RefuseUploadsFromElsewhere", func(s map[string]any) { s["Action"] = "s3:*" }),
			"CodeDeploy's instance, s3:GetObject on artifacts/artifacts/sample-web/artifact.gz from the internet: is denied, want allowed",
		},
		"plain HTTP is not denied any more": {
			nothing, func(resources map[string]any) {
				eachStatement(resources, func(_ string, s map[string]any) {
					if at(s, "Condition", "Bool", "aws:SecureTransport") != nil {
						never(s)
					}
				})
			},
			"administrator of B, s3:GetObject on artifacts/artifacts/sample-web/artifact.gz from the internet, plain HTTP: is allowed, want denied",
		},
		"TLS of old is not denied any more": {
			nothing, func(resources map[string]any) {
				eachStatement(resources, func(_ string, s map[string]any) {
					if at(s, "Condition", "NumericLessThan", "s3:TlsVersion") != nil {
						never(s)
					}
				})
			},
			"job, s3:PutObject on artifacts/artifacts/sample-web/artifact.gz from the endpoint, TLS 1.1: is allowed, want denied",
		},
		"jobs may do everything in S3": {
			bySid("UploadArtifacts", func(s map[string]any) { s["Action"], s["Resource"] = "s3:*", "*" }), nothing,
			"job, s3:PutObject on backups/backups/one/part.tar from the endpoint: is allowed, want refused",
		},
		"jobs may list everything": {
			func(resources map[string]any) {
				eachStatement(resources, func(id string, s map[string]any) {
					if s["Sid"] == "ListStates" {
						delete(s, "Condition")
					}
				})
			},
			bySid("ListStates", unconditional),
			"job, s3:ListBucket on artifacts from the endpoint: is allowed, want refused",
		},
		"the endpoint has no policy": {
			func(resources map[string]any) {
				for _, r := range resources {
					if at(r, "Type") == "AWS::EC2::VPCEndpoint" {
						delete(at(r, "Properties").(map[string]any), "PolicyDocument")
					}
				}
			},
			nothing,
			"administrator of C, s3:PutObject on a stranger's bucket/loot from the endpoint: is allowed, want refused",
		},
		"the endpoint does not ask for the bucket's owner": {
			bySid("Artifacts", unconditional), nothing,
			"another role of A that may write to S3, s3:PutObject on a stranger's bucket of the same name/artifacts/loot from the endpoint: is allowed, want refused",
		},
		"the runner may not fetch its program": {
			bySid("FetchProgram", never), nothing,
			"runner, s3:GetObject on programs/the job's program from the endpoint: is refused, want allowed",
		},
		"the runner may fetch every asset": {
			func(resources map[string]any) {
				eachStatement(resources, func(_ string, s map[string]any) {
					if s["Sid"] == "FetchProgram" || s["Sid"] == "Programs" {
						s["Resource"] = "*"
					}
				})
			}, nothing,
			"runner, s3:GetObject on programs/another.zip from the endpoint: is allowed, want refused",
		},
		"the endpoint forgets programs": {
			bySid("Programs", never), nothing,
			"runner, s3:GetObject on programs/the job's program from the endpoint: is refused, want allowed",
		},
		"the endpoint does not ask for the owner of programs": {
			bySid("Programs", unconditional), nothing,
			"another role of A that may write to S3, s3:GetObject on programs of the same name, a stranger's/the job's program from the endpoint: is allowed, want refused",
		},
		"the endpoint forgets Amazon Linux": {
			bySid("AmazonLinux", never), nothing,
			"anonymous, s3:GetObject on Amazon Linux 2/2/core/latest/x86_64/mirror.list from the endpoint: is refused, want allowed",
		},
		"the endpoint forgets Docker Hub": {
			bySid("DockerHubLayers", never), nothing,
			"Docker Hub's presigned URL, s3:GetObject on image layers of Docker Hub/one from the endpoint: is refused, want allowed",
		},
		"the endpoint forgets ECR": {
			bySid("ImageLayers", never), nothing,
			"ECR's presigned URL, s3:GetObject on image layers/one from the endpoint: is refused, want allowed",
		},
		"the endpoint forgets CloudFormation": {
			bySid("WaitConditions", never), nothing,
			"CloudFormation's presigned URL, s3:PutObject on wait conditions/one from the endpoint: is refused, want allowed",
		},
		"the trigger may deploy to every group": {
			nothing, bySid("Deploy", func(s map[string]any) { s["Resource"] = "*" }),
			"trigger, codedeploy:CreateDeployment on another group from AWS: is allowed, want refused",
		},
		"the queue takes events of every bucket": {
			nothing, bySid("ArtifactEvents", unconditional),
			"S3, for a stranger's bucket, sqs:SendMessage on queue from AWS: is allowed, want refused",
		},
		"alarms may not publish, as before this test was written": {
			nothing, bySid("AlarmsOfThisAccount", never),
			"CloudWatch, for our alarm, sns:Publish on alarms from AWS: is refused, want allowed",
		},
		"every rule may call the status function": {
			nothing, func(resources map[string]any) {
				for _, r := range resources {
					if at(r, "Type") == "AWS::Lambda::Permission" {
						delete(at(r, "Properties").(map[string]any), "SourceArn")
					}
				}
			},
			"EventBridge, for a stranger's rule, lambda:InvokeFunction on status function from AWS: is allowed, want refused",
		},
		"the flow log's role serves everybody": {
			func(resources map[string]any) {
				eachStatement(resources, func(id string, s map[string]any) {
					if strings.HasPrefix(id, "NetworkFlowLogIAMRole") {
						delete(s, "Condition")
					}
				})
			},
			nothing,
			"VPC flow logs of a stranger, sts:AssumeRole on role of the flow log from AWS: is allowed, want refused",
		},
		"the runner reads every parameter": {
			bySid("NoOtherParameter", never), nothing,
			"runner, ssm:GetParameter on another parameter from the internet: is allowed, want denied",
		},
		"the server reads every parameter": {
			func(resources map[string]any) {
				eachStatement(resources, func(id string, s map[string]any) {
					if strings.HasPrefix(id, "ServerRole") && s["Sid"] == "NoOtherParameter" {
						never(s)
					}
				})
			}, nothing,
			"server, ssm:GetParameter on another parameter from the internet: is allowed, want denied",
		},
		"backups are read by everybody of account A": {
			bySid("NobodyElseReadsBackups", never), nothing,
			"administrator of A, s3:GetObject on backups/secrets/one/gitlab-secrets.json from the internet: is allowed, want denied",
		},
		"backups are read by nobody": {
			bySid("NobodyElseReadsBackups", unconditional), nothing,
			"server, s3:GetObject on backups/backups/one/part.tar from the endpoint: is denied, want allowed",
		},
		"manifests are closed, too": {
			bySid("NobodyElseReadsBackups", func(s map[string]any) {
				delete(s, "NotResource")
				s["Resource"] = "*"
			}), nothing,
			"operator, s3:GetObject on backups/backups/one/manifest.json from the internet: is denied, want allowed",
		},
		"the server cannot store under the key": {
			bySid("ServerStoresBackups", never), nothing,
			"server, kms:GenerateDataKey on backups' key (kms:CallerAccount 111111111111) (kms:EncryptionContext:aws:s3:arn ARN of backups) (kms:ViaService s3.ap-northeast-1.amazonaws.com) from the internet: is refused, want allowed",
		},
		"the server uses the key without S3, and for other buckets": {
			func(resources map[string]any) {
				bySid("ServerStoresBackups", unconditional)(resources)
				bySid("KeyOfBackupsAlone", never)(resources)
			}, nothing,
			"server, kms:Decrypt on backups' key from the internet: is allowed, want denied",
		},
		"the server uses the key for other buckets": {
			bySid("KeyOfBackupsAlone", never), nothing,
			"(kms:EncryptionContext:aws:s3:arn arn:aws:s3:::another) (kms:ViaService s3.ap-northeast-1.amazonaws.com) from the internet: is allowed, want denied",
		},
		"the server may do everything with backups": {
			bySid("KeepBackups", func(s map[string]any) { s["Action"] = "s3:*" }), nothing,
			"server, s3:BypassGovernanceRetention on backups/backups/one/part.tar from the internet: is allowed, want refused",
		},
		"whoever breaks the glass cannot decrypt": {
			bySid("BreakGlassBackups", never), nothing,
			"break-glass role without policies of its own, kms:Decrypt on backups' key (kms:CallerAccount 111111111111) (kms:EncryptionContext:aws:s3:arn ARN of backups) (kms:ViaService s3.ap-northeast-1.amazonaws.com) from the internet: is refused, want allowed",
		},
		"whoever breaks the glass decrypts without S3": {
			bySid("BreakGlassBackups", unconditional), nothing,
			"break-glass role without policies of its own, kms:Decrypt on backups' key from the internet: is allowed, want refused",
		},
		"whoever breaks the glass cannot read": {
			bySid("BreakGlassReadsAndBringsIn", never), nothing,
			"break-glass role without policies of its own, s3:GetObject on backups/backups/one/part.tar from the internet: is refused, want allowed",
		},
		"whoever breaks the glass cannot list": {
			bySid("BreakGlassLists", never), nothing,
			"break-glass role without policies of its own, s3:ListBucketVersions on backups from the internet: is refused, want allowed",
		},
		"administrators may use the keys of what is kept": {
			bySid("AdministerButNotUse", func(s map[string]any) { s["Action"] = "kms:*" }), nothing,
			"administrator of A, kms:CreateGrant on backups' key from the internet: is allowed, want refused",
		},
		"a deploy cannot make the volume": {
			bySid("VolumesAndSnapshots", never), nothing,
			"CloudFormation, deploying, kms:GenerateDataKeyWithoutPlaintext on data volume's key (kms:CallerAccount 111111111111) (kms:ViaService ec2.ap-northeast-1.amazonaws.com) from the internet: is refused, want allowed",
		},
		"whoever breaks the glass uses the volume's key without EC2": {
			bySid("VolumesAndSnapshots", unconditional), nothing,
			"break-glass role without policies of its own, kms:Decrypt on data volume's key from the internet: is allowed, want refused",
		},
		"a deploy cannot start the server again": {
			bySid("GrantsForEC2", never), nothing,
			"CloudFormation, deploying, kms:CreateGrant on data volume's key (kms:CallerAccount 111111111111) (kms:GrantIsForAWSResource true) (kms:ViaService ec2.ap-northeast-1.amazonaws.com) from the internet: is refused, want allowed",
		},
		"whoever breaks the glass makes grants for themselves": {
			bySid("GrantsForEC2", unconditional), nothing,
			"break-glass role without policies of its own, kms:CreateGrant on data volume's key (kms:CallerAccount 111111111111) (kms:GrantIsForAWSResource false) (kms:ViaService ec2.ap-northeast-1.amazonaws.com) from the internet: is allowed, want refused",
		},
		"AWS Backup cannot make the snapshot": {
			bySid("SnapshotsOfBackup", never), nothing,
			"AWS Backup's role, kms:GenerateDataKeyWithoutPlaintext on data volume's key (kms:CallerAccount 111111111111) (kms:ViaService ec2.ap-northeast-1.amazonaws.com) from the internet: is refused, want allowed",
		},
		"AWS Backup does not see the key": {
			bySid("BackupLooks", never), nothing,
			"AWS Backup's role, kms:DescribeKey on data volume's key from the internet: is refused, want allowed",
		},
		"AWS Backup cannot hand the key to EC2": {
			bySid("GrantsForBackup", never), nothing,
			"AWS Backup's role, kms:CreateGrant on data volume's key (kms:CallerAccount 111111111111) (kms:GrantIsForAWSResource true) (kms:ViaService ec2.ap-northeast-1.amazonaws.com) from the internet: is refused, want allowed",
		},
		"AWS Backup makes any grant": {
			bySid("GrantsForBackup", unconditional), nothing,
			"AWS Backup's role, kms:CreateGrant on data volume's key (kms:CallerAccount 111111111111) (kms:GrantIsForAWSResource false) (kms:ViaService ec2.ap-northeast-1.amazonaws.com) from the internet: is allowed, want refused",
		},
		"administrators may attach the volume": {
			bySid("AdministerButNotUse", func(s map[string]any) { s["Action"] = "kms:*" }), nothing,
			"administrator of A, kms:CreateGrant on data volume's key (kms:CallerAccount 111111111111) (kms:GrantIsForAWSResource true) (kms:ViaService ec2.ap-northeast-1.amazonaws.com) from the internet: is allowed, want refused",
		},
		"the function lists the names of secrets": {
			func(resources map[string]any) {
				eachStatement(resources, func(id string, s map[string]any) {
					if strings.HasPrefix(id, "BackupWatch") && s["Sid"] == "CountManifests" {
						unconditional(s)
					}
				})
			}, nothing,
			"markers, s3:ListBucket on backups (s3:prefix secrets/) from AWS: is allowed, want refused",
		},
		"the function cannot count": {
			func(resources map[string]any) {
				eachStatement(resources, func(id string, s map[string]any) {
					if strings.HasPrefix(id, "BackupWatch") && s["Sid"] == "CountManifests" {
						never(s)
					}
				})
			}, nothing,
			"markers, s3:ListBucket on backups (s3:prefix backups/) from AWS: is refused, want allowed",
		},
		"every rule may tell of removed backups": {
			func(resources map[string]any) {
				for _, r := range resources {
					if at(r, "Type") == "AWS::Lambda::Permission" {
						delete(at(r, "Properties").(map[string]any), "SourceArn")
					}
				}
			}, nothing,
			"EventBridge, for a stranger's rule, lambda:InvokeFunction on markers function from AWS: is allowed, want refused",
		},
		"everybody opens the vault": {
			bySid("NobodyOpensTheVault", never), nothing,
			"administrator of A, backup:DeleteBackupVaultLockConfiguration on vault from the internet: is allowed, want denied",
		},
		"nobody opens the vault, CloudFormation neither": {
			bySid("NobodyOpensTheVault", unconditional), nothing,
			"CloudFormation, deploying, backup:PutBackupVaultAccessPolicy on vault from the internet: is denied, want allowed",
		},
		"everybody deletes snapshots": {
			bySid("NobodyDeletesSnapshots", never), nothing,
			"administrator of A, backup:DeleteRecoveryPoint on vault from the internet: is allowed, want denied",
		},
		"administrators may use the token's key": {
			bySid("AdministerButNotUse", func(s map[string]any) { s["Action"] = "kms:*" }), nothing,
			"administrator of A, kms:CreateGrant on token's key from the internet: is allowed, want refused",
		},
		"every project of the issuer may deploy": {
			nothing, trusting("deploy", func(s map[string]any) { delete(s["Condition"].(map[string]any), "StringLike") }),
			"job of a fork's branch of that name, sts:AssumeRoleWithWebIdentity on deploy role of the pipeline from the internet: is allowed, want refused",
		},
		"every branch may deploy": {
			nothing, trusting("deploy", subjectBecomes("project_path:platform/gitlab-codedeploy:ref_type:branch:ref:*")),
			"job of another branch, sts:AssumeRoleWithWebIdentity on deploy role of the pipeline from the internet: is allowed, want refused",
		},
		"tags may deploy": {
			nothing, trusting("deploy", subjectBecomes("project_path:platform/gitlab-codedeploy:ref_type:*:ref:main")),
			"job of a tag of the branch's name, sts:AssumeRoleWithWebIdentity on deploy role of the pipeline from the internet: is allowed, want refused",
		},
		"projects are told apart by the beginning of their path": {
			nothing, trusting("review", subjectBecomes("project_path:platform/gitlab-codedeploy*")),
			"job of a project whose path begins like it, sts:AssumeRoleWithWebIdentity on review role of the pipeline from the internet: is allowed, want refused",
		},
		"tokens for others are taken": {
			nothing, trusting("deploy", func(s map[string]any) { delete(s["Condition"].(map[string]any), "StringEquals") }),
			"job of the branch, for somebody else, sts:AssumeRoleWithWebIdentity on deploy role of the pipeline from the internet: is allowed, want refused",
		},
		"the issuer is this environment's GitLab": {
			nothing, trusting("deploy", func(s map[string]any) {
				s["Principal"] = map[string]any{"Federated": "arn:aws:iam::222222222222:oidc-provider/gitlab.example.com"}
				s["Condition"] = map[string]any{
					"StringEquals": map[string]any{"gitlab.example.com:aud": "sts.amazonaws.com"},
					"StringLike":   map[string]any{"gitlab.example.com:sub": "project_path:platform/gitlab-codedeploy:ref_type:branch:ref:main"},
				}
			}),
			"job of the branch, signed by this environment's GitLab, sts:AssumeRoleWithWebIdentity on deploy role of the pipeline from the internet: is allowed, want refused",
		},
		"the server loses the policy that patch manager needs": {
			func(resources map[string]any) {
				for id, r := range resources {
					if at(r, "Type") == "AWS::IAM::Role" && strings.HasPrefix(id, "ServerRole") {
						delete(at(r, "Properties").(map[string]any), "ManagedPolicyArns")
					}
				}
			},
			nothing,
			"server, ssm:GetDeployablePatchSnapshotForInstance on everything from the internet: is refused, want allowed",
		},
		"the pipeline's role trusts nobody": {
			nothing, trusting("deploy", never),
			"job of the branch, sts:AssumeRoleWithWebIdentity on deploy role of the pipeline from the internet: is refused, want allowed",
		},
		"the host may upload": {
			alsoFor("UploadArtifacts", "RunnerRole"), nothing,
			"runner, s3:PutObject on artifacts/artifacts/sample-web/artifact.gz from the endpoint: is allowed, want refused",
		},
		"jobs may register runners": {
			alsoFor("TakeRunnerToken", "RunnerJobRole"), nothing,
			"job, ssm:DeleteParameter on token's parameter from the internet: is allowed, want refused",
		},
		"jobs are their host for Systems Manager": {
			func(resources map[string]any) {
				for id, r := range resources {
					if at(r, "Type") == "AWS::IAM::Role" && strings.HasPrefix(id, "RunnerJobRole") {
						at(r, "Properties").(map[string]any)["ManagedPolicyArns"] = []any{"arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"}
					}
				}
			}, nothing,
			"job, ssm:UpdateInstanceInformation on instance of the server from the internet: is allowed, want refused",
		},
		"the role of jobs is anybody's in the account": {
			func(resources map[string]any) {
				for id, r := range resources {
					if at(r, "Type") == "AWS::IAM::Role" && strings.HasPrefix(id, "RunnerJobRole") {
						at(r, "Properties", "AssumeRolePolicyDocument", "Statement", 0).(map[string]any)["Principal"] = map[string]any{"AWS": "arn:aws:iam::111111111111:root"}
					}
				}
			}, nothing,
			"administrator of A, sts:AssumeRole on role of jobs from the internet: is allowed, want refused",
		},
		"the role of jobs trusts nobody": {
			func(resources map[string]any) {
				for id, r := range resources {
					if at(r, "Type") == "AWS::IAM::Role" && strings.HasPrefix(id, "RunnerJobRole") {
						never(at(r, "Properties", "AssumeRolePolicyDocument", "Statement", 0).(map[string]any))
					}
				}
			}, nothing,
			"runner, sts:AssumeRole on role of jobs from the internet: is refused, want allowed",
		},
		"the runner's role may be taken by functions": {
			func(resources map[string]any) {
				for id, r := range resources {
					if at(r, "Type") == "AWS::IAM::Role" && strings.HasPrefix(id, "RunnerRole") {
						at(r, "Properties", "AssumeRolePolicyDocument", "Statement", 0).(map[string]any)["Principal"] = map[string]any{"Service": []any{"ec2.amazonaws.com", "lambda.amazonaws.com"}}
					}
				}
			},
			nothing,
			"Lambda, sts:AssumeRole on role of the runner from AWS: is allowed, want refused",
		},
	}
	var worlds []*access.World
	names := slices.Sorted(maps.Keys(mistakes))
	for _, name := range names {
		worlds = append(worlds, world(t, cfg, changed(t, gitlab, mistakes[name].inA), changed(t, deploy, mistakes[name].inB)))
	}
	for i, said := range wrong(t, accessCases(t), worlds...) {
		t.Run(names[i], func(t *testing.T) {
			assert.Contains(t, strings.Join(said, "\n"), mistakes[names[i]].seen)
		})
	}
}

func TestS9_theEndpointsPolicyFitsAndNamesEveryBucket(t *testing.T) {
	cfg := staging(t)
	for i := range 50 {
		cfg.GitLab.Network.ReadableBuckets = append(cfg.GitLab.Network.ReadableBuckets, fmt.Sprintf("%s%03d", strings.Repeat("x", 60), i))
	}
	gitlab := synthesiseGitLab(t, cfg)
	parsed := parse(t, gitlab, cfg.GitLab.Account, cfg, nil)
	policy := parsed.Properties(parsed.Output("S3EndpointId"))["PolicyDocument"]
	// https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html
	assert.Less(t, len(text(policy)), 20480)
	for _, s := range statements(policy) {
		for _, resource := range list(s["Resource"]) {
			if resource == "arn:aws:s3:::docker-images-prod*/*" {
				continue // see s3EndpointStatements
			}
			assert.Regexp(t, `^arn:aws:s3:::[a-z0-9.-]+(-\*/\*|/([a-z]+/)?\*|/[0-9a-f]{64}\.bin)?$`, resource)
		}
		for _, action := range list(s["Action"]) {
			assert.NotContains(t, action, "*")
		}
	}
}

// imageSources are the registries that docs/operations.md promises to jobs,
// with the things of the access cases that their layers are, if any of them are
// in S3 of the region.
var imageSources = map[string][]string{
	"Docker Hub":        {"image layers of Docker Hub/one", "image layers of Docker Hub in another bucket/one"},
	"Amazon ECR":        {"image layers/one"},
	"Amazon ECR Public": nil, // CloudFront
	"GitLab.com":        nil, // Google Cloud
}

// TestS11_layersOfEveryPromisedRegistryComeThrough holds the docs, the cases and
// the endpoint's policy together; that the cases are decided so is tested above.
func TestS11_layersOfEveryPromisedRegistryComeThrough(t *testing.T) {
	decided := map[string]string{}
	for _, subject := range accessCases(t) {
		for _, c := range subject.Cases {
			if c.Does == "s3:GetObject" && c.From == "the endpoint" && strings.HasSuffix(c.Who, "'s presigned URL") {
				decided[c.On] = c.Is
			}
		}
	}
	_, section, found := strings.Cut(read(t, "docs/operations.md"), "### Where the images of jobs come from\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n#")
	var promised []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([A-Z][^|(]*) \(.*\| yes`).FindAllStringSubmatch(section, -1) {
		promised = append(promised, row[1])
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(imageSources)), promised, "docs/operations.md and imageSources")
	for registry, layers := range imageSources {
		for _, thing := range layers {
			assert.Equal(t, "allowed", decided[thing], "%s needs a case for %s", registry, thing)
		}
	}
}

// TestS9_theBucketsPolicyFitsWithAllReadersThatTheConfigurationTakes: S3 takes 20
// KB. The configuration counts what the readers take, and the rest has its room
// with the longest names.
func TestS9_theBucketsPolicyFitsWithAllReadersThatTheConfigurationTakes(t *testing.T) {
	for name, tt := range map[string]struct {
		bucket, prefix      string
		applications, roles int
		application, role   string // begin the names
	}{
		"twenty roles, and the longest names": {strings.Repeat("b", 63), strings.Repeat("p", 911) + "/", 1, 20, strings.Repeat("x", 97), strings.Repeat("p", 500) + "/" + strings.Repeat("r", 61)},
		"each with a folder of its own":       {strings.Repeat("b", 63), strings.Repeat("p", 911) + "/", 2, 9, strings.Repeat("x", 97), strings.Repeat("p", 500) + "/" + strings.Repeat("r", 61)},
		"sixty with a role each":              {"example-deploy", "artifacts/", 60, 1, "web-", "web-instance-"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := staging(t)
			cfg.Deploy.Artifacts.BucketName, cfg.Deploy.Artifacts.Prefix = tt.bucket, tt.prefix
			cfg.Deploy.Applications, cfg.Deploy.DeploymentGroups = nil, nil
			for i := range tt.applications {
				entry := config.Application{Name: fmt.Sprintf("%s%03d", tt.application, i)}
				cfg.Deploy.DeploymentGroups = append(cfg.Deploy.DeploymentGroups, config.DeploymentGroup{Application: entry.Name, DeploymentGroup: "g"})
				for j := range tt.roles {
					entry.ReaderRoles = append(entry.ReaderRoles, fmt.Sprintf("arn:aws:iam::%s:role/%s%03d", cfg.Deploy.Account, tt.role, i+j))
				}
				cfg.Deploy.Applications = append(cfg.Deploy.Applications, entry)
			}
			bytes := func() int {
				deploy := synthesiseDeploy(t, cfg)
				parsed := parse(t, deploy, cfg.Deploy.Account, cfg, map[string]string{"SourceVpceId": "vpce-0123456789abcdef0"})
				longest := 0
				for _, id := range parsed.OfType("AWS::S3::BucketPolicy") {
					longest = max(longest, len(text(parsed.Properties(id)["PolicyDocument"])))
				}
				return longest
			}
			counted, all := cfg.Deploy.ReadersBytes(cfg.Region), bytes()
			cfg.Deploy.Applications = nil
			others := bytes()
			assert.LessOrEqual(t, counted, config.MaxReadersBytes, "the case is one that the configuration takes")
			assert.Greater(t, counted, config.MaxReadersBytes*8/10, "and it takes little more")
			assert.LessOrEqual(t, all-others, counted)
			assert.Greater(t, all-others, counted*95/100)
			assert.LessOrEqual(t, others, 20<<10-config.MaxReadersBytes)
		})
	}
}

func TestS9_withoutReadersNobodyIsNamed(t *testing.T) {
	cfg := staging(t)
	cfg.Deploy.Applications[0].ReaderRoles = nil
	deploy := synthesiseDeploy(t, cfg)
	_, policy := artifactBucket(t, deploy)
	assert.NotEmpty(t, policy)
	assert.NotContains(t, policy, "AgentsReadArtifacts1")
}
