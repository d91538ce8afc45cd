// Package doctor looks at an environment as a whole, before and after a deploy: at this machine, at both accounts, at the
// hosts and at what comes from elsewhere. It changes nothing.
//
// The table of checks stands here, and each check has a file of its own. A check answers with findings of three kinds: what is
// well, what is wrong, with its remedy, and what could not be asked. A missing right is no fault: it is said, and nothing
// fails for it. What a check asks for is said too, so that "ok" means something.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/trust"
)

// State is how it stands with what was looked at.
type State string

const (
	OK    State = "ok"
	Wrong State = "wrong"
	// Unchecked could not be asked: a right is missing, AWS did not answer, or there is nothing to ask about yet.
	Unchecked State = "unchecked"
)

// Finding is what there is to say of one thing.
type Finding struct {
	Where  string `json:"where"` // "this machine", "account A", "account B", "the internet"
	Check  string `json:"check"`
	State  State  `json:"state"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // of what is wrong
}

// The places of findings.
const (
	here     = "this machine"
	accountA = "account A"
	accountB = "account B"
	internet = "the internet"
)

// Doctor is what is looked at, and by what means.
type Doctor struct {
	Source *config.Source
	Root   string // the checkout
	// Open loads the credentials of an account, without asking it for anything.
	Open func(ctx context.Context, side account.Side) (aws.Config, error)
	// Keys asks GitLab's server for the public keys that it signs with.
	Keys func(ctx context.Context, a *account.Account) (trust.Keys, error)
	Find func(program string) (path string, err error)
	// Output runs a program of this machine, which only prints something about itself.
	Output func(ctx context.Context, path string, args ...string) (string, error)
	HTTP   *http.Client
	Now    func() time.Time
	// Timeout bounds all of it; 0 means 3 minutes.
	Timeout time.Duration
}

// check is one of them. It runs beside the others.
type check struct {
	name  string
	where string
	run   func(ctx context.Context, l *look) []Finding
}

var checks = []check{
	{"programs", here, programs},
	{"bootstrap", accountA, bootstrapOf(account.GitLab)},
	{"bootstrap", accountB, bootstrapOf(account.Deploy)},
	{"before a deploy", accountA, beforeDeployOf(account.GitLab)},
	{"before a deploy", accountB, beforeDeployOf(account.Deploy)},
	{"way to the hosts", accountA, wayToHosts},
	{"certificate", accountA, certificate},
	{"targets", accountA, targets},
	{"backups", accountA, backupAge},
	{"GitLab's keys", accountA, gitlabKeys},
	{"uploads", accountA, uploads},
	{"uploads", accountB, bucketTakesUploads},
	{"readers", accountB, readers},
	{"package keys", internet, packageKeys},
}

// look is a doctor at work.
type look struct {
	*Doctor
	config   *config.Config
	accounts map[account.Side]*account.Account
	// noStack says why the outputs of an account's stack are not known; nil when they are.
	noStack map[account.Side]error
}

// Run makes all checks. ctx ends it early.
func (d *Doctor) Run(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(d.Timeout, 3*time.Minute))
	defer cancel()
	l := &look{Doctor: d, config: d.Source.Config(), accounts: map[account.Side]*account.Account{}, noStack: map[account.Side]error{}}
	findings := l.enter(ctx)
	found := make([][]Finding, len(checks))
	var running sync.WaitGroup
	for i, c := range checks {
		running.Go(func() {
			if side, in := sideOf(c.where); in && l.accounts[side] == nil {
				found[i] = []Finding{l.unknown(c, "there are no credentials for it")}
				return
			}
			for _, f := range c.run(ctx, l) {
				f.Where, f.Check = cmp.Or(f.Where, c.where), cmp.Or(f.Check, c.name)
				found[i] = append(found[i], f)
			}
		})
	}
	running.Wait()
	return slices.Concat(findings, slices.Concat(found...))
}

func sideOf(where string) (account.Side, bool) {
	side, in := map[string]account.Side{accountA: account.GitLab, accountB: account.Deploy}[where]
	return side, in
}

func placeOf(side account.Side) string {
	if side == account.Deploy {
		return accountB
	}
	return accountA
}

// AnythingWrong says whether something needs its remedy.
func AnythingWrong(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.State == Wrong })
}

func ok(format string, values ...any) Finding {
	return Finding{State: OK, Found: fmt.Sprintf(format, values...)}
}

// wrong is a fault; the remedy comes first, for the found text has the values.
func wrong(remedy, format string, values ...any) Finding {
	return Finding{State: Wrong, Found: fmt.Sprintf(format, values...), Remedy: remedy}
}

func unchecked(format string, values ...any) Finding {
	return Finding{State: Unchecked, Found: fmt.Sprintf(format, values...)}
}

func (l *look) unknown(c check, why string) Finding {
	return Finding{Where: c.where, Check: c.name, State: Unchecked, Found: why}
}

// refused is a call that did not answer: action is the right that it needs.
func refused(action string, err error) Finding {
	if lacksRight(err) {
		return unchecked("could not be checked: it needs %s (%s)", action, said(err))
	}
	return unchecked("could not be checked: %s: %s", action, said(err))
}

// https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html; EC2 has its own:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
func lacksRight(err error) bool {
	return slices.Contains([]string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "Forbidden"}, code(err))
}

func code(err error) string {
	if api := (smithy.APIError)(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// said is an error in AWS's words, without the SDK's.
func said(err error) string {
	api := (smithy.APIError)(nil)
	switch {
	case errors.As(err, &api):
		return plain.Line("AWS says: "+api.ErrorCode()+": "+api.ErrorMessage(), 300)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return plain.Line(err.Error(), 300)
}

// output is an output of an account's stack; not known is a finding.
func (l *look) output(side account.Side, name, pattern string) (string, []Finding) {
	if l.noStack[side] != nil {
		return "", []Finding{unchecked("%s", plain.Line(l.noStack[side].Error(), 300))}
	}
	value, err := l.accounts[side].Output(name, pattern)
	if err != nil {
		return "", []Finding{wrong(fmt.Sprintf("scripts/ops deploy --env %s", l.config.Environment), "%s", err)}
	}
	return value, nil
}

// joined are some things in words, and how many more there are.
func joined(things []string) string {
	const most = 5
	if len(things) > most {
		return strings.Join(things[:most], ", ") + fmt.Sprintf(" and %d more", len(things)-most)
	}
	return strings.Join(things, ", ")
}
