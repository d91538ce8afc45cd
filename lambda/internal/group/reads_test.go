package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/orders"
	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/status"
)

// The operator's program reads records, and cannot import this package.
func TestS15_TheOperatorsProgramReadsWhatARecordSays(t *testing.T) {
	plain, parked := upload(1), upload(9)
	plain.By = trust.Deployer{Project: "team/web", Ref: "main", User: "jdoe"}
	r := Record{Application: "web", DeploymentGroup: "blue", Parked: &parked, Paused: &Pause{By: "AWS:X:bob", Since: start}}
	r.Deployments = []Deployment{
		{Upload: plain, DeploymentID: "d1", State: status.Succeeded}, {Upload: upload(2), DeploymentID: "d2", State: status.Succeeded},
		{Upload: again(5, 1), DeploymentID: "d3", State: status.Succeeded},
	}
	read, err := orders.Parse(encode(r))
	require.NoError(t, err)
	running, ok := read.Running()
	require.True(t, ok)
	assert.Equal(t, []any{plain.Key, plain.VersionID, plain.Uploaded}, []any{running.Key, running.VersionID, running.Uploaded}, "by the order")
	assert.Equal(t, start, read.Paused.Since.In(time.UTC))
	assert.Equal(t, parked.ID, read.Parked.ID)
	assert.Len(t, read.Succeeded(), 2)
	assert.Len(t, read.Warnings(), 2)
}
