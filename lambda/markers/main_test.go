package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/awstest"
)

func TestS10_TheFunctionNamesEverythingThatIsMissing(t *testing.T) {
	_, err := newJudge(func(string) string { return "" })
	require.Error(t, err)
	for _, want := range []string{"BACKUP_BUCKET is not set", "KEEP_DAYS is \"\"", "AWS_REGION"} {
		assert.ErrorContains(t, err, want)
	}
	for _, days := range []string{"0", "-1", "30.5", "3651", "thirty"} {
		_, err := newJudge(func(name string) string {
			return map[string]string{"KEEP_DAYS": days, "BACKUP_BUCKET": "b", "AWS_REGION": "r", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}[name]
		})
		assert.EqualError(t, err, "KEEP_DAYS is \""+days+"\": want a number of days from 1 to 3650")
	}
}

// The whole function with the real client of S3, which answers in two pages.
func TestS10_TheFunctionCountsWhatS3Lists(t *testing.T) {
	const hidden = "1606734000_2020_11_30_13.10.2"
	for complete, want := range map[int]string{3: "", 2: "hidden"} {
		t.Run(fmt.Sprint(complete), func(t *testing.T) {
			server := awstest.New(t)
			server.S3 = func(w http.ResponseWriter, r *http.Request) bool {
				first := r.URL.Query().Get("continuation-token") == ""
				w.Header().Set("Content-Type", "application/xml")
				fmt.Fprintf(w, `<ListBucketResult><IsTruncated>%t</IsTruncated><NextContinuationToken>more</NextContinuationToken>`, first)
				for i := range complete {
					if first == (i == 0) {
						fmt.Fprintf(w, `<Contents><Key>backups/160673400%d_2020_11_30_13.10.2/manifest.json</Key></Contents>`, i+1)
					}
				}
				io.WriteString(w, `</ListBucketResult>`)
				return true
			}
			env := server.Environment("", "")
			env["BACKUP_BUCKET"], env["KEEP_DAYS"] = "backups-of-gitlab", "30"
			judge, err := newJudge(func(name string) string { return env[name] })
			require.NoError(t, err)
			var metrics bytes.Buffer
			judge.Metrics.Out = &metrics
			judge.Metrics.Now = func() time.Time { return time.Date(2026, 11, 23, 1, 2, 3, 4e6, time.UTC) }

			require.NoError(t, judge.Handle(t.Context(), json.RawMessage(`{"source": "aws.s3", "detail-type": "Object Deleted", "time": "2026-11-23T01:02:03Z",
				"detail": {"bucket": {"name": "backups-of-gitlab"}, "object": {"key": "backups/`+hidden+`/manifest.json"}, "deletion-type": "Delete Marker Created"}}`)))
			assert.Equal(t, []string{
				"GET /backups-of-gitlab?list-type=2&prefix=backups%2F",
				"GET /backups-of-gitlab?continuation-token=more&list-type=2&prefix=backups%2F",
			}, server.Requests())
			if want == "" {
				assert.Empty(t, metrics.String())
				return
			}
			awstest.MetricLines(t, map[string]string{want: metrics.String()})
		})
	}
}
