package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/awstest"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/rights"
	"gitlab-codedeploy/test/access"
)

// undeclared says what is wrong with a call of the command that makes it, or nothing: every session asks for each call. The
// names of what CloudFormation makes are the test's own, so any will do for those.
func (s *session) undeclared(ctx context.Context, side account.Side, call calls.Call) string {
	name, _ := ctx.Value(running{}).(string)
	text, err := os.ReadFile(filepath.Join(s.configs, "staging.yaml"))
	if err != nil {
		return "" // of a test about configurations
	}
	made, _ := declarations.LoadOrStore(declaration{string(text), name, side}, sync.OnceValue(func() commandsRights { return s.rightsOf(name, side) }))
	d := made.(func() commandsRights)()
	switch {
	case d.fault != "":
		return d.fault
	case d.unread:
		return "" // of a test about configurations
	case d.policy == nil:
		return fmt.Sprintf("no command %q makes the call %s", name, call.Name())
	}
	return missingRight(*d.policy, name, side, call, d.cfg)
}

// declarations has a func() commandsRights for each declaration: to read a configuration takes longer than most calls.
var declarations sync.Map

// declaration is what a command with a configuration may do in an account.
type declaration struct {
	configuration, command string
	side                   account.Side
}

type commandsRights struct {
	cfg    config.Config
	unread bool           // the configuration is none
	policy *rights.Policy // nil for no such command
	fault  string
}

func (s *session) rightsOf(command string, side account.Side) commandsRights {
	cfg, err := config.Load(s.configs, "staging")
	if err != nil {
		return commandsRights{unread: true}
	}
	for _, d := range s.commands() {
		if d.command.Name() == command {
			policy, err := rights.Make(rights.Names{Config: cfg, Output: func(account.Side, string) string { return "*" }}, side, d.declaredBy(side))
			if err != nil {
				return commandsRights{fault: err.Error()}
			}
			return commandsRights{cfg: cfg, policy: &policy}
		}
	}
	return commandsRights{}
}

func missingRight(policy rights.Policy, command string, side account.Side, call calls.Call, cfg config.Config) string {
	actions, known := rights.Actions(side, call.Name())
	if !known {
		return fmt.Sprintf("%s calls %s in account %s, and the catalogue of internal/rights does not know it", command, call.Name(), side)
	}
	about := awstest.About(call, cfg.Region, accountOf(cfg, side))
	for _, action := range actions {
		allowed := slices.ContainsFunc(policy.Statement, func(st rights.Statement) bool { return slices.Contains(st.Action, action) })
		// A call with several actions has a resource for each, which About does not tell apart.
		if allowed && len(actions) == 1 {
			for _, resource := range about {
				allowed = allowed && policy.Allows(action, resource)
			}
		}
		if !allowed {
			return fmt.Sprintf("%s calls %s on %s in account %s without having declared it: see commands() and rights.go", command, call.Name(), strings.Join(about, ", "), side)
		}
	}
	return ""
}

