// Package mark tells S3 which versions of artifacts nobody wants any more. A
// version is kept until it is marked: what a group runs, and could go back to,
// never expires by its age.
package mark

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/object"
)

// Key and Value of the tag that the bucket's lifecycle rules look for.
const (
	Key   = "artifact"
	Value = "unwanted"
)

// Tagger is the part of the S3 client that Marker needs.
type Tagger interface {
	PutObjectTagging(context.Context, *s3.PutObjectTaggingInput, ...func(*s3.Options)) (*s3.PutObjectTaggingOutput, error)
}

// Marker marks versions in one bucket.
type Marker struct {
	Client Tagger
	Bucket string
}

// Expire marks a version, if it is there. An order's artifact is others' to mark: the
// group that it comes from, or one that has deployed it, may want it.
func (m *Marker) Expire(ctx context.Context, u group.Upload) error {
	if u.Ordered() || strings.HasPrefix(u.Key, order.Prefix) {
		return nil
	}
	_, err := m.Client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{
		Bucket: &m.Bucket, Key: &u.Key, VersionId: &u.VersionID,
		Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String(Key), Value: aws.String(Value)}}},
	})
	if err == nil || object.Status(err) == 404 || object.Status(err) == 405 {
		return nil
	}
	return fmt.Errorf("mark the version as unwanted: %w", err)
}
