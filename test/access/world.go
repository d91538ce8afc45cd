package access

import (
	"fmt"
	"maps"
	"strings"

	"gitlab-codedeploy/test/cfn"
)

// World is the two accounts as their templates make them, and some others.
type World struct {
	// A and B are the templates of the two accounts.
	A, B *cfn.Template
	// Managed are policies that AWS wrote, by name.
	Managed map[string]any
	// Operator and Shell are the policies that docs/operations.md gives to
	// operators: for commands, and for a shell besides.
	Operator, Shell any
	// Reader and OtherReader are the names of roles of account B that may read
	// artifacts of sample-web, and those of sample-shop.
	Reader, OtherReader string
	// BreakGlass is the name of a role of account A that may break the glass.
	BreakGlass string
	// Application and Group are a pair that may be deployed to.
	Application, Group string
	// ReadableBucket is one of those that the configuration lets through.
	ReadableBucket string
	// Pipeline is the project that may sign in. GitLab is the host of this
	// environment's own GitLab, which may not.
	Pipeline struct{ Issuer, Project, Branch string }
	GitLab   string
}

// Other accounts: a stranger's, and those of AWS's own buckets.
const (
	accountC   = "333333333333"
	accountAWS = "999999999999"
)

// policy is a policy with a name.
type policy struct {
	Name   string `json:"name"`
	Policy any    `json:"policy"`
}

// Simulation is one request and the policies that decide it, in the form that
// the simulator takes.
type Simulation struct {
	Request struct {
		Principal any    `json:"principal"`
		Action    string `json:"action"`
		Resource  struct {
			Resource  string `json:"resource"`
			AccountID string `json:"accountId"`
		} `json:"resource"`
		ContextVariables map[string]string `json:"contextVariables"`
	} `json:"request"`
	IdentityPolicies        []policy       `json:"identityPolicies"`
	ResourcePolicy          any            `json:"resourcePolicy,omitempty"`
	VPCEndpointPolicies     []policy       `json:"vpcEndpointPolicies,omitempty"`
	ServiceControlPolicies  []policy       `json:"serviceControlPolicies"`
	ResourceControlPolicies []policy       `json:"resourceControlPolicies"`
	AdditionalSettings      map[string]any `json:"additionalSettings,omitempty"`
}

// Simulation puts a case together.
func (w *World) Simulation(c Case) (s Simulation, err error) {
	defer cfn.Catch(&err)
	who, what, where := w.actor(c.Who), w.thing(c.On), w.place(c.From)

	s.Request.Principal, s.Request.Action = who.principal, c.Does
	s.Request.Resource.Resource, s.Request.Resource.AccountID = what.arn, what.account
	s.IdentityPolicies = append([]policy{}, who.policies...) // a list even when it is empty
	s.ServiceControlPolicies, s.ResourceControlPolicies = []policy{}, []policy{}
	s.ResourcePolicy = what.policy
	isS3 := strings.HasPrefix(c.Does, "s3:")
	if isS3 {
		s.AdditionalSettings = map[string]any{"s3": map[string]any{"blockPublicAccess": what.blocked}}
		s.VPCEndpointPolicies = where.policies
	}

	values := map[string]string{"aws:ResourceAccount": what.account}
	maps.Copy(values, where.context)
	maps.Copy(values, who.context)
	for key, value := range c.With {
		if name, is := strings.CutPrefix(value, "ARN of "); is {
			value = w.thing(name).arn
		}
		values[key] = value
	}
	if !isS3 {
		// The endpoint is S3's alone.
		delete(values, "s3:TlsVersion")
		if where.policies != nil {
			cfnRefuse("%s: %s is no place for %s", c, c.From, c.Does)
		}
	}
	s.Request.ContextVariables = values
	return s, nil
}

func cfnRefuse(format string, args ...any) {
	panic(cfn.Unresolved{What: fmt.Sprintf(format, args...)})
}

func statement(effect string, principal any, action, resource any) map[string]any {
	s := map[string]any{"Effect": effect, "Action": action, "Resource": resource}
	if principal != nil {
		s["Principal"] = principal
	}
	return s
}

func document(statements ...map[string]any) map[string]any {
	var list []any
	for _, s := range statements {
		list = append(list, s)
	}
	return map[string]any{"Version": "2012-10-17", "Statement": list}
}
