// Package origin is about what a deployment's description says of where the
// deployment comes from:
//
//	upload-id=… uploaded=2026-11-23T01:02:03Z order=rollback by=AWS:… commit=… pipeline=https://…
//
// People read it in CodeDeploy's console; the functions read in it which
// upload a deployment belongs to and when that was made.
package origin

import (
	"strings"
	"time"
)

// Origin of a deployment. No field may contain a blank; "" and the zero time
// mean unknown.
type Origin struct {
	UploadID string
	Uploaded time.Time // S3's Last-Modified of the artifact
	Commit   string
	Pipeline string
	// Order is "rollback" or "promote" where an operator has ordered it, and By who.
	Order, By string
}

// maxDescription is CodeDeploy's limit.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/limits.html
const maxDescription = 256

// Description returns o as text. A part that would not fit whole is left out,
// as half an id or address helps nobody.
func (o Origin) Description() string {
	uploaded := ""
	if !o.Uploaded.IsZero() {
		uploaded = o.Uploaded.UTC().Format("2006-01-02T15:04:05.999Z")
	}
	text := ""
	for _, part := range []struct{ name, value string }{
		{"upload-id", o.UploadID}, {"uploaded", uploaded}, {"order", o.Order}, {"by", o.By}, {"commit", o.Commit}, {"pipeline", o.Pipeline},
	} {
		if part.value == "" {
			continue
		}
		if next := strings.TrimPrefix(text+" "+part.name+"="+part.value, " "); len(next) <= maxDescription {
			text = next
		}
	}
	return text
}

// Parse undoes Description. What has not its form, such as the text of
// somebody who deployed by hand, is left aside.
func Parse(description string) Origin {
	var o Origin
	for _, part := range strings.Fields(description) {
		name, value, _ := strings.Cut(part, "=")
		switch {
		case name == "upload-id" && o.UploadID == "":
			o.UploadID = value
		case name == "uploaded" && o.Uploaded.IsZero():
			if at, err := time.Parse(time.RFC3339, value); err == nil {
				o.Uploaded = at.UTC()
			}
		case name == "order" && o.Order == "":
			o.Order = value
		case name == "by" && o.By == "":
			o.By = value
		case name == "commit" && o.Commit == "":
			o.Commit = value
		case name == "pipeline" && o.Pipeline == "":
			o.Pipeline = value
		}
	}
	return o
}
