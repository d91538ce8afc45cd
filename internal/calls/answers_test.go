package calls_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/calls"
)

const page = "<!doctype html>\n<html lang=en><title>404 Not\x1b[31m Found</title>\n<h1>Not Found</h1>"

// serve is a service that answers with the same thing always.
func serve(t *testing.T, status int, kind, body string) (cfg aws.Config, asked *int) {
	t.Helper()
	asked = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		*asked++
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	cfg = aws.Config{Region: "ap-northeast-1", BaseEndpoint: &server.URL, Credentials: aws.AnonymousCredentials{}, Retryer: func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = 1 })
	}}
	calls.KnowAnswers(&cfg)
	return cfg, asked
}

func TestS15_AWebPageIsNoAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		status     int
		kind, body string
		want       string
		asked      int
	}{
		"a page of the emulator":         {404, "text/html; charset=utf-8", page, `got HTTP status 404 with the web page "404 Not Found": an emulator does not serve every call, or there is a proxy in between`, 1},
		"its own fault is tried again":   {500, "text/html", "Oops\nno title", `got HTTP status 500 with the web page "Oops no title"`, 3},
		"a proxy's, as if all were well": {200, "text/html", page, "got HTTP status 200 with something else than an answer of AWS", 1},
		"neither one nor the other":      {400, "application/json", "[]", "got HTTP status 400 with something else than an answer of AWS", 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, asked := serve(t, tt.status, tt.kind, tt.body)
			_, err := ssm.NewFromConfig(cfg).StartSession(t.Context(), &ssm.StartSessionInput{Target: aws.String("i-1")})
			require.ErrorContains(t, err, "operation error SSM: StartSession, "+tt.want)
			assert.NotContains(t, err.Error(), "\n")
			var none *calls.NoAnswer
			require.ErrorAs(t, err, &none)
			assert.Equal(t, "ssm:StartSession", none.Call)
			assert.Equal(t, tt.asked, *asked)
		})
	}
}

func TestS15_AWebPageIsNoAnswerOfAServiceThatSpeaksXML(t *testing.T) {
	cfg, _ := serve(t, 404, "text/html", page)
	_, err := cloudformation.NewFromConfig(cfg).DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{})
	require.ErrorContains(t, err, `got HTTP status 404 with the web page "404 Not Found"`)
}

func TestS15_AServicesOwnErrorStaysOne(t *testing.T) {
	cfg, _ := serve(t, 400, "application/x-amz-json-1.1", `{"__type":"TargetNotConnected","message":"i-1 is not connected"}`)
	_, err := ssm.NewFromConfig(cfg).StartSession(t.Context(), &ssm.StartSessionInput{Target: aws.String("i-1")})
	var refused smithy.APIError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "TargetNotConnected", refused.ErrorCode())
}

func TestS15_APageInABucketIsAnObject(t *testing.T) {
	cfg, _ := serve(t, 200, "text/html", page)
	out, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("example"), Key: aws.String("index.html")})
	require.NoError(t, err)
	text, err := io.ReadAll(out.Body)
	require.NoError(t, err)
	assert.Equal(t, page, string(text))
}
