package deploy

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

// functionTime is what Lambda gives the trigger: see constructs/trigger.go.
const functionTime = 30 * time.Second

// history lets the group have had n deployments, the last one at a time, one each
// pause before. CodeDeploy lists them in pages, the newest first.
func (w *world) history(n, page int, last time.Time, pause time.Duration, of func(int, *types.DeploymentInfo)) {
	w.deployments = map[string]types.DeploymentInfo{}
	var ids []string
	for i := range n {
		id := fmt.Sprintf("d-%09d", i)
		info := deployed(id, types.DeploymentStatusSucceeded, before)
		info.CreateTime = aws.Time(last.Add(-time.Duration(i) * pause))
		of(i, &info)
		w.deployments[id], ids = info, append(ids, id)
	}
	w.list = func(_ context.Context, in *codedeploy.ListDeploymentsInput) (*codedeploy.ListDeploymentsOutput, error) {
		found := slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
			return w.deployments[id].CreateTime.Before(*in.CreateTimeRange.Start)
		})
		from, _ := strconv.Atoi(aws.ToString(in.NextToken))
		out := &codedeploy.ListDeploymentsOutput{Deployments: found[from:min(len(found), from+page)]}
		if from+page < len(found) {
			out.NextToken = aws.String(strconv.Itoa(from + page))
		}
		return out, nil
	}
}

// batched are the ids that BatchGetDeployments was asked about.
func (w *world) batched() (ids []string) {
	for _, batch := range w.batches {
		ids = append(ids, batch.DeploymentIds...)
	}
	return ids
}

// A group has had hundreds of deployments since it was looked at. However slow
// CodeDeploy answers, an upload is deployed after as many tries as it takes to
// read each of them once.
//
//fault:large a group has had 150 or 400 deployments by Auto Scaling, or by hand, since the last look, and each call takes 250 ms or 1 s | the upload is deployed, after as many tries as it takes to read each of them once
func TestS14_AGroupWithHundredsOfDeploymentsGetsItsUpload(t *testing.T) {
	of := func(byHand bool) func(int, *types.DeploymentInfo) {
		return func(i int, info *types.DeploymentInfo) {
			if !byHand {
				info.Creator = types.DeploymentCreatorAutoscaling
				return
			}
			// Each is of a version of its own, of which S3 has to be asked.
			location := *info.Revision.S3Location
			location.Version = aws.String(fmt.Sprint("hand-", i))
			info.Revision, info.Status = &types.RevisionLocation{S3Location: &location}, types.DeploymentStatusFailed
		}
	}
	const long, soon = time.Hour, 30 * time.Second // ago
	for name, tt := range map[string]struct {
		n, page int
		latency time.Duration
		ago     time.Duration
		byHand  bool
		tries   int // at most
	}{
		"150":                           {150, 100, 250 * time.Millisecond, long, false, 1},
		"400":                           {400, 100, 250 * time.Millisecond, long, false, 1},
		"150, in short pages":           {150, 10, 250 * time.Millisecond, long, false, 2},
		"400, in short pages":           {400, 10, 250 * time.Millisecond, long, false, 4},
		"150, and AWS is slow":          {150, 100, time.Second, long, false, 3},
		"400, and AWS is slow":          {400, 100, time.Second, long, false, 7},
		"150, in short pages, and slow": {150, 10, time.Second, long, false, 10},
		"150 just now":                  {150, 100, 250 * time.Millisecond, soon, false, 1},
		"400 just now":                  {400, 100, 250 * time.Millisecond, soon, false, 1},
		"150 just now, in short pages":  {150, 10, 250 * time.Millisecond, soon, false, 6},
		"150 just now, and slow":        {150, 100, time.Second, soon, false, 9},
		"150 by hand":                   {150, 100, 250 * time.Millisecond, long, true, 8},
		"400 by hand":                   {400, 100, 250 * time.Millisecond, long, true, 22},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				w := &world{latency: tt.latency, head: whenUploaded, now: func() time.Time { return testTime.Add(time.Since(began)) }}
				w.history(tt.n, tt.page, testTime.Add(-tt.ago), 10*time.Millisecond, of(tt.byHand))
				w.putRecord(t, group.Record{Searched: group.Search{From: testTime.AddDate(0, -1, 0), Until: testTime.Add(-2 * long)}})
				h := w.handler()
				tries := 0
				for done := false; !done; {
					tries++
					require.LessOrEqual(t, tries, tt.tries, "tries")
					begin := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), functionTime)
					done = len(handle(t, ctx, h, message("m1", tries))) == 0
					cancel()
					require.Less(t, time.Since(begin), functionTime, "Lambda would have ended the function")
					if !done {
						assert.Equal(t, status.Waiting, w.status(t, "artifact").State)
						time.Sleep(time.Duration(w.hides[len(w.hides)-1].VisibilityTimeout) * time.Second)
					}
				}
				t.Logf("%d tries, %d calls, %s", tries, len(w.calls), time.Since(began))
				assert.Len(t, w.creates, 1)
				assert.Equal(t, status.Created, w.status(t, "artifact").State)
				if tt.ago == soon {
					return // What is that new is looked at again, as the list may lag behind.
				}
				asked := map[string]int{}
				for _, head := range w.heads {
					asked[aws.ToString(head.VersionId)]++
				}
				delete(asked, "") // the upload
				read := map[string]int{}
				for _, id := range w.batched() {
					read[id]++
				}
				assert.Len(t, read, tt.n)
				if tt.byHand {
					assert.Len(t, asked, tt.n)
					read = asked // A batch is read again if there was no time to ask S3 about all of it.
				}
				for what, times := range read {
					assert.Equal(t, 1, times, "times that %s is looked at", what)
				}
			})
		})
	}
}
