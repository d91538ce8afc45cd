package deployments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/plain"
)

// Objects is the part of the S3 client that is needed.
type Objects interface {
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// CodeDeploy is the part of its client that is needed.
type CodeDeploy interface {
	ListDeploymentGroups(context.Context, *codedeploy.ListDeploymentGroupsInput, ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentGroupsOutput, error)
	ListDeployments(context.Context, *codedeploy.ListDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentsOutput, error)
	BatchGetDeployments(context.Context, *codedeploy.BatchGetDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentsOutput, error)
}

// Query is what is asked for. An empty name asks for all.
type Query struct {
	Application, DeploymentGroup string
	Last                         int // rows of each application
}

// Reader reads from one account.
type Reader struct {
	Objects    Objects
	CodeDeploy CodeDeploy
	Bucket     string // of artifacts
	Where      string // account and Region, for messages
	Now        func() time.Time
	Log        func(format string, values ...any)
}

const (
	// window is how many of the newest deployments and states are looked at.
	window = 100
	// listed bounds the listing: S3 lists by name and not by time, so that all is
	// listed to find the newest.
	listed = 100_000
	// batch is the most that BatchGetDeployments takes.
	// https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BatchGetDeployments.html
	batch = 25
	// maxGroups bounds the groups of one application, each of which is a call.
	maxGroups = 20
	// maxState is more than the functions write.
	maxState = 64 << 10
	// atOnce is how many states are read side by side.
	atOnce = 25
)

// Read returns the rows, the newest of each application first.
func (r *Reader) Read(ctx context.Context, q Query) ([]Row, error) {
	var (
		states      []Row
		ids         []string
		statesErr   error
		listErr     error
		both        sync.WaitGroup
		notes, more []string // in their order, whoever is faster
	)
	both.Go(func() { states, notes, statesErr = r.states(ctx) })
	both.Go(func() { ids, more, listErr = r.list(ctx, q) })
	both.Wait()
	if err := errors.Join(statesErr); err != nil {
		return nil, err
	}
	if listErr != nil {
		return nil, listErr
	}
	found, unknown, err := r.deployments(ctx, ids, states)
	if err != nil {
		return nil, err
	}
	if q.Application != "" || q.DeploymentGroup != "" {
		var names []string
		states = slices.DeleteFunc(states, func(row Row) bool {
			if row.State == unreadable {
				names = append(names, *row.UploadID)
			}
			return row.State == unreadable
		})
		if len(names) > 0 {
			notes = append([]string{fmt.Sprintf("%d unreadable upload states: %s", len(names), strings.Join(names, " "))}, notes...)
		}
	}
	rows := pick(merge(states, found), r.Bucket, q)
	if len(rows) == 0 {
		of := strings.Join(slices.DeleteFunc([]string{q.Application, q.DeploymentGroup}, func(s string) bool { return s == "" }), ", ")
		if of != "" {
			of = " of " + of
		}
		more = append(more, "no deployments and no uploads yet"+of)
	}
	for _, note := range slices.Concat(unknown, notes, more) {
		r.Log("%s", plain.Line(note, 2000))
	}
	now := r.Now()
	for i := range rows {
		rows[i].tell(now)
	}
	return rows, nil
}

// states reads the newest states of uploads.
func (r *Reader) states(ctx context.Context) (rows []Row, notes []string, err error) {
	objects, more, err := r.listStates(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing deployments/ in %s: %w", r.Bucket, err)
	}
	switch {
	case more:
		notes = append(notes, fmt.Sprintf("there are more than %d upload states, and S3 lists them by name: newer ones may be missing", len(objects)))
	case len(objects) > window:
		notes = append(notes, fmt.Sprintf("looked at the newest %d of %d upload states", window, len(objects)))
	}
	objects = objects[:min(len(objects), window)]
	rows = make([]Row, len(objects))
	failed := make([]error, len(objects))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for i, object := range objects {
		free <- struct{}{}
		work.Go(func() {
			defer func() { <-free }()
			if rows[i], failed[i] = r.state(ctx, object); failed[i] != nil {
				cancel() // One refusal is enough.
			}
		})
	}
	work.Wait()
	for _, err := range failed {
		if err != nil && !errors.Is(err, context.Canceled) {
			return nil, nil, fmt.Errorf("reading the upload states in %s: %w", r.Bucket, err)
		}
	}
	return rows, notes, errors.Join(failed...)
}

func (r *Reader) listStates(ctx context.Context) (objects []stateObject, more bool, err error) {
	seen := 0
	for pages := s3.NewListObjectsV2Paginator(r.Objects, &s3.ListObjectsV2Input{Bucket: &r.Bucket, Prefix: aws.String("deployments/")}); pages.HasMorePages(); {
		if seen >= listed {
			more = true
			break
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, false, err
		}
		seen += len(page.Contents)
		for _, o := range page.Contents {
			if name := stateKey.FindStringSubmatch(aws.ToString(o.Key)); name != nil {
				objects = append(objects, stateObject{name[1], aws.ToTime(o.LastModified), aws.ToInt64(o.Size)})
			}
		}
	}
	slices.SortFunc(objects, func(a, b stateObject) int {
		if later := b.at.Compare(a.at); later != 0 {
			return later
		}
		return strings.Compare(b.name, a.name)
	})
	return objects, more, nil
}

func (r *Reader) state(ctx context.Context, object stateObject) (Row, error) {
	unreadableRow := func(reason string) Row {
		return Row{upload: true, UploadID: &object.name, at: object.at, State: unreadable, Reason: &reason}
	}
	if object.size > maxState {
		return unreadableRow(fmt.Sprintf("%d bytes, and a state has at most %d", object.size, maxState)), nil
	}
	out, err := r.Objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &r.Bucket, Key: aws.String("deployments/" + object.name + ".json")})
	var gone *s3types.NoSuchKey
	if errors.As(err, &gone) || codeOf(err) == "NoSuchKey" {
		return unreadableRow("gone before it could be read"), nil
	}
	if err != nil {
		return Row{}, err
	}
	defer out.Body.Close()
	text, err := io.ReadAll(io.LimitReader(out.Body, maxState+1))
	switch {
	case err != nil:
		return Row{}, err
	case len(text) > maxState:
		return unreadableRow(fmt.Sprintf("more than %d bytes", maxState)), nil
	}
	return readState(object, text), nil
}

