package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"gitlab-codedeploy/internal/plain"
)

// makeWay leaves a stack that can be updated, or none.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
func (d *Deploy) makeWay(ctx context.Context) error {
	found, err := d.look(ctx, d.current.Name)
	if err != nil {
		return err
	}
	name := d.current.Name
	remedy := func(verb string) string {
		return fmt.Sprintf("aws cloudformation %s --stack-name %s --profile %s --region %s", verb, name, Quote(d.current.Profile), d.current.Region)
	}
	switch state := string(d.state); {
	case d.state == cfntypes.StackStatusReviewInProgress:
		d.state = "" // the CDK takes its place
	case d.state == cfntypes.StackStatusRollbackComplete, d.state == cfntypes.StackStatusRollbackFailed,
		d.state == cfntypes.StackStatusCreateFailed, d.state == cfntypes.StackStatusDeleteFailed:
		return d.clearAway(ctx, found)
	case strings.HasSuffix(state, "_IN_PROGRESS"):
		return fmt.Errorf("%s is %s: something is at work on it. Deploy again when that has ended", name, state)
	case d.state == cfntypes.StackStatusUpdateRollbackFailed:
		return fmt.Errorf("%s is %s: fix what the events say, then %s", name, state, remedy("continue-update-rollback"))
	case strings.HasSuffix(state, "_FAILED"):
		return fmt.Errorf("%s is %s: look at its events, then %s", name, state, remedy("rollback-stack"))
	}
	return nil
}

// look sets the state of the current stack, by its name or its id.
func (d *Deploy) look(ctx context.Context, name string) (*cfntypes.Stack, error) {
	found, err := d.describe(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", d.current.Name, err)
	}
	d.state = ""
	if found != nil {
		d.state = found.StackStatus
	}
	return found, nil
}

// clearAway deletes a stack that was never complete: CloudFormation can do nothing else with it.
func (d *Deploy) clearAway(ctx context.Context, found *cfntypes.Stack) error {
	name, id := d.current.Name, aws.ToString(found.StackId)
	d.Steps.Log("%s in account %s is %s: its creation failed", name, d.current.Account, d.state)
	events, err := d.events(ctx, id)
	if err != nil {
		return err
	}
	if d.state == cfntypes.StackStatusDeleteFailed && !neverComplete(events) {
		return fmt.Errorf("%s is DELETE_FAILED, and may have held data. Delete it yourself, or keep what cannot be deleted: aws cloudformation delete-stack --retain-resources (docs/operations.md)", name)
	}
	for _, reason := range reasons(events) {
		d.Steps.Log("  %s", reason)
	}
	if _, err := d.tellLeft(ctx, id, false); err != nil {
		return err
	}
	if err := d.confirm("Delete what is left of %s in account %s, and create it anew?", name, d.current.Account); err != nil {
		return err
	}
	if aws.ToBool(found.EnableTerminationProtection) {
		if _, err := d.current.UpdateTerminationProtection(ctx, &cloudformation.UpdateTerminationProtectionInput{StackName: &id, EnableTerminationProtection: aws.Bool(false)}); err != nil {
			return fmt.Errorf("unprotect the failed %s: %w", name, err)
		}
	}
	d.Steps.Begin("deleting the failed %s", name)
	if err := d.delete(ctx, id, nil); err != nil {
		return err
	}
	if d.state == cfntypes.StackStatusDeleteFailed {
		resources, err := d.resources(ctx, id)
		if err != nil {
			return err
		}
		var stuck []string
		for _, r := range resources {
			if r.ResourceStatus == cfntypes.ResourceStatusDeleteFailed {
				stuck = append(stuck, aws.ToString(r.LogicalResourceId))
			}
		}
		if len(stuck) == 0 {
			return fmt.Errorf("%s cannot be deleted; its events say why", name)
		}
		if err := d.delete(ctx, id, stuck); err != nil {
			return err
		}
	}
	if d.state != "" && d.state != cfntypes.StackStatusDeleteComplete {
		return fmt.Errorf("%s could not be deleted, and is %s; its events say why", name, d.state)
	}
	d.Steps.End()
	inTheWay, err := d.tellLeft(ctx, id, true)
	if err != nil {
		return err
	}
	if inTheWay {
		return fmt.Errorf("%s was deleted, and nothing was created", name)
	}
	d.state = ""
	return nil
}

// deletion is the longest time that a deletion is waited for, as the AWS CLI does.
const deletion = time.Hour

