// Package rights makes IAM policies of the calls that commands declare.
//
// A command declares its calls in the SDK's words ("s3:ListObjectsV2"). The catalogue knows what IAM wants for each
// ("s3:ListBucket"), and on what: documents, hosts, buckets, queues, parameters and secrets of one environment by their names.
// Where a call is about different things in different commands, the command says which: "ssm:SendCommand document:status",
// "s3:GetObject artifacts".
package rights

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/config"
)

// Names are what the policies of an environment name.
type Names struct {
	Config config.Config
	// Output is an output of an account's stack. nil means that nobody has asked: then the policies have the output's name
	// in brackets, such as <ServerInstanceId>.
	Output func(side account.Side, name string) string
	// crowded: there is no room for the names of applications, groups and their roles, so it is about all of the account.
	crowded bool
}

// Policy is a document of IAM's.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string]any `json:",omitempty"`
}

// MaxBytes is what IAM takes of a managed policy, blanks not counted.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const MaxBytes = 6144

// Bytes is the size of a policy as IAM counts it.
func (p Policy) Bytes() int {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // texts alone
	}
	return len(text)
}

// opening are the calls that open an account, which every command makes.
var opening = []string{"sts:GetCallerIdentity", "cloudformation:DescribeStacks"}

// grant is an action on what a scope stands for.
type grant struct{ action, scope string }

// grantsFor are what a declared call needs.
func grantsFor(side account.Side, declared string) ([]grant, error) {
	call, about, isAbout := strings.Cut(declared, " ")
	found := catalogue[string(side)+" "+call]
	if found == nil {
		found = catalogue[call]
	}
	if found == nil {
		return nil, fmt.Errorf("internal/rights does not know what IAM wants for %s in the account %s: say it in its catalogue", call, side)
	}
	found = slices.Clone(found)
	all := about == "everything" // what the call is otherwise about is not known yet
	if isAbout && len(found) == 1 {
		found[0].scope = about // another one than the usual
		return found, nil
	}
	for i := range found {
		switch {
		case all:
			found[i].scope, isAbout = about, false
		case found[i].scope != told:
		case !isAbout:
			return nil, fmt.Errorf("%s is about different things: say which after it, such as %q", call, call+" <scope>")
		default:
			found[i].scope, isAbout = about, false
		}
	}
	if isAbout {
		return nil, fmt.Errorf("%s is about one thing only, and got %q", call, about)
	}
	return found, nil
}

// Make makes the policy of the calls that are made in one account. Applications and deployment groups are named as long as IAM
// has room for that.
func Make(names Names, side account.Side, declared []string) (Policy, error) {
	p, err := makePolicy(names, side, declared)
	if err == nil && p.Bytes() > MaxBytes {
		names.crowded = true
		return makePolicy(names, side, declared)
	}
	return p, err
}

func makePolicy(names Names, side account.Side, declared []string) (Policy, error) {
	actions := map[string][]string{} // by scope
	for _, call := range slices.Concat(opening, declared) {
		needed, err := grantsFor(side, call)
		if err != nil {
			return Policy{}, err
		}
		for _, g := range needed {
			actions[g.scope] = append(actions[g.scope], g.action)
		}
	}
	// Scopes with the same actions and the same condition are one statement.
	statements := map[string]*Statement{}
	for _, name := range slices.Sorted(maps.Keys(actions)) {
		s, err := scopeOf(name)
		if err != nil {
			return Policy{}, err
		}
		allowed := slices.Compact(slices.Sorted(slices.Values(actions[name])))
		condition, err := json.Marshal(s.when)
		if err != nil {
			return Policy{}, err
		}
		resources := s.on(names, side)
		if len(resources) == 0 {
			continue // such as the certificate of a configuration without one
		}
		key := strings.Join(allowed, " ") + string(condition)
		if s.why != "" {
			key += name // a star covers no other statement's things
		}
		if statements[key] == nil {
			statements[key] = &Statement{Effect: "Allow", Action: allowed, Condition: s.when}
		}
		st := statements[key]
		if title := sid(name); !strings.Contains(st.Sid, title) {
			st.Sid += title
		}
		st.Resource = append(st.Resource, resources...)
	}
	p := Policy{Version: "2012-10-17"}
	for _, s := range statements {
		slices.Sort(s.Resource)
		s.Resource = slices.Compact(s.Resource)
		p.Statement = append(p.Statement, *s)
	}
	slices.SortFunc(p.Statement, func(a, b Statement) int {
		return cmp.Or(cmp.Compare(a.Sid, b.Sid), slices.Compare(a.Action, b.Action))
	})
	return p, nil
}

// sid is the name of a statement: letters and digits alone.
func sid(scope string) string {
	name, _, _ := strings.Cut(scope, ":")
	var title strings.Builder
	for word := range strings.SplitSeq(name, " ") {
		title.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return title.String()
}

// Allows says whether a policy lets an action through on a resource. Its conditions count as met.
func (p Policy) Allows(action, resource string) bool {
	for _, s := range p.Statement {
		if slices.Contains(s.Action, action) && slices.ContainsFunc(s.Resource, func(pattern string) bool { return matches(pattern, resource) }) {
			return true
		}
	}
	return false
}

// Actions are what IAM wants for a call, whatever it is about. known is false for a call that is not in the catalogue.
func Actions(side account.Side, call string) (actions []string, known bool) {
	found := catalogue[string(side)+" "+call]
	if found == nil {
		found = catalogue[call]
	}
	for _, g := range found {
		actions = append(actions, g.action)
	}
	slices.Sort(actions)
	return slices.Compact(actions), found != nil
}

// matches is IAM's: a star stands for any text, slashes too.
func matches(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) {
		return false
	}
	text = text[len(first):]
	for i := 0; i <= len(text); i++ {
		if matches(rest, text[i:]) {
			return true
		}
	}
	return false
}

// Star is a resource that stands for more than one thing, and why.
type Star struct{ Scope, Why string }

// Stars are the scopes of a policy that stand for more than what they name, with the reason.
func Stars(p Policy) []Star {
	var found []Star
	for _, name := range slices.Sorted(maps.Keys(scopes)) {
		if s := scopes[name]; s.why != "" && slices.ContainsFunc(p.Statement, func(st Statement) bool { return strings.Contains(st.Sid, sid(name)) }) {
			found = append(found, Star{sid(name), s.why})
		}
	}
	return found
}
