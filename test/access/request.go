package access

// Request is one of somebody in an account whose only policy is given.
type Request struct {
	Account, Action, Resource string
	Context                   map[string]string
}

// WithPolicy is a request that a single policy of its maker decides.
func WithPolicy(r Request, document any) (s Simulation) {
	s.Request.Principal = "arn:aws:sts::" + r.Account + ":assumed-role/people/alice"
	s.Request.Action, s.Request.ContextVariables = r.Action, r.Context
	s.Request.Resource.Resource, s.Request.Resource.AccountID = r.Resource, r.Account
	s.IdentityPolicies = []policy{{"People", document}}
	s.ServiceControlPolicies, s.ResourceControlPolicies = []policy{}, []policy{}
	return s
}
