package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/internal/orders"
	"gitlab-codedeploy/internal/plain"
)

// orderCalls are those of the commands that order something. Without the list, S3
// does not say that a state is not there yet.
func orderCalls() map[account.Side][]string {
	return inDeploy("s3:PutObject orders", "s3:GetObject records", "s3:GetObject states", "s3:GetObject orders", "s3:ListBucket")
}

// ordering are the flags of a command that orders something of a group.
type ordering struct {
	options
	application, group string
	follow             bool
	timeout            string
}

const orderResult = `Prints one JSON object on stdout: {"orderId", "kind", "application", "deploymentGroup", "key",
"versionId", "fromGroup", "fromVersionId", "state", "deploymentId", "reason", "operator"}; operator
is who AWS says has ordered it.

Exit status: 0 the trigger has taken the order, with --follow it has ended well; 1 it was
rejected, superseded, or its deployment failed, or it was not confirmed; 2 wrong use,
configuration or credentials; 3 no end within --timeout: the order goes on.`

func (o *ordering) flags(c *cobra.Command, groupFlag, what string) {
	o.forAccount(c, account.Deploy)
	c.Flags().StringVar(&o.application, "application", "", "CodeDeploy application (required)")
	c.Flags().StringVar(&o.group, groupFlag, "", what+" (required)")
	c.Flags().StringVar(&o.timeout, "timeout", "120", "longest time to wait, in seconds; with --follow 7200 if it is not given")
}

// withFollow adds the flag of a command whose order has a deployment.
func (o *ordering) withFollow(c *cobra.Command) {
	c.Flags().BoolVar(&o.follow, "follow", false, "wait for the end of the deployment")
}

func (o *ordering) check(c *cobra.Command, groupFlag string, p *program) (time.Duration, error) {
	if o.follow && !c.Flags().Changed("timeout") {
		o.timeout = "7200"
	}
	if !seconds.MatchString(o.timeout) {
		return 0, usageError{fmt.Errorf("--timeout: want seconds, got '%s'", o.timeout)}
	}
	limit, err := strconv.Atoi(o.timeout)
	if err != nil {
		return 0, usageError{err}
	}
	for _, flag := range []struct{ name, value string }{{"--application", o.application}, {"--" + groupFlag, o.group}} {
		if flag.value == "" {
			return 0, usageError{fmt.Errorf("%s is required", flag.name)}
		}
		if err := wantName(flag.name, flag.value); err != nil {
			return 0, usageError{err}
		}
	}
	if !o.yes && !o.dryRun && !p.terminal {
		return 0, usageError{errors.New("there is no terminal to ask on: pass --yes to order without a question")}
	}
	return time.Duration(limit) * time.Second, nil
}

// orderer opens the account, and checks that the groups are on the list.
func (p *program) orderer(ctx context.Context, o options, application string, groups ...string) (*orders.Orderer, error) {
	a, err := p.openAccount(ctx, o, account.Deploy)
	if err != nil {
		return nil, err
	}
	var listed []string
	for _, g := range a.Config.Deploy.DeploymentGroups {
		listed = append(listed, g.Application+"/"+g.DeploymentGroup)
	}
	for _, group := range groups {
		if !slices.Contains(listed, application+"/"+group) {
			return nil, usageError{fmt.Errorf("deploy.deploymentGroups in config/%s.yaml has no %s/%s, want one of %s", o.environment, application, group, strings.Join(listed, ", "))}
		}
	}
	bucket, err := a.ArtifactBucket()
	if err != nil {
		return nil, err
	}
	return &orders.Orderer{Objects: s3Client(a), Bucket: bucket, Now: p.now, Random: func() []byte {
		random := make([]byte, 8)
		_, _ = rand.Read(random) // It never fails.
		return random
	}}, nil
}

// place asks, orders, waits, and prints the result.
func (p *program) place(ctx context.Context, o *ordering, from *orders.Orderer, wanted order.Order, limit time.Duration, toTheEnd bool, question string) error {
	if question != "" {
		if err := p.confirm(o.options, question); err != nil {
			return err
		}
	}
	placed, err := from.Place(ctx, wanted)
	if err != nil {
		return err
	}
	p.log("ordered: %s; its state is deployments/%s.json", wanted.Kind, placed.ID)
	result, err := from.Follow(ctx, placed, toTheEnd, limit, func(r orders.Result) {
		reason := ""
		if r.Reason != nil {
			reason = ": " + plain.Line(*r.Reason, maxReason)
		}
		p.log("%s%s", plain.Word(r.State), reason)
	})
	if printing := p.printJSON(result); printing != nil {
		return printing
	}
	switch {
	case errors.Is(err, orders.ErrTimeout):
		return timedOut{err}
	case err != nil:
		return err
	case result.Ended() && result.State != "Succeeded":
		return fmt.Errorf("the order ended as %s", result.State)
	}
	return nil
}

// propose shows what would be deployed over what.
func (p *program) propose(kind string, target orders.Group, to orders.Artifact) (question string) {
	name := target.Application + "/" + target.DeploymentGroup
	now := "nothing that has succeeded"
	if running, ok := target.Running(); ok {
		now = running.String()
	}
	_, _ = fmt.Fprintf(p.stderr, "%s of %s\n  runs      %s\n  would run %s\n", kind, name, now, to)
	for _, warning := range target.Warnings() {
		_, _ = fmt.Fprintf(p.stderr, "  note: %s\n", warning)
	}
	return fmt.Sprintf("Deploy %s to %s?", plain.Word(to.VersionID), name)
}

