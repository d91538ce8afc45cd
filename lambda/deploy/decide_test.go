package deploy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/status"
)

// Each row of decide's table, and what keeps it from holding.
//
//fault:order each row of the table of what is known about an upload | the one thing that the table says is done
func TestS14_TheFactsDecide(t *testing.T) {
	u := group.Upload{ID: "u", Key: "artifacts/u.zip", VersionID: "v1", Uploaded: testTime}
	older := group.Upload{ID: "o", Key: "artifacts/u.zip", VersionID: "v0", Uploaded: testTime.Add(-time.Second)}
	newer := group.Upload{ID: "n", Key: "artifacts/n.zip", VersionID: "v2", Uploaded: testTime.Add(time.Millisecond)}
	attempt := func(u group.Upload, age time.Duration) group.Record {
		return group.Record{Attempt: &group.Attempt{Upload: u, At: testTime.Add(-age)}}
	}
	refused := &trust.Refusal{Rule: trust.RuleProject, Reason: "another project"}
	deployed := group.Record{Newest: newer, Deployments: []group.Deployment{{Upload: u, DeploymentID: "d-1"}, {Upload: newer, DeploymentID: "d-2"}}}
	for name, tt := range map[string]struct {
		facts Facts
		want  Verb
	}{
		"1 told of an end":                       {Facts{Told: status.Status{State: status.Superseded}, Searched: true}, Repeat},
		"1 told of a deployment":                 {Facts{Told: status.Status{State: status.Created, DeploymentID: "d-1"}, Searched: true}, Repeat},
		"1 an end stands against a fault":        {Facts{Told: status.Status{State: status.Failed, DeploymentID: "d-1"}, Fault: "gone"}, Repeat},
		"1 given up, nobody has asked":           {Facts{Told: status.Status{State: status.Rejected, GivenUp: true}, Searched: true}, Repeat},
		"1 given up, and redriven":               {Facts{Told: status.Status{State: status.Rejected, GivenUp: true}, Asked: true, Searched: true}, Create},
		"1 told that it waits":                   {Facts{Told: status.Status{State: status.Waiting}, Searched: true}, Create},
		"2 deployed":                             {Facts{Record: deployed}, Adopt},
		"2 deployed, though newer ones are":      {Facts{Record: deployed, Searched: true, Fault: "gone"}, Adopt},
		"3 ended":                                {Facts{Record: group.Record{Ended: []group.End{{Upload: u, State: status.Superseded}}}, Searched: true}, Finish},
		"3 another one ended":                    {Facts{Record: group.Record{Ended: []group.End{{Upload: older, State: status.Superseded}}}, Searched: true}, Create},
		"4 somebody is at it":                    {Facts{Record: attempt(u, Lease-time.Millisecond), Searched: true, Fault: "gone"}, Hold},
		"5 somebody was":                         {Facts{Record: attempt(u, Lease), Fault: "gone"}, Search},
		"5 and made none":                        {Facts{Record: attempt(u, Lease), Searched: true}, Create},
		"5 and made none, and it is gone":        {Facts{Record: attempt(u, Lease), Searched: true, Fault: "gone"}, Reject},
		"6 gone, and its group knows it":         {Facts{Orphan: true, Fault: "gone", Told: status.Status{State: status.Waiting}}, Hold},
		"6 gone, and nobody knows it":            {Facts{Orphan: true, Fault: "gone"}, Reject},
		"7 it may not be deployed":               {Facts{Fault: "not on the list"}, Reject},
		"7 whoever is at work":                   {Facts{Fault: "not on the list", Record: attempt(older, 0)}, Reject},
		"8 nobody has proven anything":           {Facts{Refusal: refused, Searched: true}, Refuse},
		"8 whoever is at work":                   {Facts{Refusal: refused, Record: attempt(older, 0)}, Refuse},
		"8 nobody has looked":                    {Facts{Refusal: refused}, Refuse},
		"8 before a newer one":                   {Facts{Refusal: refused, Record: group.Record{Waiting: &newer}, Searched: true}, Refuse},
		"8 accepted before, by another rule":     {Facts{Refusal: refused, Record: group.Record{Waiting: &u}, Searched: true}, Refuse},
		"8 not on the list either":               {Facts{Refusal: refused, Fault: "not on the list"}, Reject},
		"9 an older one is being created":        {Facts{Record: attempt(older, Lease-time.Millisecond)}, Wait},
		"9 an older one's attempt came to none":  {Facts{Record: attempt(older, Lease), Searched: true}, Create},
		"9 a newer one is being created":         {Facts{Record: attempt(newer, 0), Searched: true}, Supersede},
		"10 nobody has looked":                   {Facts{}, Search},
		"10 nobody has looked, a newer one is":   {Facts{Record: group.Record{Waiting: &newer}}, Search},
		"11 a newer one waits":                   {Facts{Record: group.Record{Waiting: &newer}, Searched: true}, Supersede},
		"11 a newer one was deployed":            {Facts{Record: group.Record{Newest: newer}, Searched: true, Active: "d-2"}, Supersede},
		"11 a newer one was attempted":           {Facts{Record: attempt(newer, time.Hour), Searched: true}, Supersede},
		"11 a newer one waits for a resumption":  {Facts{Record: group.Record{Parked: &newer, Paused: &group.Pause{}}, Searched: true}, Supersede},
		"12 the group is paused":                 {Facts{Record: group.Record{Paused: &group.Pause{By: "alice"}}, Searched: true}, Park},
		"12 it is paused and busy":               {Facts{Record: group.Record{Paused: &group.Pause{By: "alice"}}, Searched: true, Active: "d-1"}, Park},
		"12 it is paused, and nobody has looked": {Facts{Record: group.Record{Paused: &group.Pause{By: "alice"}}}, Search},
		"13 the group is busy":                   {Facts{Searched: true, Active: "d-1"}, Wait},
		"14 an older one waits":                  {Facts{Record: group.Record{Waiting: &older, Newest: older}, Searched: true}, Create},
		"14 it waits itself":                     {Facts{Record: group.Record{Waiting: &u}, Searched: true}, Create},
		"14 nothing is there":                    {Facts{Searched: true}, Create},
	} {
		t.Run(name, func(t *testing.T) {
			tt.facts.Upload, tt.facts.Now = u, testTime
			got := decide(tt.facts)
			assert.Equal(t, tt.want, got.Do)
			switch got.Do {
			case Adopt:
				assert.Equal(t, "d-1", got.Deployment.DeploymentID)
			case Finish:
				assert.Equal(t, status.Superseded, got.State)
			case Refuse:
				assert.Equal(t, refused.Reason, got.Reason)
			case Reject:
				assert.Equal(t, tt.facts.Fault, got.Reason)
			case Search, Create:
				assert.Empty(t, got.Reason)
			}
			if got.Do != Search && got.Do != Create && got.Do != Finish {
				assert.NotEmpty(t, got.Reason)
			}
		})
	}
}
