// Package again makes messages that let the trigger look at an upload once more,
// in the form of S3's events: when its group is free, or its message is lost.
package again

import (
	"encoding/json"
	"net/url"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/group"
)

// Known is what S3 can no longer tell once the version is gone. Only S3 and the
// status function may send to the queue, so it is believed.
type Known struct {
	allowlist.Pair
	UploadID string `json:"uploadId,omitempty"`
}

// Message returns the body of a message about an upload.
func Message(bucket string, pair allowlist.Pair, u group.Upload) string {
	type object struct {
		Key       string `json:"key"`
		VersionID string `json:"versionId"`
	}
	body, err := json.Marshal(map[string]any{"Records": []any{map[string]any{
		"eventName": "ObjectCreated:Again",
		"eventTime": u.Uploaded.UTC().Format("2006-01-02T15:04:05.000Z"),
		"s3": map[string]any{
			"bucket": map[string]string{"name": bucket},
			"object": object{url.QueryEscape(u.Key), u.VersionID},
		},
		"gitlabCodeDeploy": Known{pair, u.ID},
	}}})
	if err != nil {
		panic(err) // It has strings only.
	}
	return string(body)
}
