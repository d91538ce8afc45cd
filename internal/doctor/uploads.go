package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/account"
)

// uploads asks IAM whether the role of jobs may put what a job puts. That is its own policies' half: the bucket's is
// account B's, and IAM simulates no policies of resources for roles. bucketTakesUploads looks at that one.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
func uploads(ctx context.Context, l *look) []Finding {
	jobs, missing := l.output(account.GitLab, "JobRoleArn", `arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+`)
	if missing != nil {
		return missing
	}
	endpoint, missing := l.output(account.GitLab, "S3EndpointId", `vpce-[0-9a-f]{8,17}`)
	if missing != nil {
		return missing
	}
	var keys []string
	for _, key := range slices.Concat(l.artifactKeys(), []string{"tokens/doctor"}) {
		keys = append(keys, l.object(key))
	}
	denied, err := simulate(ctx, l.accounts[account.GitLab].AWS, jobs, []string{"s3:PutObject"}, keys, map[string]string{"aws:SourceVpce": endpoint, "aws:SecureTransport": "true"})
	what := fmt.Sprintf("s3:PutObject below %s and tokens/ through %s, by the policies of %s", l.config.Deploy.Artifacts.Prefix, endpoint, nameOf(jobs))
	switch {
	case err != nil:
		return []Finding{refused("iam:SimulatePrincipalPolicy", err)}
	case len(denied) > 0:
		return []Finding{wrong("scripts/ops deploy --env "+l.config.Environment+" --only a; then look at policies that somebody attached to the role, and at its boundary",
			"asked: %s. Refused: %s", what, joined(denied))}
	}
	return []Finding{ok("asked: %s. Allowed", what)}
}

// artifactKeys are keys that jobs of each application write.
func (l *look) artifactKeys() []string {
	var keys []string
	for _, group := range l.config.Deploy.DeploymentGroups {
		if key := l.config.Deploy.KeyPrefix(group.Application) + "doctor.gz"; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (l *look) object(key string) string {
	return "arn:" + l.config.Partition() + ":s3:::" + l.config.Deploy.Artifacts.BucketName + "/" + key
}

func nameOf(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// simulate answers what of it is refused, as "action on resource".
func simulate(ctx context.Context, loaded aws.Config, role string, actions, resources []string, with map[string]string) ([]string, error) {
	in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &role, ActionNames: actions, ResourceArns: resources}
	for key, value := range with {
		in.ContextEntries = append(in.ContextEntries, iamtypes.ContextEntry{ContextKeyName: &key, ContextKeyType: iamtypes.ContextKeyTypeEnumString, ContextKeyValues: []string{value}})
	}
	var denied []string
	decided := 0
	pages := iam.NewSimulatePrincipalPolicyPaginator(iam.NewFromConfig(loaded), in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, result := range page.EvaluationResults {
			// Several resources of one action are one result, with an entry for each of them.
			specific := result.ResourceSpecificResults
			if len(specific) == 0 {
				specific = []iamtypes.ResourceSpecificResult{{EvalResourceName: result.EvalResourceName, EvalResourceDecision: result.EvalDecision}}
			}
			for _, r := range specific {
				decided++
				if r.EvalResourceDecision != iamtypes.PolicyEvaluationDecisionTypeAllowed {
					denied = append(denied, aws.ToString(result.EvalActionName)+" on "+aws.ToString(r.EvalResourceName))
				}
			}
		}
	}
	if decided < len(actions)*len(resources) {
		return nil, fmt.Errorf("IAM decided %d of %d requests", decided, len(actions)*len(resources))
	}
	return denied, nil
}

// bucketPolicy is a statement of the artifact bucket's.
type bucketStatement struct {
	Sid, Effect         string
	Principal, Resource any
	Action              any
	Condition           map[string]map[string]any
}

// artifactPolicy reads the policy of the artifact bucket.
func (l *look) artifactPolicy(ctx context.Context) ([]bucketStatement, []Finding) {
	if err := l.noStack[account.Deploy]; err != nil {
		return nil, []Finding{unchecked("%s", err)}
	}
	out, err := s3.NewFromConfig(l.accounts[account.Deploy].AWS, pathStyle).GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{
		Bucket: &l.config.Deploy.Artifacts.BucketName, ExpectedBucketOwner: &l.config.Deploy.Account})
	remedy := "scripts/ops deploy --env " + l.config.Environment + " --only b"
	switch {
	case code(err) == "NoSuchBucketPolicy":
		return nil, []Finding{wrong(remedy, "the bucket %s has no policy", l.config.Deploy.Artifacts.BucketName)}
	case err != nil:
		return nil, []Finding{refused("s3:GetBucketPolicy", err)}
	}
	var policy struct{ Statement []bucketStatement }
	if err := json.Unmarshal([]byte(aws.ToString(out.Policy)), &policy); err != nil {
		return nil, []Finding{unchecked("the policy of the bucket cannot be read: %s", said(errors.New("it is no JSON of IAM's form")))}
	}
	return policy.Statement, nil
}

// allowing says whether a statement with that name allows an action, with the endpoint in its condition if one is given.
func allowing(statements []bucketStatement, sid, action, endpoint string) bool {
	for _, s := range statements {
		if s.Sid == sid && s.Effect == "Allow" && slices.Contains(texts(s.Action), action) &&
			(endpoint == "" || slices.Contains(texts(s.Condition["StringEquals"]["aws:SourceVpce"]), endpoint)) {
			return true
		}
	}
	return false
}

// texts are what a policy writes as a text or a list of them.
func texts(value any) []string {
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		var all []string
		for _, v := range value {
			if text, is := v.(string); is {
				all = append(all, text)
			}
		}
		return all
	}
	return nil
}

// bucketTakesUploads compares the endpoint that the bucket admits with the one that account A has: another one comes with a
// new network, and with a deploy of one account alone.
func bucketTakesUploads(ctx context.Context, l *look) []Finding {
	statements, missing := l.artifactPolicy(ctx)
	if missing != nil {
		return missing
	}
	if l.accounts[account.GitLab] == nil || l.noStack[account.GitLab] != nil {
		return []Finding{unchecked("the endpoint of account A is not known, and the bucket's policy names one")}
	}
	endpoint, missing := l.output(account.GitLab, "S3EndpointId", `vpce-[0-9a-f]{8,17}`)
	if missing != nil {
		return missing
	}
	var refusedTo []string
	for _, sid := range []string{"UploadThroughEndpoint", "TokensThroughEndpoint"} {
		if !allowing(statements, sid, "s3:PutObject", endpoint) {
			refusedTo = append(refusedTo, sid)
		}
	}
	if refusedTo != nil {
		return []Finding{wrong("scripts/ops deploy --env "+l.config.Environment+" --only b brings the endpoint of account A into the bucket's policy",
			"asked: whether the bucket's policy lets uploads through %s in. Not in its statements %s", endpoint, joined(refusedTo))}
	}
	return []Finding{ok("asked: whether the bucket's policy lets uploads through %s in. It does", endpoint)}
}
