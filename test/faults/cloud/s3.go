package cloud

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bucket is a versioned S3 bucket.
type Bucket struct {
	Name string

	// Written is told of each object that came over the wire. May be nil.
	Written func(*Version)

	clock    *Clock
	random   *rand.Rand
	versions map[string][]*Version // by key, oldest first
	removed  map[string]*Version   // by id
	sequence uint64
}

// Version is one version of one key.
type Version struct {
	Key, ID  string
	ETag     string // as S3 sends it, in quotes
	Metadata map[string]string
	Modified time.Time // S3 tells whole seconds of it
	Marker   bool      // a delete marker
	Sequence uint64    // of the bucket: a later write has a higher one
	Tags     map[string]string

	body func() []byte
}

// Body is what was put; nil of a delete marker.
func (v *Version) Body() []byte {
	if v.body == nil {
		return nil
	}
	return v.body()
}

// Put writes an object the way an uploader does.
func (b *Bucket) Put(key string, metadata map[string]string, body []byte) *Version {
	v := b.add(key)
	sum := md5.Sum(body)
	v.ETag, v.Metadata, v.body = `"`+hex.EncodeToString(sum[:])+`"`, metadata, func() []byte { return body }
	return v
}

// PutSlow writes an object that takes long to make, and is made once somebody reads
// it. Its ETag says nothing of it, as that of an encrypted object.
func (b *Bucket) PutSlow(key string, made func() []byte) *Version {
	v := b.Put(key, nil, nil)
	sum := md5.Sum([]byte(v.ID))
	v.ETag, v.body = `"`+hex.EncodeToString(sum[:])+`"`, sync.OnceValue(made)
	return v
}

// Delete puts a delete marker on top of a key.
func (b *Bucket) Delete(key string) { b.add(key).Marker = true }

// Remove takes one version away for good, as a lifecycle rule does.
func (b *Bucket) Remove(v *Version) {
	kept := []*Version{}
	for _, other := range b.versions[v.Key] {
		if other != v {
			kept = append(kept, other)
		}
	}
	b.versions[v.Key] = kept
	if b.removed == nil {
		b.removed = map[string]*Version{}
	}
	b.removed[v.ID] = v
}

// Current is the newest version of a key, or nil when there is none; it may be
// a delete marker.
func (b *Bucket) Current(key string) *Version {
	versions := b.versions[key]
	if len(versions) == 0 {
		return nil
	}
	return versions[len(versions)-1]
}

