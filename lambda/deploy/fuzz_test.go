package deploy

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"gitlab-codedeploy/lambda/internal/metadata"
	"gitlab-codedeploy/lambda/internal/origin"
)

// The seeds are in testdata/fuzz. A longer run:
//
//	go test ./lambda/deploy -run '^$' -fuzz FuzzEvent -fuzztime 1m

func FuzzEvent(f *testing.F) {
	f.Add(body(s3Record(testBucket, testKey, "v1")))
	f.Fuzz(func(t *testing.T, text string) {
		records, end := decodeMessage(text)
		if end.End != "" {
			mustBeBounded(t, end.Reason)
			return
		}
		for _, raw := range records {
			u, end := decodeRecord(raw, testBucket, testPrefix)
			if end.End != "" {
				mustBeBounded(t, end.Reason)
				continue
			}
			if u.Bucket != testBucket || !strings.HasPrefix(u.Key, testPrefix) || u.Key == testPrefix ||
				len(u.Key) > maxKey || !utf8.ValidString(u.Key) || len(u.VersionID) > maxVersion {
				t.Fatalf("accepted %+v", u)
			}
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Fuzz(func(t *testing.T, key string) {
		decoded, fault := decodeKey(key)
		if fault != "" {
			mustBeBounded(t, fault)
		} else if !utf8.ValidString(decoded) || decoded == "" || len(decoded) > maxKey {
			t.Fatalf("accepted %q", decoded)
		}
		if utf8.ValidString(key) && key != "" && len(key) <= maxKey {
			again, fault := decodeKey(url.QueryEscape(key))
			if fault != "" || again != key {
				t.Fatalf("%q came back as %q, %v", key, again, fault)
			}
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2, key3, value3, objectKey string) {
		values := map[string]string{key1: value1, key2: value2, key3: value3}
		request, fault := metadata.Parse(values)
		if text := (origin.Origin{UploadID: request.UploadID, Commit: request.Commit, Pipeline: request.Pipeline}).Description(); len(text) > 256 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("description %q", text)
		}
		if request.UploadID != "" && (len(request.UploadID) > 64 || strings.ContainsAny(request.UploadID, "/.\\ \n")) {
			t.Fatalf("upload id %q", request.UploadID)
		}
		if fault != "" {
			mustBeBounded(t, fault)
			return
		}
		if request.Application == "" || request.DeploymentGroup == "" {
			t.Fatalf("accepted %+v", request)
		}
		if bundle, fault := request.Bundle(objectKey); fault != "" {
			mustBeBounded(t, fault)
		} else if !strings.Contains(" tar tgz zip YAML JSON ", " "+string(bundle)+" ") {
			t.Fatalf("bundle type %q", bundle)
		}
	})
}

// Decoding never passes on text without bound.
func mustBeBounded(t *testing.T, reason string) {
	t.Helper()
	if reason == "" || len(reason) > 1500 {
		t.Fatalf("want a bounded reason, got %q", reason)
	}
}