func (p *program) rollback() *cobra.Command {
	var o ordering
	var to string
	command := &cobra.Command{
		Use:   "rollback --env NAME --application A --deployment-group G",
		Short: "Deploy an earlier version again",
		Long: `Deploys a version again that has succeeded in the group before: without --to the last one that
was uploaded before the version that runs. It shows what it will deploy, and asks.

The order goes the way of an upload: the trigger checks it, lets it wait for a deployment that
is under way, and deploys it once. It stands in the group's order by its own time: no late event
of a version from before undoes it, and the next push does. What waits for the group is superseded.

` + orderResult,
		Example: `  scripts/ops rollback --env production --application web --deployment-group blue
  scripts/ops rollback --env production --application web --deployment-group blue --to 3HL4kqtJlcpXroDTDmJ --follow`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			limit, err := o.check(c, "deployment-group", p)
			if err != nil {
				return err
			}
			from, err := p.orderer(ctx, o.options, o.application, o.group)
			if err != nil {
				return err
			}
			group, err := from.Group(ctx, o.application, o.group)
			if err != nil {
				return err
			}
			find := func() (orders.Artifact, error) { return group.Version(to) }
			if to == "" {
				find = group.Before
			}
			version, err := find()
			if err != nil {
				return err
			}
			if running, ok := group.Running(); ok && running.VersionID == version.VersionID && running.Key == version.Key {
				return fmt.Errorf("%s/%s runs version %s already", o.application, o.group, plain.Word(version.VersionID))
			}
			question := p.propose("rollback", group, version)
			return p.place(ctx, &o, from, order.Order{
				Kind: order.Rollback, Application: o.application, DeploymentGroup: o.group, Key: version.Key, VersionID: version.VersionID,
			}, limit, o.follow, question)
		},
	}
	o.flags(command, "deployment-group", "deployment group")
	o.withFollow(command)
	command.Flags().StringVar(&to, "to", "", "the version, or how its id begins; default: the one before the version that runs")
	return command
}

func (p *program) promote() *cobra.Command {
	var o ordering
	var source, version string
	command := &cobra.Command{
		Use:   "promote --env NAME --application A --from G1 --to G2",
		Short: "Deploy the very same version to another group of its application",
		Long: `Deploys the very same object version that one group runs, or ran, to another group of the
application, such as from staging to production. It shows what it will deploy, and asks.

The order goes the way of an upload, as that of a rollback does. The version has to have
succeeded in the group that it comes from, and the project and ref that it was built of have to
be among those that may deploy to the other one.

` + orderResult,
		Example: "  scripts/ops promote --env production --application web --from staging --to production --follow",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			limit, err := o.check(c, "to", p)
			if err != nil {
				return err
			}
			if err := wantName("--from", source); err != nil || source == "" || source == o.group {
				return usageError{errors.Join(err, errors.New("--from: want another deployment group of the application than --to"))}
			}
			from, err := p.orderer(ctx, o.options, o.application, source, o.group)
			if err != nil {
				return err
			}
			given, err := from.Group(ctx, o.application, source)
			if err != nil {
				return err
			}
			artifact, runs := given.Running()
			if version != "" {
				if artifact, err = given.Version(version); err != nil {
					return err
				}
			} else if !runs {
				return fmt.Errorf("nothing has succeeded in %s/%s", o.application, source)
			}
			group, err := from.Group(ctx, o.application, o.group)
			if err != nil {
				group = orders.Group{Application: o.application, DeploymentGroup: o.group} // Nothing was deployed there yet.
				p.log("note: %s", plain.Line(err.Error(), maxReason))
			}
			if running, ok := group.Running(); ok && running.VersionID == artifact.VersionID && running.Key == artifact.Key {
				return fmt.Errorf("%s/%s runs version %s already", o.application, o.group, plain.Word(artifact.VersionID))
			}
			question := p.propose("promotion from "+source, group, artifact)
			return p.place(ctx, &o, from, order.Order{
				Kind: order.Promote, Application: o.application, DeploymentGroup: o.group, Key: artifact.Key, VersionID: artifact.VersionID, From: source,
			}, limit, o.follow, question)
		},
	}
	o.flags(command, "to", "deployment group that is deployed to")
	o.withFollow(command)
	command.Flags().StringVar(&source, "from", "", "deployment group whose version is deployed (required)")
	command.Flags().StringVar(&version, "version", "", "the version, or how its id begins; default: the one that runs there")
	return command
}

func (p *program) pause() *cobra.Command {
	return p.turn(order.Pause, "Let uploads to a deployment group wait",
		`Lets uploads to a deployment group wait: they are accepted, and their jobs are told since when and by
whom the group is paused. Nothing is lost, however long it takes; of several that wait, the newest is
deployed when the group is resumed. A deployment that is under way goes on, and what an operator
orders is deployed all the same.

`)
}

func (p *program) resume() *cobra.Command {
	return p.turn(order.Resume, "Deploy to a paused deployment group again",
		`Lets uploads to a deployment group be deployed again: of those that wait the newest, within five
minutes.

`)
}

func (p *program) turn(kind, short, long string) *cobra.Command {
	var o ordering
	command := &cobra.Command{
		Use:     kind + " --env NAME --application A --deployment-group G",
		Short:   short,
		Long:    long + orderResult,
		Example: "  scripts/ops " + kind + " --env production --application web --deployment-group blue",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			limit, err := o.check(c, "deployment-group", p)
			if err != nil {
				return err
			}
			from, err := p.orderer(c.Context(), o.options, o.application, o.group)
			if err != nil {
				return err
			}
			return p.place(c.Context(), &o, from, order.Order{Kind: kind, Application: o.application, DeploymentGroup: o.group}, limit, true,
				fmt.Sprintf("%s%s %s/%s?", strings.ToUpper(kind[:1]), kind[1:], o.application, o.group))
		},
	}
	o.flags(command, "deployment-group", "deployment group")
	return command
}