// list returns the ids of the newest deployments.
func (r *Reader) list(ctx context.Context, q Query) (ids, notes []string, err error) {
	groups := []string{""} // of the account
	switch {
	case q.Application != "" && q.DeploymentGroup != "":
		groups = []string{q.DeploymentGroup}
	case q.Application != "":
		if groups, notes, err = r.groups(ctx, q.Application); err != nil {
			return nil, nil, err
		}
	}
	longer := false
	for _, group := range groups {
		found, more, err := r.listGroup(ctx, q.Application, group)
		switch {
		case err != nil && strings.Contains(codeOf(err), "DoesNotExist"):
			notes = append(notes, fmt.Sprintf("CodeDeploy has no deployment group %s of application %s in %s", group, q.Application, r.Where))
		case err != nil && group != "":
			return nil, nil, fmt.Errorf("listing the deployments of %s, %s: %w", q.Application, plain.Line(group, 100), err)
		case err != nil:
			return nil, nil, fmt.Errorf("listing the deployments: %w", err)
		}
		longer = longer || more
		ids = append(ids, found...)
	}
	if longer {
		notes = append(notes, fmt.Sprintf("looked at the newest %d deployments; --application and --deployment-group look at one group's", window))
	}
	return ids, notes, nil
}

func (r *Reader) groups(ctx context.Context, application string) (groups, notes []string, err error) {
	for pages := codedeploy.NewListDeploymentGroupsPaginator(r.CodeDeploy, &codedeploy.ListDeploymentGroupsInput{ApplicationName: &application}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if codeOf(err) == (&types.ApplicationDoesNotExistException{}).ErrorCode() {
			return nil, []string{fmt.Sprintf("CodeDeploy has no application %s in %s", application, r.Where)}, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("listing the deployment groups of %s: %w", application, err)
		}
		groups = append(groups, page.DeploymentGroups...)
	}
	if len(groups) > maxGroups {
		notes = append(notes, fmt.Sprintf("looking at %d of %d deployment groups; --deployment-group chooses one", maxGroups, len(groups)))
	}
	groups = slices.DeleteFunc(groups, func(name string) bool { return plain.Line(name, 1000) != name })
	return groups[:min(len(groups), maxGroups)], notes, nil
}

// listGroup lists those of a group, or of the account: CodeDeploy takes both names
// or none.
func (r *Reader) listGroup(ctx context.Context, application, group string) (ids []string, more bool, err error) {
	in := &codedeploy.ListDeploymentsInput{}
	if group != "" {
		in.ApplicationName, in.DeploymentGroupName = &application, &group
	}
	for pages := codedeploy.NewListDeploymentsPaginator(r.CodeDeploy, in); pages.HasMorePages(); {
		if len(ids) >= window {
			more = true
			break
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, false, err
		}
		ids = append(ids, page.Deployments...)
	}
	more = more || len(ids) > window
	ids = slices.DeleteFunc(ids[:min(len(ids), window)], func(id string) bool { return !deploymentID.MatchString(id) })
	return ids, more, nil
}

// deployments reads those that were listed, and those that only a state names:
// they are asked for apart, as CodeDeploy may not know them any more.
func (r *Reader) deployments(ctx context.Context, ids []string, states []Row) (rows []Row, notes []string, err error) {
	var named []string
	for _, s := range states {
		if id := aws.ToString(s.DeploymentID); id != "" && !slices.Contains(ids, id) && !slices.Contains(named, id) {
			named = append(named, id)
		}
	}
	for _, list := range [][]string{ids, named} {
		for chunk := range slices.Chunk(list, batch) {
			out, err := r.CodeDeploy.BatchGetDeployments(ctx, &codedeploy.BatchGetDeploymentsInput{DeploymentIds: chunk})
			switch code := codeOf(err); {
			case strings.Contains(code, "DoesNotExist"), strings.Contains(code, "InvalidDeploymentId"):
				notes = append(notes, fmt.Sprintf("CodeDeploy does not know some deployments that upload states name: %v", err))
				continue
			case err != nil:
				return nil, nil, fmt.Errorf("reading deployments: %w", err)
			}
			for _, d := range out.DeploymentsInfo {
				rows = append(rows, ofDeployment(d))
			}
		}
	}
	return rows, notes, nil
}

// codeOf is the code of AWS's refusal, "" if it is none.
func codeOf(err error) string {
	var refusal smithy.APIError
	if errors.As(err, &refusal) {
		return refusal.ErrorCode()
	}
	return ""
}