func TestRightsOfACallThatNobodyDeclaredAreMissed(t *testing.T) {
	s := newSession(t)
	ctx := context.WithValue(t.Context(), running{}, "trust")
	send := func(document string) calls.Call {
		return calls.Call{Service: "ssm", Operation: "SendCommand", Input: &ssm.SendCommandInput{DocumentName: aws.String("gitlab-codedeploy-" + document), InstanceIds: []string{"i-1"}}}
	}
	assert.Empty(t, s.undeclared(ctx, account.GitLab, send("staging-keys")))
	for name, tt := range map[string]struct {
		ctx  context.Context
		side account.Side
		call calls.Call
		want string
	}{
		"another document":      {ctx, account.GitLab, send("staging-restore"), "document/gitlab-codedeploy-staging-restore"},
		"another environment's": {ctx, account.GitLab, send("production-keys"), "document/gitlab-codedeploy-production-keys"},
		"another account":       {ctx, account.Deploy, send("staging-keys"), "in account deploy without having declared it"},
		"another call":          {ctx, account.GitLab, calls.Call{Service: "s3", Operation: "GetObject", Input: &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")}}, "trust calls s3:GetObject on arn:aws:s3:::b/k"},
		"one that nobody knows": {ctx, account.GitLab, calls.Call{Service: "s3", Operation: "PutBucketAcl"}, "the catalogue of internal/rights does not know it"},
		"by no command":         {t.Context(), account.GitLab, send("staging-keys"), `no command "" makes the call`},
	} {
		t.Run(name, func(t *testing.T) { assert.Contains(t, s.undeclared(tt.ctx, tt.side, tt.call), tt.want) })
	}
}

func TestRightsOfEveryCommandBelongToOneRole(t *testing.T) {
	of := map[string][]string{}
	for _, r := range roles {
		for _, command := range r.commands {
			of[command] = append(of[command], r.name)
		}
	}
	for _, d := range (&program{}).commands() {
		assert.Len(t, of[d.command.Name()], 1, "the role of %s in rights.go", d.command.Name())
	}
}

// stagingNames are the names of config/staging.yaml, with outputs as AWS makes them.
func stagingNames(t *testing.T) rights.Names {
	t.Helper()
	cfg, err := config.Load("../../config", "staging")
	require.NoError(t, err)
	return rights.Names{Config: cfg, Output: func(_ account.Side, name string) string {
		return map[string]string{
			"ServerInstanceId": "i-0123456789abcdef0", "RunnerInstanceId": "i-0fedcba9876543210", "BackupBucketName": "gitlab-staging-backups",
			"RootPasswordSecretArn": "arn:aws:secretsmanager:ap-northeast-1:111111111111:secret:ServerRootPassword-x1-AbCdEf",
			"DataVolumeId":          "vol-0123456789abcdef0", "SnapshotVaultName": "GitLab-staging-1a2b3c4d",
			"QueueUrl":                 "https://sqs.ap-northeast-1.amazonaws.com/222222222222/Deploy-staging-TriggerQueue-1",
			"DeadLetterQueueUrl":       "https://sqs.ap-northeast-1.amazonaws.com/222222222222/Deploy-staging-TriggerDeadLetterQueue-1",
			"StatusDeadLetterQueueUrl": "https://sqs.ap-northeast-1.amazonaws.com/222222222222/Deploy-staging-StatusDeadLetterQueue-1",
			"StatusFunctionName":       "Deploy-staging-StatusFunction-1", "TriggerFunctionName": "Deploy-staging-TriggerFunction-1",
		}[name]
	}}
}

// TestRightsAreDecidedByTheSimulator asks an independent simulator of IAM about each action of each command, on each thing
// that it is declared for: with exactly the command's policy it is allowed, and without that action it is refused. A star
// in the place of things that the action knows fails by itself: the simulator answers for each kind of them.
func TestRightsAreDecidedByTheSimulator(t *testing.T) {
	names := stagingNames(t)
	type asked struct {
		what string
		want string
	}
	var simulations []access.Simulation
	var expected []asked
	ask := func(who string, side account.Side, policy rights.Policy) {
		for _, st := range policy.Statement {
			for _, action := range st.Action {
				for _, resource := range st.Resource {
					if strings.Contains(resource, "::document/AWS-") || strings.Contains(resource, "::parameter/aws/service/") {
						continue // the simulator knows no documents and parameters without an account, as AWS's own are
					}
					request := access.Request{Account: accountOf(names.Config, side), Action: action, Resource: concrete(resource), Context: contextFor(st)}
					what := fmt.Sprintf("%s: %s on %s", who, action, request.Resource)
					simulations = append(simulations, access.WithPolicy(request, policy), access.WithPolicy(request, without(policy, action)))
					expected = append(expected, asked{what, "Allowed"}, asked{what + ", without it", "ImplicitlyDenied"})
				}
			}
		}
	}
	p := &program{}
	for _, d := range p.commands() {
		for side := range d.calls {
			policy, err := rights.Make(names, side, d.declaredBy(side))
			require.NoError(t, err, d.command.Name())
			ask(d.command.Name(), side, policy)
		}
	}
	for _, r := range roles {
		made, err := p.policies(names, r)
		require.NoError(t, err, r.name)
		for side, policy := range made {
			assert.LessOrEqual(t, policy.Bytes(), rights.MaxBytes, "%s in %s is more than IAM takes", r.name, side)
			if r.byHand != nil {
				ask(r.name, side, policy)
			}
		}
	}
	decisions, err := access.Decide("../..", simulations)
	require.NoError(t, err)
	for i, d := range decisions {
		assert.Empty(t, d.Error, expected[i].what)
		assert.Equal(t, expected[i].want, d.Result, expected[i].what)
	}
	assert.Greater(t, len(decisions), 20)
}

// concrete is a thing that a pattern stands for.
func concrete(pattern string) string {
	if pattern == "*" {
		return pattern
	}
	return strings.NewReplacer("${aws:userid}", "AROAEXAMPLE:alice", "*", "x1").Replace(pattern)
}

// contextFor meets the conditions of a statement.
func contextFor(st rights.Statement) map[string]string {
	context := map[string]string{"aws:userid": "AROAEXAMPLE:alice"}
	for _, keys := range st.Condition {
		for key, value := range keys {
			switch value := value.(type) {
			case string:
				context[key] = concrete(value)
			case []string:
				context[key] = concrete(value[0])
			}
		}
	}
	return context
}

func without(policy rights.Policy, action string) rights.Policy {
	left := rights.Policy{Version: policy.Version, Statement: []rights.Statement{}}
	for _, st := range policy.Statement {
		st.Action = slices.DeleteFunc(slices.Clone(st.Action), func(a string) bool { return a == action })
		if len(st.Action) > 0 {
			left.Statement = append(left.Statement, st)
		}
	}
	return left
}

const rightsPage = "../../docs/reference/rights.md"

// TestGolden_theRightsAreMadeOfTheCommands compares docs/reference/rights.md with what the commands declare.
func TestGolden_theRightsAreMadeOfTheCommands(t *testing.T) {
	made := pageOfRights(t)
	if *update {
		require.NoError(t, os.WriteFile(rightsPage, []byte(made), 0o644))
	}
	page, err := os.ReadFile(rightsPage)
	require.NoError(t, err)
	assert.True(t, made == string(page), "docs/reference/rights.md is not what the commands declare: go test ./cmd/ops -run Golden -update")
}

func pageOfRights(t *testing.T) string {
	t.Helper()
	cfg, err := config.Load("../../config", "staging")
	require.NoError(t, err)
	names, p := rights.Names{Config: cfg}, &program{}
	var page strings.Builder
	page.WriteString("# Rights\n\n" +
		"What the policies of people have to allow, made from the calls that the commands of `scripts/ops` declare. A command's tests fail when it\n" +
		"calls what it has not declared, and an [independent IAM simulator](../adr/0015-proofs-from-the-template.md) decides that each call is\n" +
		"allowed with exactly that command's policy and refused without it. Rewrite this page with `go test ./cmd/ops -run Golden -update`.\n\n" +
		"These are the policies of `config/staging.yaml`. `scripts/ops policy ROLE --env <env>` prints those of an environment, with the outputs of its\n" +
		"stacks where `<ServerInstanceId>` and the like stand here.\n\n" +
		"| role | who that is | commands |\n|---|---|---|\n")
	stars := map[rights.Star]bool{}
	var policies strings.Builder
	for _, r := range roles {
		var has []string
		for _, d := range p.commands() {
			if slices.Contains(r.commands, d.command.Name()) {
				has = append(has, "`"+d.command.Name()+"`")
			}
		}
		if r.also != "" {
			has = append(has, "and those of "+r.also)
		}
		if r.byHand != nil {
			has = append(has, "by hand: [recovery](../recovery.md), [migration](../migration.md)")
		}
		slices.Sort(has[:max(0, len(has)-1)])
		made, err := p.policies(names, r)
		require.NoError(t, err)
		if len(made) == 0 {
			continue
		}
		fmt.Fprintf(&page, "| [%s](#%s) | %s | %s |\n", r.name, r.name, r.who, strings.Join(has, ", "))
		fmt.Fprintf(&policies, "## %s\n\n", r.name)
		for _, side := range sidesOf(made) {
			letter := map[account.Side]string{account.GitLab: "A", account.Deploy: "B"}[side]
			var text strings.Builder
			encoder := json.NewEncoder(&text)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			require.NoError(t, encoder.Encode(made[side]))
			fmt.Fprintf(&policies, "Account %s (`scripts/ops policy %s --account %s`):\n\n```json\n%s```\n\n", letter, r.name, strings.ToLower(letter), text.String())
			for _, star := range rights.Stars(made[side]) {
				stars[star] = true
			}
		}
	}
	page.WriteString("\n## Stars\n\nWhere a resource stands for more than one thing that is known by its name:\n\n| statement | why |\n|---|---|\n")
	for _, star := range slices.SortedFunc(maps.Keys(stars), func(a, b rights.Star) int { return strings.Compare(a.Scope, b.Scope) }) {
		fmt.Fprintf(&page, "| `%s` | %s |\n", star.Scope, star.Why)
	}
	page.WriteString("\n" + strings.TrimSuffix(policies.String(), "\n"))
	return page.String()
}
