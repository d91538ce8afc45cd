package deploy

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/lambda/internal/again"
	"gitlab-codedeploy/lambda/internal/clip"
)

// Bounds on what is decoded. SQS carries at most 1 MiB; S3 sends one record a
// message, the format allows for more; a key has at most 1,024 bytes.
//
//	https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
//	https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
const (
	maxBody    = 1 << 20
	maxRecords = 1000
	maxKey     = 1024
	maxVersion = 1024
)

// record is the part of S3's event record that is read here.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
type record struct {
	EventName string `json:"eventName"`
	EventTime string `json:"eventTime"` // when the upload was complete, with milliseconds
	// UserIdentity is who has written the object, by S3.
	UserIdentity struct {
		PrincipalID string `json:"principalId"`
	} `json:"userIdentity"`
	S3 struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object struct {
			Key       string `json:"key"`       // form-encoded
			VersionID string `json:"versionId"` // absent when the bucket has no versions
		} `json:"object"`
	} `json:"s3"`
	// Known is in messages of the status function: see package again.
	Known again.Known `json:"gitlabCodeDeploy"`
}

// decodeMessage takes a message body apart into records that are still raw, so
// that one which cannot be decoded does not take the others with it
// (events.S3Event of aws-lambda-go fails as a whole). An end says that there are none.
func decodeMessage(body string) (records []json.RawMessage, end Outcome) {
	if len(body) > maxBody {
		return nil, outcome(Rejected, "the message is no S3 event: it has %d bytes, more than SQS carries", len(body))
	}
	var message struct {
		Event   string            `json:"Event"`
		Records []json.RawMessage `json:"Records"`
	}
	if err := json.Unmarshal([]byte(body), &message); err != nil {
		return nil, outcome(Rejected, "the message is no S3 event: %s", clip.Text(err.Error(), 200))
	}
	switch {
	case message.Event == "s3:TestEvent":
		// S3 sends one whenever the bucket's notification is set.
		return nil, outcome(Ignored, "S3's test event")
	case len(message.Records) == 0:
		return nil, outcome(Rejected, "the message is no S3 event: it has no Records")
	case len(message.Records) > maxRecords:
		return nil, outcome(Rejected, "the message has %d records, want at most %d", len(message.Records), maxRecords)
	}
	return message.Records, Outcome{}
}

// decodeRecord reads one record: the bucket, key and version of an upload. An
// end says that it is about none of ours; the upload then holds what could be
// read, for the log.
func decodeRecord(raw json.RawMessage, bucket, prefix string) (u Upload, end Outcome) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return u, outcome(Rejected, "the record is no S3 event record: %s", clip.Text(err.Error(), 200))
	}
	u.Bucket, u.Key, u.VersionID = r.S3.Bucket.Name, r.S3.Object.Key, r.S3.Object.VersionID
	u.Known, u.Principal = r.Known, r.UserIdentity.PrincipalID
	u.Completed = decodeTime(r.EventTime)
	if !strings.HasPrefix(r.EventName, "ObjectCreated:") {
		return u, outcome(Ignored, "event %q creates no object", clip.Text(r.EventName, 100))
	}
	if u.Bucket != bucket {
		return u, outcome(Ignored, "bucket %q is not the artifact bucket", clip.Text(u.Bucket, 100))
	}
	key, fault := decodeKey(u.Key)
	if fault != "" {
		return u, Outcome{Rejected, fault}
	}
	u.Key = key
	if !strings.HasPrefix(key, prefix) && !u.IsOrder() {
		return u, outcome(Ignored, "the key is outside %s and %s", prefix, order.Prefix)
	}
	if strings.HasSuffix(key, "/") {
		return u, outcome(Ignored, "the key is a folder's")
	}
	if len(u.VersionID) > maxVersion {
		return u, outcome(Rejected, "the version id has %d bytes, want at most %d", len(u.VersionID), maxVersion)
	}
	return u, Outcome{}
}

// decodeTime reads an event's time, which is UTC; the emulator leaves the Z out.
// The time is worth having, but nothing fails without it.
func decodeTime(text string) time.Time {
	at, err := time.Parse("2006-01-02T15:04:05", strings.TrimSuffix(text, "Z"))
	if err != nil {
		return time.Time{}
	}
	return at
}

// decodeKey undoes the form encoding of a key in an event, where a space is +.
func decodeKey(encoded string) (key, fault string) {
	key, err := url.QueryUnescape(encoded)
	switch {
	case err != nil:
		return "", fmt.Sprintf("the event's key cannot be decoded: %s", clip.Text(err.Error(), 200))
	case key == "":
		return "", "the event has no key"
	case len(key) > maxKey:
		return "", fmt.Sprintf("the key has %d bytes, want at most %d", len(key), maxKey)
	case !utf8.ValidString(key):
		return "", fmt.Sprintf("the event's key is not UTF-8: %q", clip.Text(encoded, 200))
	}
	return key, ""
}

// Uploads returns the uploads that a message is about; what cannot be read is
// left out.
func Uploads(body, bucket, prefix string) (uploads []Upload) {
	records, _ := decodeMessage(body)
	for _, raw := range records {
		if u, end := decodeRecord(raw, bucket, prefix); end.End == "" {
			uploads = append(uploads, u)
		}
	}
	return uploads
}
