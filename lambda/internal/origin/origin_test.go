package origin

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestS14_DescriptionFitsCodeDeploysLimit(t *testing.T) {
	commit := strings.Repeat("c", 40)
	url := "https://gitlab.example.com/team/web/-/pipelines/7"
	at := time.Date(2026, 11, 23, 10, 2, 3, 0, time.FixedZone("JST", 9*60*60))
	for name, tt := range map[string]struct {
		origin Origin
		want   string
	}{
		"all":               {Origin{UploadID: "job-9", Uploaded: at, Commit: commit, Pipeline: url}, "upload-id=job-9 uploaded=2026-11-23T01:02:03Z commit=" + commit + " pipeline=" + url},
		"milliseconds":      {Origin{Uploaded: at.Add(40 * time.Millisecond)}, "uploaded=2026-11-23T01:02:03.04Z"},
		"an order":          {Origin{UploadID: "order.1", Uploaded: at, Order: "rollback", By: "AWS:AROAEXAMPLE:alice"}, "upload-id=order.1 uploaded=2026-11-23T01:02:03Z order=rollback by=AWS:AROAEXAMPLE:alice"},
		"only the id":       {Origin{UploadID: "job-9"}, "upload-id=job-9"},
		"nothing":           {Origin{}, ""},
		"pipeline too long": {Origin{UploadID: "job-9", Commit: commit, Pipeline: url + strings.Repeat("7", 250)}, "upload-id=job-9 commit=" + commit},
		"id too long":       {Origin{UploadID: strings.Repeat("v", 250), Commit: commit}, "commit=" + commit},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.origin.Description())
		})
	}
}

func TestS14_ADescriptionIsReadBack(t *testing.T) {
	all := Origin{
		UploadID: "job-9", Uploaded: time.Date(2026, 11, 23, 1, 2, 3, 4e6, time.UTC), Commit: "0123456", Pipeline: "https://gitlab.example.com/p?uploaded=2036-01-01T00:00:00Z",
		Order: "promote", By: "AIDAEXAMPLE",
	}
	assert.Equal(t, all, Parse(all.Description()))
	for description, want := range map[string]Origin{
		"":                                    {},
		"by hand, sorry":                      {},
		"uploaded=yesterday":                  {},
		"upload-id=a upload-id=b":             {UploadID: "a"},
		"pipeline=http://x?upload-id=a":       {Pipeline: "http://x?upload-id=a"},
		"xuploaded=2026-11-23T01:02:03Z":      {},
		"uploaded=2026-11-23T10:02:03+09:00 ": {Uploaded: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)},
	} {
		assert.Equal(t, want, Parse(description), description)
	}
}
