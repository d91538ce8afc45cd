package metric

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestS14_AMetricHasTheDocumentedForm(t *testing.T) {
	var out bytes.Buffer
	w := &Writer{Out: &out, FunctionName: "f", Now: func() time.Time { return time.UnixMilli(1795395723004) }}
	w.Write([]Value{{"Ended", Count, 1}, {"TookSeconds", Seconds, 2.5}}, map[string]string{"uploadId": "job-9", "application": ""})
	assert.Equal(t, `{"Ended":1,"FunctionName":"f","TookSeconds":2.5,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["FunctionName"]],`+
		`"Metrics":[{"Name":"Ended","Unit":"Count"},{"Name":"TookSeconds","Unit":"Seconds"}],"Namespace":"GitLabCodeDeploy"}],"Timestamp":1795395723004},`+
		`"uploadId":"job-9"}`+"\n", out.String())

	out.Reset()
	w.Write(nil, map[string]string{"uploadId": "job-9"})
	assert.Empty(t, out.String())

	w.Now = nil
	w.Write([]Value{{"Ended", Count, 1}}, map[string]string{"uploadId": strings.Repeat("x\n", 10_000)})
	assert.Less(t, out.Len(), 1000, "what comes from outside is bounded")
	assert.WithinDuration(t, time.Now(), w.Time(), time.Minute)
}
