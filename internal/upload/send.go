package upload

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
)

// Client is what an upload asks of S3.
type Client interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	CreateMultipartUpload(context.Context, *s3.CreateMultipartUploadInput, ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error)
	UploadPart(context.Context, *s3.UploadPartInput, ...func(*s3.Options)) (*s3.UploadPartOutput, error)
	CompleteMultipartUpload(context.Context, *s3.CompleteMultipartUploadInput, ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error)
	AbortMultipartUpload(context.Context, *s3.AbortMultipartUploadInput, ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error)
}

// Object is where a stream goes, and what is said of it there.
type Object struct {
	Bucket, Key, ContentType string
	Metadata                 map[string]string

	// PartBytes is the size of a part, and of what is sent whole. 0 is what
	// [PartSize] says. S3 takes no part under 5 MiB, the last one aside.
	PartBytes int64
}

func (o Object) String() string { return "s3://" + o.Bucket + "/" + o.Key }

// Sent is what S3 has got.
type Sent struct {
	VersionID string // "" in a bucket without versions
	Bytes     int64
	ETag      string // without quotes
	Checksum  string // CRC64NVME of the whole object, as S3 writes it
	SHA256    string // of the whole object, in hex
	Parts     int    // 1 is an object that was sent whole
}

// Count runs write as [Send] does, and sends nothing.
func Count(o Object, expected int64, write func(io.Writer) error) (Sent, error) {
	part, err := o.partSize(expected)
	if err != nil {
		return Sent{}, err
	}
	sums := newSums(io.Discard)
	if err := write(sums); err != nil {
		return Sent{}, err
	}
	return sums.sent(part), nil
}

// Send streams what write writes into an object, of which about expected bytes
// are to come at most. It returns once nothing of it runs any more.
//
// Nothing shows in the bucket before all is there. What fails, or is cancelled by
// ctx, is taken back, for which S3 gets ten seconds more. The error is an [Error];
// it wraps what write returned, where that was the cause, or the cause of ctx.
func Send(ctx context.Context, client Client, o Object, expected int64, write func(io.Writer) error) (Sent, error) {
	return sender{client: client}.send(ctx, o, expected, write)
}

// sender has the times that are waited. Zero means the default.
type sender struct {
	client   Client
	patience time.Duration // with a connection on which nothing moves; 2 minutes
	grace    time.Duration // for what has to be done after ctx has ended; 10 s
}

func (s sender) send(ctx context.Context, o Object, expected int64, write func(io.Writer) error) (Sent, error) {
	part, err := o.partSize(expected)
	if err != nil {
		return Sent{}, err
	}
	reader, writer := io.Pipe()
	sums := newSums(writer)
	// Whoever ends first ends the others: the stream, and each part that is under way.
	under, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(under, func() { _ = reader.CloseWithError(context.Cause(under)) })
	defer stop() // before cancel; nothing here fails
	written := make(chan error, 1)
	go func() {
		err := write(sums)
		_ = writer.CloseWithError(err) // never fails; nil is the end
		written <- err
	}()

	u := &upload{
		client: s.client, object: o, sums: sums, failed: cancel, parts: map[int32]told{},
		patience: orDefault(s.patience, 2*time.Minute), grace: orDefault(s.grace, 10*time.Second),
	}
	manager := transfermanager.New(u, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = part, part, concurrency(part)
		o.ChecksumAlgorithm = tmtypes.ChecksumAlgorithm(types.ChecksumAlgorithmCrc64nvme)
	})
	out, err := manager.UploadObject(under, &transfermanager.UploadObjectInput{
		Bucket: &o.Bucket, Key: &o.Key, ContentType: &o.ContentType, Metadata: o.Metadata, Body: reader,
	})
	_ = reader.CloseWithError(errUnread) // never fails
	writeErr := <-written
	if err = cmp.Or(err, u.remains().err); err != nil {
		return Sent{}, u.why(ctx, err, writeErr)
	}
	sent := sums.sent(part)
	if version := aws.ToString(out.VersionID); version != "null" {
		sent.VersionID = version
	}
	sent.ETag = strings.Trim(aws.ToString(out.ETag), `"`)
	if got := aws.ToString(out.ChecksumCRC64NVME); got != sent.Checksum {
		return Sent{}, u.lied(got, sent)
	}
	return sent, nil
}

func (o Object) partSize(expected int64) (int64, error) {
	part, err := PartSize(expected)
	if err == nil && o.PartBytes > 0 {
		part = max(o.PartBytes, expected/(maxParts*9/10)+1)
	}
	return part, err
}

func orDefault(given, usual time.Duration) time.Duration {
	if given == 0 {
		return usual
	}
	return given
}

// sums passes a stream on, and adds it up.
type sums struct {
	out    io.Writer
	bytes  int64
	sha256 hash.Hash
	crc64  hash.Hash64
}

func newSums(out io.Writer) *sums {
	return &sums{out: out, sha256: sha256.New(), crc64: crc64nvme.New()}
}

func (s *sums) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	s.bytes += int64(n)
	s.sha256.Write(p[:n])
	s.crc64.Write(p[:n])
	return n, err
}

func (s *sums) checksum() string { return encode(s.crc64.Sum64()) }

func (s *sums) sent(part int64) Sent {
	return Sent{
		Bytes: s.bytes, Checksum: s.checksum(), SHA256: hex.EncodeToString(s.sha256.Sum(nil)),
		Parts: int(max(1, (s.bytes+part-1)/part)),
	}
}

// encode writes a checksum as S3 does.
func encode(sum uint64) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, sum))
}

// checksumOf reads a part that is about to be sent, and leaves it at its beginning.
func checksumOf(body io.Reader) (checksum uint64, size int64, err error) {
	part, ok := body.(io.ReadSeeker)
	if !ok {
		return 0, 0, fmt.Errorf("a part is a %T, which cannot be read twice", body)
	}
	sum := crc64nvme.New()
	if size, err = io.Copy(sum, part); err != nil {
		return 0, 0, err
	}
	_, err = part.Seek(0, io.SeekStart)
	return sum.Sum64(), size, err
}
