// Package preflight asks both accounts, before a deploy touches them, for what the deploy would fail on after minutes:
// a role that a policy names and that does not exist, a certificate that is not issued, an image of another processor.
//
// It only reads. All that is wrong is said at once:
//
//	config/staging.yaml:42: gitlab.loadBalancer.certificateArn: got a certificate that is EXPIRED, want one that is ISSUED
//	    remedy: …
//
// There are three kinds of findings. What AWS says is wrong stops the deploy. What could not be asked does not, for a
// deploy needs none of the rights that asking needs; only when AWS answered nothing at all, and not for want of rights, is
// that a reason to stop (docs/adr/0019-ask-before-the-deploy.md). A warning is about what is allowed, and should be looked
// at each time: it never stops a deploy.
//
// The table of checks stands here. Each kind of check has a file of its own, with the interfaces that it needs.
package preflight

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"gitlab-codedeploy/internal/config"
)

// Account is one of the two accounts: "A" has GitLab, "B" what it deploys to.
type Account string

const (
	A Account = "A"
	B Account = "B"
)

// check asks about one kind of thing. It runs beside the others.
type check struct {
	name    string
	account Account
	// actions are the rights that it needs, as docs/operations.md lists them.
	actions []string
	// needed is false for a configuration without what it asks about; nil for what every one has.
	needed func(*config.Config) bool
	run    func(context.Context, *asking) []Finding
}

var checks = []check{
	{name: "availability zones", account: A, run: availabilityZones,
		actions: []string{"ec2:DescribeAvailabilityZones"}},
	{name: "quotas", account: A, run: quotas,
		actions: []string{"servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota", "ec2:DescribeVpcs",
			"ec2:DescribeAddresses", "ec2:DescribeNatGateways", "ec2:DescribeSubnets"}},
	{name: "images and instance types", account: A, run: hosts,
		actions: []string{"ec2:DescribeImages", "ec2:DescribeInstanceTypes", "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstances"}},
	{name: "data volume", account: A, run: dataVolume, needed: hasDataVolume,
		actions: []string{"ec2:DescribeVolumes"}},
	{name: "certificate", account: A, run: certificate, needed: hasCertificate,
		actions: []string{"acm:DescribeCertificate"}},
	{name: "hosted zone", account: A, run: hostedZone, needed: hasHostedZone,
		actions: []string{"route53:GetHostedZone"}},
	{name: "break-glass roles", account: A, run: breakGlassRoles, needed: hasBreakGlassRoles,
		actions: []string{"iam:GetRole"}},
	{name: "identity provider", account: A, run: identityProvider, needed: hasPipeline,
		actions: []string{"iam:GetOpenIDConnectProvider", "cloudformation:DescribeStackResources"}},
	{name: "identity provider", account: B, run: identityProvider, needed: hasPipeline,
		actions: []string{"iam:GetOpenIDConnectProvider", "cloudformation:DescribeStackResources"}},
	{name: "reader roles", account: B, run: readerRoles, needed: hasReaderRoles,
		actions: []string{"iam:GetRole"}},
	{name: "artifact bucket", account: B, run: artifactBucket,
		actions: []string{"s3:ListBucket", "s3:ListAllMyBuckets", "cloudformation:DescribeStackResources"}},
	{name: "deployment groups", account: B, run: deploymentGroups,
		actions: []string{"codedeploy:BatchGetDeploymentGroups"}},
	{name: "who may deploy", account: B, run: whoMayDeploy, needed: hasAnyProject}, // asks nobody
}

// Actions are the rights that the checks of an account need.
func Actions(of Account) []string {
	var actions []string
	for _, c := range checks {
		if c.account == of {
			actions = append(actions, c.actions...)
		}
	}
	slices.Sort(actions)
	return slices.Compact(actions)
}

const (
	// A thousand applications with one group each take a thousand calls.
	defaultTimeout = 2 * time.Minute
	// With the client's own repetitions in it.
	defaultCallTimeout = 15 * time.Second
	defaultCallsAtOnce = 8
)

// Preflight asks about one configuration.
type Preflight struct {
	Source *config.Source
	// Clients are those of the accounts to ask; an account without any is left out.
	Clients map[Account]*Clients
	// Now is the clock; nil means the machine's.
	Now func() time.Time
	// Timeout bounds all of it, CallTimeout each call. 0 means 2 minutes and 15 seconds.
	Timeout, CallTimeout time.Duration
	// CallsAtOnce bounds the calls that are under way; 0 means 8.
	CallsAtOnce int
}

// asking is what a check works with.
type asking struct {
	*Clients
	config  *config.Config
	source  *config.Source
	account Account
	now     func() time.Time
	calls   *calls
	// stack is the account's own stack; asked once, when the first check needs it.
	stack func() (stack, error)
}

// Run makes all checks of the accounts that have clients. ctx ends it early.
func (p *Preflight) Run(ctx context.Context) Report {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.Timeout, defaultTimeout))
	defer cancel()
	calls := newCalls(cmp.Or(p.CallsAtOnce, defaultCallsAtOnce), cmp.Or(p.CallTimeout, defaultCallTimeout))

	accounts := map[Account]*asking{}
	for account, clients := range p.Clients {
		a := &asking{Clients: clients, config: p.Source.Config(), source: p.Source, account: account, now: p.Now, calls: calls}
		if a.now == nil {
			a.now = time.Now
		}
		a.stack = once(func() (stack, error) { return describeStack(ctx, a) })
		accounts[account] = a
	}

	found := make([][]Finding, len(checks))
	var running sync.WaitGroup
	report := Report{}
	for i, c := range checks {
		a := accounts[c.account]
		if a == nil || c.needed != nil && !c.needed(a.config) {
			continue
		}
		report.Checks++
		running.Go(func() { found[i] = c.run(ctx, a) })
	}
	running.Wait()

	report.Findings = slices.Concat(found...)
	slices.SortStableFunc(report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Place.Path, b.Place.Path), cmp.Compare(a.Account, b.Account))
	})
	report.Calls, report.Answered = calls.made.Load(), calls.answered.Load()
	report.Took = time.Since(began)
	return report
}
