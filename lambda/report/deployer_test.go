package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whose upload it is only the trigger has seen: its token is gone.
func TestS15_AStateSaysWhoseUploadItIsToItsEnd(t *testing.T) {
	t.Run("by what it said before", func(t *testing.T) {
		f := newFixture(t, deployment("Succeeded"))
		f.Put(statusPath, nil, `{"uploadId":"job-9","state":"Created","deploymentId":"d-WIRE00001","key":"`+testKey+`","versionId":"v1","project":"team/web","ref":"main","user":"jdoe","pipelineUrl":"https://gitlab.example.com/team/web/-/pipelines/12"}`)
		require.NoError(t, f.handle(t, sample("SUCCESS")))
		got := f.status(t, statusPath)
		assert.Equal(t, []any{"Succeeded", "team/web", "main", "jdoe", "https://gitlab.example.com/team/web/-/pipelines/12"},
			[]any{got["state"], got["project"], got["ref"], got["user"], got["pipelineUrl"]})
	})
	t.Run("by the group's record, when the state was lost", func(t *testing.T) {
		f := newFixture(t, "")
		f.record(strings.Replace(group1, `"versionId":"v1"`, `"versionId":"v1","by":{"project":"team/web","ref":"main"}`, 1) + "}")
		f.batch(`{"deploymentsInfo":[` + strings.TrimSuffix(strings.TrimPrefix(deployment("Succeeded"), `{"deploymentInfo":`), "}") + `]}`)
		require.NoError(t, f.handle(t, schedule))
		got := f.status(t, statusPath)
		assert.Equal(t, []any{"Succeeded", "team/web", "main"}, []any{got["state"], got["project"], got["ref"]})
	})
	t.Run("by the group's record, when the trigger died before it told", func(t *testing.T) {
		f := newFixture(t, deployment("Succeeded"))
		f.Put(statusPath, nil, `{"uploadId":"job-9","state":"Waiting","application":"web","deploymentGroup":"web-blue-green","key":"`+testKey+`","versionId":"v1","reason":"will be tried again"}`)
		f.record(`{"application":"web","deploymentGroup":"web-blue-green","attempt":{"uploadId":"job-9","key":"` + testKey +
			`","versionId":"v1","uploaded":"2026-11-23T01:02:03Z","by":{"project":"team/web","ref":"main"},"owner":"m/1","at":"2026-11-23T01:02:04Z"}}`)
		require.NoError(t, f.handle(t, sample("SUCCESS")))
		got := f.status(t, statusPath)
		assert.Equal(t, []any{"Succeeded", "team/web", "main"}, []any{got["state"], got["project"], got["ref"]})
	})
	t.Run("also when it never was deployed", func(t *testing.T) {
		f := newFixture(t, "")
		f.record(`{"application":"web","deploymentGroup":"web-blue-green","ended":[{"uploadId":"job-9","key":"` + testKey +
			`","versionId":"v1","uploaded":"2026-11-23T01:02:03Z","by":{"project":"team/web"},"state":"Superseded","reason":"newer"}]}`)
		f.batch(`{}`)
		require.NoError(t, f.handle(t, schedule))
		got := f.status(t, statusPath)
		assert.Equal(t, []any{"Superseded", "team/web"}, []any{got["state"], got["project"]})
	})
}