// delete deletes the stack, but for the resources to retain, and waits for its end. How it ended stands in its state.
func (d *Deploy) delete(ctx context.Context, id string, retain []string) error {
	if _, err := d.current.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &id, RetainResources: retain}); err != nil {
		return fmt.Errorf("delete %s: %w", d.current.Name, err)
	}
	waiter := cloudformation.NewStackDeleteCompleteWaiter(d.current.Stacks, func(o *cloudformation.StackDeleteCompleteWaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Second, 30*time.Second
	})
	_ = waiter.Wait(ctx, &cloudformation.DescribeStacksInput{StackName: &id}, deletion)
	_, err := d.look(ctx, id)
	return err
}

func (d *Deploy) events(ctx context.Context, id string) (events []cfntypes.StackEvent, err error) {
	pages := cloudformation.NewDescribeStackEventsPaginator(d.current.Stacks, &cloudformation.DescribeStackEventsInput{StackName: &id})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the events of %s: %w", d.current.Name, err)
		}
		events = append(events, page.StackEvents...) // the newest first
	}
	return events, nil
}

func (d *Deploy) resources(ctx context.Context, id string) (resources []cfntypes.StackResourceSummary, err error) {
	pages := cloudformation.NewListStackResourcesPaginator(d.current.Stacks, &cloudformation.ListStackResourcesInput{StackName: &id})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the resources of %s: %w", d.current.Name, err)
		}
		resources = append(resources, page.StackResourceSummaries...)
	}
	return resources, nil
}

func ofStack(event cfntypes.StackEvent, states ...cfntypes.ResourceStatus) bool {
	if aws.ToString(event.PhysicalResourceId) != aws.ToString(event.StackId) {
		return false
	}
	for _, state := range states {
		if event.ResourceStatus == state {
			return true
		}
	}
	return false
}

// neverComplete says whether the events show that the stack never was. CloudFormation forgets events after 90 days:
// what it has forgotten may have been complete.
func neverComplete(events []cfntypes.StackEvent) bool {
	begun := false
	for _, event := range events {
		if ofStack(event, cfntypes.ResourceStatusCreateComplete, cfntypes.ResourceStatusUpdateComplete, cfntypes.ResourceStatusImportComplete) {
			return false
		}
		begun = begun || ofStack(event, cfntypes.ResourceStatusCreateInProgress, "REVIEW_IN_PROGRESS")
	}
	return begun
}

// longest is the longest reason that is told: some hold what programs on hosts say.
const longest = 600

// reasons says why the creation failed: the first three resources that did, without those that were stopped for them.
func reasons(events []cfntypes.StackEvent) (lines []string) {
	for i := len(events) - 1; i >= 0 && len(lines) < 3; i-- {
		event := events[i]
		reason := aws.ToString(event.ResourceStatusReason)
		if event.ResourceStatus != cfntypes.ResourceStatusCreateFailed || aws.ToString(event.PhysicalResourceId) == aws.ToString(event.StackId) ||
			strings.Contains(strings.ToLower(reason), "cancelled") {
			continue
		}
		lines = append(lines, fmt.Sprintf("it failed with %s (%s): %s", aws.ToString(event.LogicalResourceId), aws.ToString(event.ResourceType), plain.Line(reason, longest)))
	}
	if len(lines) == 0 {
		return []string{"CloudFormation does not say any more why it failed"}
	}
	return lines
}

// tellLeft says what is left of the stack. After its deletion it also says what of that is in the way of the next one: a name
// that is in the template is the next stack's as well.
func (d *Deploy) tellLeft(ctx context.Context, id string, deleted bool) (inTheWay bool, err error) {
	resources, err := d.resources(ctx, id)
	if err != nil {
		return false, err
	}
	wanted := d.template().Resources
	for _, r := range resources {
		logical, physical, why := aws.ToString(r.LogicalResourceId), aws.ToString(r.PhysicalResourceId), "was kept"
		switch {
		// An attachment ends with its instance: there is nothing left of it.
		case aws.ToString(r.ResourceType) == "AWS::EC2::VolumeAttachment":
			continue
		case r.ResourceStatus == cfntypes.ResourceStatusDeleteFailed:
			why = "could not be deleted: " + plain.Line(aws.ToString(r.ResourceStatusReason), longest)
		case r.ResourceStatus != cfntypes.ResourceStatusDeleteSkipped:
			continue
		}
		d.Steps.Log("  left over: %s (%s) %s, %s", logical, aws.ToString(r.ResourceType), plain.Line(physical, longest), why)
		for _, value := range wanted[logical].Properties {
			if deleted && physical != "" && value == any(physical) {
				d.Steps.Log("  the new stack needs the name %s: empty and delete the old one, and deploy again", plain.Line(physical, longest))
				inTheWay = true
			}
		}
	}
	return inTheWay, nil
}