// Under returns what the keys that start with prefix hold now, in the order in which it was written.
func (b *Bucket) Under(prefix string) []*Version {
	var found []*Version
	for key := range b.versions {
		if v := b.Current(key); v != nil && !v.Marker && strings.HasPrefix(key, prefix) {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, func(a, b *Version) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return found
}

func (b *Bucket) add(key string) *Version {
	b.sequence++
	v := &Version{
		Key: key,
		// Version ids are opaque; these are the characters seen in practice.
		ID:       word(b.random, 32, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._"),
		Modified: b.clock.Now(),
		Sequence: b.sequence,
	}
	b.versions[key] = append(b.versions[key], v)
	return v
}

// Principal is who writes what is put, by S3's events.
const Principal = "AWS:AROAEXAMPLE:alice"

// Event is the message that S3 sends about a new version.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
func (b *Bucket) Event(v *Version) string {
	body, err := json.Marshal(map[string]any{"Records": []any{map[string]any{
		"eventVersion": "2.1",
		"eventSource":  "aws:s3",
		"awsRegion":    "ap-northeast-1",
		"eventTime":    v.Modified.UTC().Format("2006-01-02T15:04:05.000Z"),
		"eventName":    "ObjectCreated:Put",
		"userIdentity": map[string]any{"principalId": Principal},
		"s3": map[string]any{
			"s3SchemaVersion": "1.0",
			"bucket":          map[string]any{"name": b.Name, "arn": "arn:aws:s3:::" + b.Name},
			"object": map[string]any{
				"key":       url.QueryEscape(v.Key),
				"size":      len(v.Body()),
				"eTag":      strings.Trim(v.ETag, `"`),
				"versionId": v.ID,
				"sequencer": fmt.Sprintf("%016X", v.Sequence),
			},
		},
	}}})
	if err != nil {
		panic(err)
	}
	return string(body)
}

func (b *Bucket) serve(r Request) Response {
	if r.Bucket != b.Name {
		return Refuse(r, http.StatusNotFound, "NoSuchBucket", r.Bucket)
	}
	switch r.Operation {
	case "HeadObject", "GetObject":
		return b.get(r)
	case "PutObject":
		return b.put(r)
	case "PutObjectTagging":
		return b.tag(r)
	case "ListObjectsV2":
		return b.list(r)
	case "ListObjectVersions":
		return b.listVersions(r)
	}
	return Refuse(r, http.StatusNotImplemented, "NotImplemented", r.Operation)
}

// get answers 404 for what is not there, and 405 for a version that is a
// delete marker: https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
func (b *Bucket) get(r Request) Response {
	found := b.Current(r.Key)
	if r.Version != "" {
		found = nil
		for _, v := range b.versions[r.Key] {
			if v.ID == r.Version {
				found = v
			}
		}
	}
	switch {
	case found == nil && r.Version != "":
		return Refuse(r, http.StatusNotFound, "NoSuchVersion", "The specified version does not exist.")
	case found == nil:
		return Refuse(r, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	case found.Marker:
		refusal := Refuse(r, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		if r.Version != "" {
			refusal = Refuse(r, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
		}
		refusal.Header.Set("X-Amz-Delete-Marker", "true")
		refusal.Header.Set("X-Amz-Version-Id", found.ID)
		return refusal
	}
	if condition := r.Header.Get("If-Match"); condition != "" && condition != found.ETag {
		return preconditionFailed(r)
	}
	header := http.Header{
		"Etag":             {found.ETag},
		"Last-Modified":    {found.Modified.UTC().Format(http.TimeFormat)},
		"X-Amz-Version-Id": {found.ID},
		"Content-Type":     {"binary/octet-stream"},
		"Content-Length":   {strconv.Itoa(len(found.Body()))},
	}
	for name, value := range found.Metadata {
		header["x-amz-meta-"+name] = []string{value}
	}
	body := found.Body()
	if r.Operation == "HeadObject" {
		body = nil
	}
	return Response{Status: http.StatusOK, Header: header, Body: body}
}

// tag replaces the tags of a version.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html
func (b *Bucket) tag(r Request) Response {
	var in struct {
		Tags []struct{ Key, Value string } `xml:"TagSet>Tag"`
	}
	if err := xml.Unmarshal(r.Body, &in); err != nil {
		return Refuse(r, http.StatusBadRequest, "MalformedXML", err.Error())
	}
	for _, v := range b.versions[r.Key] {
		if v.ID != r.Version {
			continue
		}
		if v.Marker {
			return Refuse(r, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
		}
		v.Tags = map[string]string{}
		for _, t := range in.Tags {
			v.Tags[t.Key] = t.Value
		}
		return Response{Status: http.StatusOK, Header: http.Header{"X-Amz-Version-Id": {v.ID}}}
	}
	return Refuse(r, http.StatusNotFound, "NoSuchVersion", "The specified version does not exist.")
}

// list shows keys in the order of their bytes, a thousand at most.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
func (b *Bucket) list(r Request) Response {
	type content struct {
		Key, ETag, LastModified string
		Size                    int
	}
	var out struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}
	found := b.Under(r.Query.Get("prefix"))
	slices.SortFunc(found, func(a, b *Version) int { return strings.Compare(a.Key, b.Key) })
	after := max(r.Query.Get("start-after"), r.Query.Get("continuation-token"))
	for _, v := range found {
		if v.Key <= after {
			continue
		}
		if len(out.Contents) == 1000 {
			out.IsTruncated, out.NextContinuationToken = true, out.Contents[999].Key
			break
		}
		out.Contents = append(out.Contents, content{v.Key, v.ETag, v.Modified.UTC().Format(time.RFC3339), len(v.Body())})
	}
	body, err := xml.Marshal(out)
	if err != nil {
		panic(err)
	}
	return Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/xml"}}, Body: body}
}

// listVersions shows the versions under a prefix: of a key, the newest first. A page
// goes on after the version that the markers name.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
func (b *Bucket) listVersions(r Request) Response {
	type version struct {
		Key, VersionId, ETag, LastModified string
		IsLatest                           bool
		Size                               int
	}
	var out struct {
		XMLName             xml.Name `xml:"ListVersionsResult"`
		IsTruncated         bool
		NextKeyMarker       string `xml:",omitempty"`
		NextVersionIdMarker string `xml:",omitempty"`
		Version             []version
		DeleteMarker        []version
	}
	var all []*Version
	for _, key := range slices.Sorted(maps.Keys(b.versions)) {
		if strings.HasPrefix(key, r.Query.Get("prefix")) {
			all = slices.AppendSeq(all, backward(b.versions[key]))
		}
	}
	if marker := r.Query.Get("version-id-marker"); marker != "" {
		key, last := r.Query.Get("key-marker"), b.removed[marker] // gone since the page before
		for _, v := range b.versions[key] {
			if v.ID == marker {
				last = v
			}
		}
		if last == nil {
			return Refuse(r, http.StatusBadRequest, "InvalidArgument", "Invalid version id specified")
		}
		all = slices.DeleteFunc(all, func(v *Version) bool { return v.Key < key || v.Key == key && v.Sequence >= last.Sequence })
	}
	size := 1000
	if given := r.Query.Get("max-keys"); given != "" {
		size, _ = strconv.Atoi(given)
	}
	if len(all) > size {
		all, out.IsTruncated = all[:size], true
		out.NextKeyMarker, out.NextVersionIdMarker = all[size-1].Key, all[size-1].ID
	}
	for _, v := range all {
		shown := version{v.Key, v.ID, v.ETag, v.Modified.UTC().Truncate(time.Second).Format(time.RFC3339), v == b.Current(v.Key), len(v.Body())}
		if v.Marker {
			out.DeleteMarker = append(out.DeleteMarker, shown)
		} else {
			out.Version = append(out.Version, shown)
		}
	}
	body, err := xml.Marshal(out)
	if err != nil {
		panic(err)
	}
	return Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/xml"}}, Body: body}
}

func backward(versions []*Version) iter.Seq[*Version] {
	return func(yield func(*Version) bool) {
		for _, v := range slices.Backward(versions) {
			if !yield(v) {
				return
			}
		}
	}
}

// put honours If-None-Match and If-Match:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (b *Bucket) put(r Request) Response {
	current := b.Current(r.Key)
	if current != nil && current.Marker {
		current = nil
	}
	if condition := r.Header.Get("If-None-Match"); condition != "" {
		if condition != "*" {
			return Refuse(r, http.StatusNotImplemented, "NotImplemented", "If-None-Match takes * only")
		}
		if current != nil {
			return preconditionFailed(r)
		}
	}
	if condition := r.Header.Get("If-Match"); condition != "" {
		if current == nil {
			return Refuse(r, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		}
		if condition != current.ETag {
			return preconditionFailed(r)
		}
	}
	v := b.Put(r.Key, nil, r.Body)
	if b.Written != nil {
		b.Written(v)
	}
	return Response{Status: http.StatusOK, Header: http.Header{"Etag": {v.ETag}, "X-Amz-Version-Id": {v.ID}}}
}

func preconditionFailed(r Request) Response {
	return Refuse(r, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
}
