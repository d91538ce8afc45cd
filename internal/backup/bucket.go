//go:build unix

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/upload"
)

// bucket is a store in S3.
type bucket struct {
	m      *machine.Machine
	client *s3.Client
	name   string
}

// NewBucket is a store in a bucket of S3.
func NewBucket(m *machine.Machine, client *s3.Client, name string) Store {
	return bucket{m, client, name}
}

func (b bucket) String() string { return "s3://" + b.name }

func (b bucket) Reach(ctx context.Context) error {
	_, err := b.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: aws.String("backups/"), MaxKeys: aws.Int32(1)})
	if err != nil {
		return fmt.Errorf("cannot list backups/ in %s: nothing was done: %w", b.name, err)
	}
	return nil
}

// Put sends a part. S3 compares the checksum of the whole with what it has, and makes
// no object that differs: an ETag would say nothing, as with KMS it is no MD5.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
func (b bucket) Put(ctx context.Context, key string, expected int64, write func(io.Writer) error) (backups.Part, error) {
	b.m.Changing("put " + key)
	object := upload.Object{Bucket: b.name, Key: key, ContentType: "application/octet-stream"}
	sent, err := upload.Send(ctx, b.client, object, expected, write)
	if err != nil {
		return backups.Part{}, fmt.Errorf("cannot store %s: %w", key, upload.Cause(err))
	}
	return backups.Part{Key: key, Size: sent.Bytes, SHA256: sent.SHA256}, nil
}

func (b bucket) Seal(ctx context.Context, m backups.Manifest) error {
	b.m.Changing("put " + backups.ManifestKey(m.ID))
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: aws.String(backups.ManifestKey(m.ID)), Body: strings.NewReader(m.Text()),
		ContentType: aws.String("application/json"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		// Operators read it, and have no right to the bucket's key.
		ServerSideEncryption: types.ServerSideEncryptionAes256,
	})
	if err != nil {
		return fmt.Errorf("cannot write the manifest: the backup does not count: %w", err)
	}
	return nil
}

func (b bucket) Sizes(ctx context.Context, id string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for _, prefix := range []string{"backups/" + id + "/", "secrets/" + id + "/"} {
		pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, object := range page.Contents {
				sizes[aws.ToString(object.Key)] = aws.ToInt64(object.Size)
			}
		}
	}
	return sizes, nil
}

func (b bucket) Text(ctx context.Context, key string) ([]byte, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	if api := smithy.APIError(nil); errors.As(err, &api) && api.ErrorCode() == "NoSuchKey" {
		return nil, errNotThere
	}
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(io.LimitReader(out.Body, maxManifest))
}

// fetching are the ranges that are under way at a time, and their size: some 250 MB/s
// at S3's pace.
const (
	fetching   = 8
	fetchBytes = 8 << 20
)

// Fetch reads ranges side by side. Whether they are what was sent is for the caller's
// SHA-256 to say.
func (b bucket) Fetch(ctx context.Context, key, name string, mode uint32) error {
	manager := transfermanager.New(b.client, func(o *transfermanager.Options) {
		o.GetObjectType, o.PartSizeBytes, o.Concurrency = tmtypes.GetObjectRanges, fetchBytes, fetching
	})
	return b.m.Create(name, os.FileMode(mode), func(w io.Writer) error {
		_, err := manager.DownloadObject(ctx, &transfermanager.DownloadObjectInput{Bucket: &b.name, Key: &key, WriterAt: w.(*os.File)})
		return err
	})
}

func (b bucket) IDs(ctx context.Context) ([]string, error) { return backups.IDs(ctx, b.client, b.name) }
