package httpbody

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// late looks for more of a body when the SDK has closed it already, as net/http may.
type late struct {
	sent []string
	fail int // the first so many requests, before they are sent
}

func (l *late) Do(request *http.Request) (*http.Response, error) {
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}
	if request.Body == nil {
		l.sent = append(l.sent, "nothing")
		return answer, nil
	}
	text, err := io.ReadAll(io.LimitReader(request.Body, request.ContentLength))
	if err != nil {
		return nil, err
	}
	if l.sent = append(l.sent, string(text)); len(l.sent) <= l.fail {
		return nil, errors.New("connection reset by peer")
	}
	if err := request.Body.Close(); err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, request.Body)
	return answer, err
}

func configuration(net *late) aws.Config {
	return aws.Config{Region: "ap-northeast-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), HTTPClient: net, RetryMaxAttempts: 1}
}

func TestABodyThatTheSDKHasClosedIsNoFailure(t *testing.T) {
	var net late
	config := configuration(&net)
	ask := func() error {
		_, err := ssm.NewFromConfig(config).GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("name")})
		return err
	}
	require.ErrorIs(t, ask(), io.EOF, "smithy-go is mended: this package is needless")

	OnlyRead(&config)
	require.NoError(t, ask())
	assert.Equal(t, []string{`{"Name":"name"}`, `{"Name":"name"}`}, net.sent)
}

func TestABodyIsSentWholeAgain(t *testing.T) {
	net := late{fail: 1}
	config := configuration(&net)
	config.RetryMaxAttempts = 2
	OnlyRead(&config)
	_, err := ssm.NewFromConfig(config).GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("name")})
	require.NoError(t, err)
	assert.Equal(t, []string{`{"Name":"name"}`, `{"Name":"name"}`}, net.sent)
}

func TestWhatHasNoBodyGetsNone(t *testing.T) {
	var net late
	config := configuration(&net)
	OnlyRead(&config)
	_, err := s3.NewFromConfig(config).HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
	require.NoError(t, err)
	assert.Equal(t, []string{"nothing"}, net.sent)
}
