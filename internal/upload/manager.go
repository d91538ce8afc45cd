package upload

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"gitlab-codedeploy/internal/upload/crc"
)

// upload is one, between the transfer manager and S3: what the manager does not
// do with checksums, with time, and with what is left behind.
type upload struct {
	transfermanager.S3APIClient // nil: what an upload never calls

	client          Client
	object          Object
	sums            *sums // of the whole stream; complete with its last part
	failed          context.CancelCauseFunc
	patience, grace time.Duration

	mu    sync.Mutex
	parts map[int32]told // what S3 has said that it has
	state remains
}

// told is what S3 has said of a part.
type told struct {
	checksum uint64
	size     int64
}

// remains is what is left of an upload that has failed.
type remains struct {
	began     bool  // a multipart upload, so that something has to be taken back
	finishing bool  // S3 was asked to make the object
	lost      bool  // and one answer to that did not come
	gone      bool  // S3 had no such upload any more when it was to be taken back
	abortErr  error // why it could not be taken back
	err       error // of the first part that failed, or of the last call
}

func (u *upload) remains() remains {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state
}

func (u *upload) update(change func(*remains)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.state)
}

// attempts counts the requests of one call that S3 got and gave no whole answer to.
type attempts struct{ unanswered atomic.Int32 }

// options are those of each call.
func (u *upload) options(given []func(*s3.Options), a *attempts) []func(*s3.Options) {
	return append(given, func(o *s3.Options) {
		if o.RetryMaxAttempts == 0 {
			// As many as the AWS CLI makes. What AWS_MAX_ATTEMPTS says comes first.
			o.RetryMaxAttempts = 5
		}
		o.HTTPClient = &patientClient{next: o.HTTPClient, patience: u.patience, attempts: a}
	})
}

// PutObject sends what fits into one part. S3 refuses it where the checksum is
// not that of what arrives.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
func (u *upload) PutObject(ctx context.Context, in *s3.PutObjectInput, options ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	var a attempts
	in.ChecksumCRC64NVME = aws.String(u.sums.checksum())
	out, err := u.client.PutObject(ctx, in, u.options(options, &a)...)
	u.update(func(r *remains) { r.finishing, r.lost = true, a.unanswered.Load() > 0 })
	return out, err
}

// CreateMultipartUpload is not interrupted by the end of ctx: without the id in
// its answer nobody could take the upload back.
func (u *upload) CreateMultipartUpload(ctx context.Context, in *s3.CreateMultipartUploadInput, options ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	ctx, cancel := u.outlive(ctx)
	defer cancel()
	in.ChecksumType = types.ChecksumTypeFullObject
	out, err := u.client.CreateMultipartUpload(ctx, in, u.options(options, new(attempts))...)
	if err == nil {
		u.update(func(r *remains) { r.began = true })
	}
	return out, err
}

// UploadPart compares what S3 says of the part with the buffer that was sent.
func (u *upload) UploadPart(ctx context.Context, in *s3.UploadPartInput, options ...func(*s3.Options)) (*s3.UploadPartOutput, error) {
	out, err := u.sendPart(ctx, in, options)
	if err != nil {
		u.update(func(r *remains) { r.err = cmp.Or(r.err, err) })
		u.failed(errUnread)
	}
	return out, err
}

func (u *upload) sendPart(ctx context.Context, in *s3.UploadPartInput, options []func(*s3.Options)) (*s3.UploadPartOutput, error) {
	sum, size, err := checksumOf(in.Body)
	if err != nil {
		return nil, err
	}
	checksum := encode(sum)
	in.ChecksumCRC64NVME = &checksum
	out, err := u.client.UploadPart(ctx, in, u.options(options, new(attempts))...)
	if err != nil {
		return nil, err
	}
	if got := aws.ToString(out.ChecksumCRC64NVME); got != checksum {
		return nil, wrongContent(fmt.Sprintf("S3 did not store part %d as it was sent: got CRC64NVME %s; want %s",
			aws.ToInt32(in.PartNumber), orNone(got), checksum))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[aws.ToInt32(in.PartNumber)] = told{sum, size}
	return out, nil
}

// ofParts is the checksum of the whole by what S3 has said of the parts. moto
// says nothing of the whole.
func (u *upload) ofParts() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var sum uint64
	for number := range int32(len(u.parts)) {
		part := u.parts[number+1]
		sum = crc.Combine(sum, part.checksum, part.size)
	}
	return encode(sum)
}

// CompleteMultipartUpload makes the object. S3 compares the checksum and the size
// with what it has, so that a wrong object is not made at all.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
func (u *upload) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput, options ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error) {
	var a attempts
	in.ChecksumCRC64NVME = aws.String(u.sums.checksum())
	in.ChecksumType = types.ChecksumTypeFullObject
	in.MpuObjectSize = aws.Int64(u.sums.bytes)
	for i := range in.MultipartUpload.Parts {
		part := &in.MultipartUpload.Parts[i]
		part.ChecksumCRC64NVME = aws.String(encode(u.parts[aws.ToInt32(part.PartNumber)].checksum))
	}
	out, err := u.client.CompleteMultipartUpload(ctx, in, u.options(options, &a)...)
	u.update(func(r *remains) { r.finishing, r.lost, r.err = true, a.unanswered.Load() > 0, err })
	if err != nil {
		// Taken back here, and told by send: the manager would write the error to
		// the standard log as well, in words of its own.
		_, _ = u.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: in.Bucket, Key: in.Key, UploadId: in.UploadId})
		return &s3.CompleteMultipartUploadOutput{}, nil
	}
	if out.ChecksumCRC64NVME == nil {
		out.ChecksumCRC64NVME = aws.String(u.ofParts())
	}
	return out, nil
}

// AbortMultipartUpload takes all parts back, also when ctx has ended. A part that
// was on its way may arrive after it, so it is asked again until S3 knows of no
// such upload.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html
func (u *upload) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput, options ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.grace)
	defer cancel()
	var out *s3.AbortMultipartUploadOutput
	for n := range 3 {
		var err error
		out, err = u.client.AbortMultipartUpload(ctx, in, u.options(options, new(attempts))...)
		if code, _ := answer(err); code == "NoSuchUpload" {
			u.update(func(r *remains) { r.gone = n == 0 })
			return &s3.AbortMultipartUploadOutput{}, nil
		}
		if err != nil {
			u.update(func(r *remains) { r.abortErr = err })
			return nil, err
		}
	}
	return out, nil
}

// outlive returns a context that ends some time after ctx does.
func (u *upload) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(u.grace):
			cancel(context.Cause(ctx))
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel(nil)
	}
}
