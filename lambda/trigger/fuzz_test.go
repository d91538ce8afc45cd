package main

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"gitlab-codedeploy/lambda/internal/origin"
)

// The seeds are in testdata/fuzz. A longer run:
//
//	go test ./lambda/trigger -run '^$' -fuzz FuzzEvent -fuzztime 1m

func FuzzEvent(f *testing.F) {
	f.Add(body(s3Record(testBucket, testKey, "v1")))
	f.Fuzz(func(t *testing.T, text string) {
		records, err := decodeMessage(text)
		if err != nil {
			mustBeVerdict(t, err)
			return
		}
		for _, raw := range records {
			u, err := decodeRecord(raw, testBucket, testPrefix)
			if err != nil {
				mustBeVerdict(t, err)
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
		decoded, err := decodeKey(key)
		if err != nil {
			mustBeVerdict(t, err)
		} else if !utf8.ValidString(decoded) || decoded == "" || len(decoded) > maxKey {
			t.Fatalf("accepted %q", decoded)
		}
		if utf8.ValidString(key) && key != "" && len(key) <= maxKey {
			again, err := decodeKey(url.QueryEscape(key))
			if err != nil || again != key {
				t.Fatalf("%q came back as %q, %v", key, again, err)
			}
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2, key3, value3, objectKey string) {
		metadata := map[string]string{key1: value1, key2: value2, key3: value3}
		request, err := parseMetadata(metadata)
		if text := (origin.Origin{UploadID: request.UploadID, Commit: request.Commit, Pipeline: request.Pipeline}).Description(); len(text) > 256 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("description %q", text)
		}
		if request.UploadID != "" && (len(request.UploadID) > 64 || strings.ContainsAny(request.UploadID, "/.\\ \n")) {
			t.Fatalf("upload id %q", request.UploadID)
		}
		if err != nil {
			mustBeVerdict(t, err)
			return
		}
		if request.Application == "" || request.DeploymentGroup == "" {
			t.Fatalf("accepted %+v", request)
		}
		if bundle, err := bundleType(request.BundleType, objectKey); err != nil {
			mustBeVerdict(t, err)
		} else if !strings.Contains(" tar tgz zip YAML JSON ", " "+string(bundle)+" ") {
			t.Fatalf("bundle type %q", bundle)
		}
	})
}

// Decoding never asks for a retry, and never passes on text without bound.
func mustBeVerdict(t *testing.T, err error) {
	t.Helper()
	if verdict := (*Verdict)(nil); !errors.As(err, &verdict) || verdict.Reason == "" || len(verdict.Reason) > 1500 {
		t.Fatalf("want a bounded verdict, got %v", err)
	}
}
