package mark

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/lambda/internal/group"
)

// tagger answers with an HTTP status.
type tagger struct {
	answer int
	got    *s3.PutObjectTaggingInput
}

func (f *tagger) PutObjectTagging(_ context.Context, in *s3.PutObjectTaggingInput, _ ...func(*s3.Options)) (*s3.PutObjectTaggingOutput, error) {
	f.got = in
	if f.answer == 200 {
		return &s3.PutObjectTaggingOutput{}, nil
	}
	return nil, &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: f.answer}},
		Err:      errors.New(http.StatusText(f.answer)),
	}
}

// What is gone needs no mark: 404 for a version, 405 for a delete marker.
func TestS14_AVersionIsMarkedIfItIsThere(t *testing.T) {
	for answer, well := range map[int]bool{200: true, 404: true, 405: true, 403: false, 500: false} {
		client := &tagger{answer: answer}
		err := (&Marker{Client: client, Bucket: "bucket"}).Expire(t.Context(), group.Upload{Key: "artifacts/x.zip", VersionID: "v1"})
		assert.Equal(t, well, err == nil, "%d: %v", answer, err)
		require.Len(t, client.got.Tagging.TagSet, 1)
		assert.Equal(t, []string{"bucket", "artifacts/x.zip", "v1", "artifact", "unwanted"}, []string{
			aws.ToString(client.got.Bucket), aws.ToString(client.got.Key), aws.ToString(client.got.VersionId),
			aws.ToString(client.got.Tagging.TagSet[0].Key), aws.ToString(client.got.Tagging.TagSet[0].Value),
		})
	}
}
