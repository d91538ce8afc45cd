package upload

import (
	"context"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/trust"
)

// TokenPutter is the part of the S3 client that PutToken needs.
type TokenPutter interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// tokenPattern is a signed token in compact form: three parts in base64url.
// https://www.rfc-editor.org/rfc/rfc7515#section-7.1
var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)

// ValidToken says whether a text has the form of a token that the trigger takes.
func ValidToken(token string) bool {
	return len(token) <= trust.MaxToken && tokenPattern.MatchString(token)
}

// PutToken puts the token of an upload, which must be there before the artifact
// is: the trigger may look for it at once. No error shows the token.
func PutToken(ctx context.Context, client TokenPutter, bucket, uploadID, token string) error {
	key := trust.TokenKey(uploadID)
	_, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: strings.NewReader(token), ContentType: aws.String("application/jwt"),
	})
	if err != nil {
		return refused(Object{Bucket: bucket, Key: key}, err)
	}
	return nil
}
