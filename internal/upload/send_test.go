package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/upload/uploadtest"
)

const (
	bucket = "artifacts-test"
	key    = "artifacts/sample/artifact.gz"
	part   = 5 << 20 // the smallest that S3 takes
)

var object = Object{
	Bucket: bucket, Key: key, ContentType: "application/gzip", PartBytes: part,
	Metadata: map[string]string{"application-name": "sample", "deploymentgroup-name": "eu,1=a", "upload-id": "4711-90210-0123456789ab"},
}

// content is so many bytes that do not compress.
func content(size int) []byte {
	text := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(text)
	return text
}

// writes returns what writes text in uneven steps.
func writes(text []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		for step := 1; len(text) > 0; step = step*3 + 1 {
			n, err := w.Write(text[:min(step, len(text))])
			if err != nil {
				return err
			}
			text = text[n:]
		}
		return nil
	}
}

// account is one with a bucket.
type account struct {
	*uploadtest.Store
	client *s3.Client
}

func newAccount(t *testing.T, o uploadtest.Options) account {
	t.Helper()
	store := uploadtest.New(o)
	t.Cleanup(store.Server.Close)
	return account{store, s3.New(s3.Options{
		BaseEndpoint: &store.Server.URL, Region: store.Region, UsePathStyle: true, HTTPClient: store.Server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.Backoff = 5, retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
		}),
	})}
}

// nothingLeft: the bucket is as if nothing had been tried.
func (a account) nothingLeft(t *testing.T) {
	t.Helper()
	assert.Empty(t, a.Versions(key), "an object is there")
	assert.Zero(t, a.Unfinished(), "an unfinished upload is there")
	assert.Empty(t, a.Bad())
}

func faults(operation string, f uploadtest.Fault) func(uploadtest.Call) uploadtest.Fault {
	return func(c uploadtest.Call) uploadtest.Fault {
		if c.Operation == operation {
			return f
		}
		return uploadtest.Fault{}
	}
}

// at is a fault of one call alone.
func at(operation string, number int, f uploadtest.Fault) func(uploadtest.Call) uploadtest.Fault {
	return func(c uploadtest.Call) uploadtest.Fault {
		if c.Operation == operation && c.Number == number {
			return f
		}
		return uploadtest.Fault{}
	}
}

func TestS13_WhatFitsIntoOnePartIsSentWhole(t *testing.T) {
	keep := t.TempDir()
	a := newAccount(t, uploadtest.Options{Keep: keep})
	for _, size := range []int{0, 1, part - 1} {
		text := content(size)
		sent, err := Send(t.Context(), a.client, object, int64(size), writes(text))
		require.NoError(t, err)
		versions := a.Versions(key)
		got := versions[len(versions)-1]
		digest := sha256.Sum256(text)
		assert.Equal(t, Sent{
			VersionID: got.VersionID, Bytes: int64(size), ETag: got.ETag, Checksum: got.CRC64NVME, SHA256: hex.EncodeToString(digest[:]), Parts: 1,
		}, sent)
		assert.NotEmpty(t, got.CRC64NVME)
		assert.Equal(t, object.Metadata, got.Metadata)
		assert.Equal(t, "application/gzip", got.ContentType)
		stored, err := os.ReadFile(filepath.Join(keep, key))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(text, stored), "%d bytes", size)
	}
	assert.Equal(t, []string{"PutObject", "PutObject", "PutObject"}, a.Calls())
	assert.Empty(t, a.Bad())
}

func TestS13_AboveOnePartItIsAMultipartUploadWholeAndWithItsMetadata(t *testing.T) {
	for size, parts := range map[int]int{part: 1, part + 1: 2, 4*part + 12345: 5} {
		keep := t.TempDir()
		a := newAccount(t, uploadtest.Options{Keep: keep})
		text := content(size)
		sent, err := Send(t.Context(), a.client, object, int64(size), writes(text))
		require.NoError(t, err)
		got := a.Versions(key)[0]
		digest := sha256.Sum256(text)
		assert.Equal(t, Sent{
			VersionID: got.VersionID, Bytes: int64(size), ETag: got.ETag, Checksum: got.CRC64NVME, SHA256: hex.EncodeToString(digest[:]), Parts: parts,
		}, sent)
		assert.Equal(t, parts, got.Parts)
		assert.True(t, strings.HasSuffix(sent.ETag, fmt.Sprintf("-%d", parts)), sent.ETag)
		assert.Equal(t, object.Metadata, got.Metadata)
		assert.Equal(t, "application/gzip", got.ContentType)
		stored, err := os.ReadFile(filepath.Join(keep, key))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(text, stored), "%d bytes", size)
		assert.Zero(t, a.Unfinished())
		assert.Empty(t, a.Bad())
	}
}

func TestS13_CountTellsWhatSendWould(t *testing.T) {
	a := newAccount(t, uploadtest.Options{})
	text := content(2*part + 1)
	sent, err := Send(t.Context(), a.client, object, int64(len(text)), writes(text))
	require.NoError(t, err)
	counted, err := Count(object, int64(len(text)), writes(text))
	require.NoError(t, err)
	sent.VersionID, sent.ETag = "", ""
	assert.Equal(t, sent, counted)
	_, err = Count(object, 0, func(io.Writer) error { return errEnough })
	assert.ErrorIs(t, err, errEnough)
}

func TestS13_PartsGrowWhenTenThousandWouldNotDo(t *testing.T) {
	for expected, want := range map[int64]int64{
		0: partBytes, 500e6: partBytes, 9_000 * partBytes: partBytes + 1, 1e12: 111_111_112, MaxBytes: 555_555_556,
	} {
		size, err := PartSize(expected)
		require.NoError(t, err)
		assert.Equal(t, want, size, "%d bytes", expected)
		assert.LessOrEqual(t, expected, size*maxParts)
	}
	_, err := PartSize(MaxBytes + 1)
	assert.ErrorIs(t, err, ErrTooLarge)
	assert.EqualError(t, err, "too large: the folder has 5000000000001 bytes of content, and one object of S3 at most 5 TB (5000000000000)")

	a := newAccount(t, uploadtest.Options{})
	_, err = Send(t.Context(), a.client, object, MaxBytes+1, writes(nil))
	assert.ErrorIs(t, err, ErrTooLarge)
	assert.Empty(t, a.Calls())

	// However large the parts are, what is in memory of them hardly grows.
	for _, size := range []int64{partBytes, 2 * partBytes, 10 * partBytes} {
		assert.LessOrEqual(t, int64(concurrency(size)+1)*size, max(maxBuffered, 3*size), "parts of %d", size)
		assert.GreaterOrEqual(t, concurrency(size), 2)
	}
}

func TestS13_APartThatS3StoredDifferentlyFailsAndTheUploadIsTakenBack(t *testing.T) {
	for name, fault := range map[string]uploadtest.Fault{"another": {Lie: true}, "none": {Silent: true}} {
		a := newAccount(t, uploadtest.Options{Faults: at("UploadPart", 2, fault)})
		_, err := Send(t.Context(), a.client, object, 0, writes(content(3*part)))
		assert.ErrorIs(t, err, ErrWrongContent, name)
		assert.Regexp(t, `^S3 did not store part \d as it was sent: got CRC64NVME \S+; want \S+; the unfinished upload is taken back$`, err.Error())
		assert.NotContains(t, a.Calls(), "CompleteMultipartUpload")
		a.nothingLeft(t)
	}
}

func TestS13_AnObjectThatS3PutTogetherDifferentlyFails(t *testing.T) {
	for _, operation := range []string{"PutObject", "CompleteMultipartUpload"} {
		for name, fault := range map[string]uploadtest.Fault{"another": {Lie: true}, "none": {Silent: true}} {
			a := newAccount(t, uploadtest.Options{Faults: faults(operation, fault)})
			size := map[string]int{"PutObject": 100, "CompleteMultipartUpload": 2 * part}[operation]
			_, err := Send(t.Context(), a.client, object, 0, writes(content(size)))
			if operation == "CompleteMultipartUpload" && name == "none" {
				require.NoError(t, err, "what S3 has said of each part adds up")
				continue
			}
			require.ErrorIs(t, err, ErrWrongContent, "%s %s", operation, name)
			version := a.Versions(key)[0].VersionID
			assert.Regexp(t, `^S3 did not store s3://artifacts-test/artifacts/sample/artifact.gz as it was sent: got CRC64NVME \S+ in version `+
				version+`; want \S+; do not deploy it, and upload again$`, err.Error())
		}
	}
}

// A buffer that is damaged between packing and sending: each part's checksum is
// that of the damaged one, and only the whole's tells. S3 does not make the object.
func TestS13_ABufferThatIsDamagedIsNoticedByS3BeforeTheObjectIsThere(t *testing.T) {
	a := newAccount(t, uploadtest.Options{})
	damaged := &damagingClient{Client: a.client}
	_, err := Send(t.Context(), damaged, object, 0, writes(content(3*part)))
	require.Error(t, err)
	assert.ErrorContains(t, err, "the data was damaged on its way: upload again")
	assert.ErrorContains(t, err, "(BadDigest)")
	assert.ErrorContains(t, err, "; the unfinished upload is taken back")
	assert.Empty(t, a.Versions(key))
	assert.Zero(t, a.Unfinished())
}

func TestS13_WhatS3SaysOfPartsIsAddedUpWhereItSaysNothingOfTheWhole(t *testing.T) {
	text := content(3*part + 100)
	sums := newSums(io.Discard)
	_, _ = sums.Write(text)
	u := &upload{client: answersParts{}, parts: map[int32]told{}, failed: func(error) {}}
	for _, number := range []int32{3, 1, 4, 2} {
		body := bytes.NewReader(text[(number-1)*part : min(len(text), int(number)*part)])
		_, err := u.UploadPart(t.Context(), &s3.UploadPartInput{PartNumber: &number, Body: body})
		require.NoError(t, err)
	}
	assert.Equal(t, sums.checksum(), u.ofParts())
	u.parts[2] = told{u.parts[2].checksum ^ 1, part}
	assert.NotEqual(t, sums.checksum(), u.ofParts())
}

// answersParts says of a part what was said of it.
type answersParts struct{ Client }

func (answersParts) UploadPart(_ context.Context, in *s3.UploadPartInput, _ ...func(*s3.Options)) (*s3.UploadPartOutput, error) {
	return &s3.UploadPartOutput{ChecksumCRC64NVME: in.ChecksumCRC64NVME}, nil
}

// damagingClient turns one bit of the second part round, and tells its checksum.
type damagingClient struct{ Client }

func (d *damagingClient) UploadPart(ctx context.Context, in *s3.UploadPartInput, o ...func(*s3.Options)) (*s3.UploadPartOutput, error) {
	wanted := in.ChecksumCRC64NVME
	if aws.ToInt32(in.PartNumber) == 2 {
		text, err := io.ReadAll(in.Body)
		if err != nil {
			return nil, err
		}
		text[1000] ^= 1
		in.Body = bytes.NewReader(text)
		sum, _, err := checksumOf(in.Body)
		if err != nil {
			return nil, err
		}
		in.ChecksumCRC64NVME = aws.String(encode(sum))
	}
	out, err := d.Client.UploadPart(ctx, in, o...)
	if err == nil {
		out.ChecksumCRC64NVME = wanted // as if memory had gone bad before it was summed up
	}
	return out, err
}

func (d *damagingClient) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput, o ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error) {
	for i := range in.MultipartUpload.Parts {
		in.MultipartUpload.Parts[i].ChecksumCRC64NVME = nil
	}
	return d.Client.CompleteMultipartUpload(ctx, in, o...)
}

func TestS13_EachFailingStepOfAMultipartUploadTakesItBack(t *testing.T) {
	for _, operation := range []string{"UploadPart", "CompleteMultipartUpload"} {
		a := newAccount(t, uploadtest.Options{Faults: faults(operation, uploadtest.Fault{Status: 403, Code: "AccessDenied"})})
		_, err := Send(t.Context(), a.client, object, 0, writes(content(3*part)))
		assert.ErrorContains(t, err, "; the unfinished upload is taken back", operation)
		assert.Contains(t, a.Calls(), "AbortMultipartUpload")
		a.nothingLeft(t)
	}
	a := newAccount(t, uploadtest.Options{Faults: faults("CreateMultipartUpload", uploadtest.Fault{Status: 403, Code: "AccessDenied"})})
	_, err := Send(t.Context(), a.client, object, 0, writes(content(3*part)))
	assert.ErrorContains(t, err, "S3 refused s3://artifacts-test/artifacts/sample/artifact.gz; ")
	assert.NotContains(t, err.Error(), "taken back")
	assert.Equal(t, []string{"CreateMultipartUpload"}, a.Calls())
}

func TestS13_AnUploadThatCannotBeTakenBackIsTold(t *testing.T) {
	a := newAccount(t, uploadtest.Options{Faults: func(c uploadtest.Call) uploadtest.Fault {
		if c.Operation == "UploadPart" || c.Operation == "AbortMultipartUpload" {
			return uploadtest.Fault{Status: 403, Code: "AccessDenied"}
		}
		return uploadtest.Fault{}
	}})
	_, err := Send(t.Context(), a.client, object, 0, writes(content(3*part)))
	assert.ErrorContains(t, err, "; the unfinished upload could not be taken back; the bucket's lifecycle rule will do it (AbortMultipartUpload: (AccessDenied)")
}

func TestS13_WhatS3SaysIsToldWithWhatToDo(t *testing.T) {
	for _, c := range []struct {
		code, hint string
		status     int
	}{
		{"AccessDenied", "the bucket takes uploads only under its prefix, through account A's S3 endpoint and from the role of the GitLab runner's host", 403},
		{"NoSuchBucket", "there is no such bucket: check ARTIFACT_BUCKET", 404},
		{"PermanentRedirect", "the bucket is in another Region", 301},
		{"AuthorizationHeaderMalformed", "the bucket is in another Region", 400},
		{"ExpiredToken", "the job has no valid AWS credentials", 400},
		{"InvalidAccessKeyId", "the job has no valid AWS credentials", 403},
		{"XAmzContentChecksumMismatch", "the data was damaged on its way", 400},
		{"SlowDown", "the upload did not happen", 503},
		{"InternalError", "the upload did not happen", 500},
	} {
		for operation, size := range map[string]int{"PutObject": 10, "CreateMultipartUpload": 2 * part, "UploadPart": 2 * part} {
			a := newAccount(t, uploadtest.Options{Faults: faults(operation, uploadtest.Fault{Status: c.status, Code: c.code})})
			_, err := Send(t.Context(), a.client, object, 0, writes(content(size)))
			require.Error(t, err, c.code)
			assert.True(t, strings.HasPrefix(err.Error(), "S3 refused s3://artifacts-test/artifacts/sample/artifact.gz; "+c.hint), err.Error())
			assert.Contains(t, err.Error(), "(aws said: "+operation+": ("+c.code+") as the test wants it, HTTP status ")
			assert.Equal(t, 1, strings.Count(err.Error(), "S3 refused"))
			a.nothingLeft(t)
		}
	}
}

func TestS13_AnS3ThatIsBusyIsAskedAgain(t *testing.T) {
	for _, fault := range []uploadtest.Fault{{Status: 500, Code: "InternalError"}, {Status: 503, Code: "SlowDown"}, {Before: true}} {
		var refused atomic.Int32
		a := newAccount(t, uploadtest.Options{Faults: func(c uploadtest.Call) uploadtest.Fault {
			if c.Number%2 == 1 && refused.Add(1) < 8 { // the first of everything
				return fault
			}
			return uploadtest.Fault{}
		}})
		text := content(3*part + 1)
		sent, err := Send(t.Context(), a.client, object, 0, writes(text))
		require.NoError(t, err, "%+v", fault)
		assert.EqualValues(t, len(text), sent.Bytes)
		assert.Len(t, a.Versions(key), 1)
		assert.Empty(t, a.Bad())
	}
}

func TestS13_AnS3ThatResetsForeverIsGivenUp(t *testing.T) {
	a := newAccount(t, uploadtest.Options{Faults: faults("UploadPart", uploadtest.Fault{Before: true})})
	_, err := Send(t.Context(), a.client, object, 0, writes(content(3*part)))
	assert.ErrorContains(t, err, "S3 was not reached: check the runner's route to it")
	a.nothingLeft(t)
}

// The answer to the last request is lost, and S3 has let go of the upload.
func TestS13_ALostAnswerToTheLastRequestIsNoFailureThatIsTakenBack(t *testing.T) {
	for operation, size := range map[string]int{"PutObject": 10, "CompleteMultipartUpload": 2 * part} {
		a := newAccount(t, uploadtest.Options{Faults: faults(operation, uploadtest.Fault{After: true})})
		_, err := Send(t.Context(), a.client, object, 0, writes(content(size)))
		assert.ErrorIs(t, err, ErrAnswerLost, operation)
		assert.ErrorContains(t, err, "; the object may be there, and may be deployed: look at its deployment before you run this again")
		assert.NotContains(t, err.Error(), "taken back")
		assert.NotEmpty(t, a.Versions(key))
		assert.Zero(t, a.Unfinished())
	}
	// A body that did not arrive whole is no object.
	a := newAccount(t, uploadtest.Options{Faults: faults("PutObject", uploadtest.Fault{Before: true})})
	whole := object
	whole.PartBytes = 40e6 // more than the kernel takes by itself
	_, err := Send(t.Context(), a.client, whole, 0, writes(content(39e6)))
	assert.NotErrorIs(t, err, ErrAnswerLost)
	a.nothingLeft(t)

	// Where it was lost on the way there, nothing is.
	a = newAccount(t, uploadtest.Options{Faults: faults("CompleteMultipartUpload", uploadtest.Fault{Before: true})})
	_, err = Send(t.Context(), a.client, object, 0, writes(content(2*part)))
	assert.NotErrorIs(t, err, ErrAnswerLost)
	assert.ErrorContains(t, err, "; the unfinished upload is taken back")
	a.nothingLeft(t)
}

var errEnough = errors.New("enough")

func TestS13_PackingThatFailsUploadsNothing(t *testing.T) {
	for _, size := range []int{0, 10, 3*part + 10} {
		a := newAccount(t, uploadtest.Options{})
		_, err := Send(t.Context(), a.client, object, 0, func(w io.Writer) error {
			return errors.Join(writes(content(size))(w), fmt.Errorf(`"a" changed while it was packed: %w`, errEnough))
		})
		assert.ErrorIs(t, err, errEnough)
		assert.True(t, strings.HasPrefix(err.Error(), `"a" changed while it was packed`), err.Error())
		a.nothingLeft(t)
	}
}

func TestS13_CancellingAtAnyMomentLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("each", func(t *testing.T) {
		for _, c := range []uploadtest.Call{
			{Operation: "CreateMultipartUpload", Number: 1}, {Operation: "UploadPart", Number: 1}, {Operation: "UploadPart", Number: 4},
			{Operation: "CompleteMultipartUpload", Number: 1}, {Operation: "PutObject", Number: 1},
		} {
			for name, fault := range map[string]uploadtest.Fault{"before": {}, "hanging": {Hang: true}, "reset": {Before: true}} {
				ctx, cancel := context.WithCancelCause(t.Context())
				fault.Do = func() { cancel(errEnough) }
				if c.Operation == "CreateMultipartUpload" && fault.Hang {
					continue // its answer is waited for: see below
				}
				a := newAccount(t, uploadtest.Options{Faults: at(c.Operation, c.Number, fault)})
				size := 6 * part
				if c.Operation == "PutObject" {
					size = 10
				}
				began := time.Now()
				_, err := Send(ctx, a.client, object, 0, writes(content(size)))
				assert.Less(t, time.Since(began), 8*time.Second, "%v %s", c, name)
				assert.Zero(t, a.Unfinished(), "%v %s", c, name)
				if err == nil { // It was too late.
					assert.Len(t, a.Versions(key), 1)
					continue
				}
				assert.ErrorIs(t, err, errEnough, "%v %s", c, name)
				if len(a.Versions(key)) > 0 {
					assert.ErrorIs(t, err, ErrAnswerLost, "%v %s", c, name)
				}
				a.Server.Close()
				a.client.Options().HTTPClient.(*http.Client).CloseIdleConnections()
			}
		}
	})
	t.Run("while packing", func(t *testing.T) {
		for _, size := range []int{0, 10, 3 * part} {
			a := newAccount(t, uploadtest.Options{})
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err := Send(ctx, a.client, object, 0, func(w io.Writer) error {
				if err := writes(content(size))(w); err != nil {
					return err
				}
				cancel(errEnough)
				_, err := w.Write(content(1 << 20)) // gets the reason in time
				for err == nil {
					_, err = w.Write(content(1 << 20))
				}
				return err
			})
			assert.ErrorIs(t, err, errEnough)
			assert.ErrorContains(t, err, "the upload of s3://artifacts-test/artifacts/sample/artifact.gz was interrupted: enough")
			a.nothingLeft(t)
		}
	})
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, want about %d:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// Without the answer nobody knows the id, so it is waited for, but not for ever.
func TestS13_CancellingWhileAnUploadBeginsWaitsForItsID(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	a := newAccount(t, uploadtest.Options{Faults: at("CreateMultipartUpload", 1, uploadtest.Fault{Hang: true, Do: func() { cancel(errEnough) }})})
	began := time.Now()
	_, err := sender{client: a.client, grace: 300 * time.Millisecond}.send(ctx, object, 0, writes(content(3*part)))
	assert.ErrorIs(t, err, errEnough)
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)
}

func TestS13_AConnectionOnWhichNothingMovesIsGivenUpAndTriedAgain(t *testing.T) {
	for _, operation := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
		a := newAccount(t, uploadtest.Options{Faults: at(operation, 1, uploadtest.Fault{Hang: true})})
		_, err := sender{client: a.client, patience: 200 * time.Millisecond}.send(t.Context(), object, 0, writes(content(3*part)))
		require.NoError(t, err, operation)
		assert.Len(t, a.Versions(key), 1)
		assert.Empty(t, a.Bad())
	}
	a := newAccount(t, uploadtest.Options{Faults: faults("UploadPart", uploadtest.Fault{Hang: true})})
	_, err := sender{client: a.client, patience: 50 * time.Millisecond}.send(t.Context(), object, 0, writes(content(3*part)))
	assert.ErrorContains(t, err, "nothing has moved on the connection to S3 for 50ms")
	a.nothingLeft(t)
}

func TestS13_ASlowConnectionIsLetBe(t *testing.T) {
	// The kernel holds some MB back, and nothing seems to move while it sends them.
	a := newAccount(t, uploadtest.Options{Faults: faults("UploadPart", uploadtest.Fault{Rate: 20e6})})
	large := object
	large.PartBytes = 40e6
	began := time.Now()
	_, err := sender{client: a.client, patience: 1200 * time.Millisecond}.send(t.Context(), large, 0, writes(content(40e6)))
	require.NoError(t, err)
	assert.Greater(t, time.Since(began), 1500*time.Millisecond)
	assert.Equal(t, 1, countOf(a.Calls(), "UploadPart"))
}

func countOf(calls []string, operation string) (count int) {
	for _, call := range calls {
		if call == operation {
			count++
		}
	}
	return count
}

func TestS13_AttemptsAreThoseOfTheEnvironmentElseFive(t *testing.T) {
	for given, want := range map[int]int{0: 5, 2: 2} {
		a := newAccount(t, uploadtest.Options{Faults: faults("PutObject", uploadtest.Fault{Status: 503, Code: "SlowDown"})})
		options := a.client.Options()
		options.RetryMaxAttempts = given
		options.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = max(given, 3)
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
		})
		_, err := Send(t.Context(), s3.New(options), object, 0, writes(content(10)))
		require.Error(t, err)
		assert.Len(t, a.Calls(), want)
	}
}

func TestS13_AJobWithoutCredentialsIsToldWhereTheyComeFrom(t *testing.T) {
	a := newAccount(t, uploadtest.Options{})
	options := a.client.Options()
	options.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("failed to refresh cached credentials, no EC2 IMDS role found")
	})
	_, err := Send(t.Context(), s3.New(options), object, 0, writes(content(10)))
	assert.ErrorContains(t, err, "on the GitLab runner's host it gets them from the role of jobs")
	assert.Empty(t, a.Calls())
}

func TestS13_AnS3ThatIsNotReachedSaysSo(t *testing.T) {
	a := newAccount(t, uploadtest.Options{})
	a.Server.Close()
	_, err := Send(t.Context(), a.client, object, 0, writes(content(10)))
	assert.ErrorContains(t, err, "S3 was not reached: check the runner's route to it")
	assert.NotErrorIs(t, err, ErrAnswerLost, "nothing was asked")
}

func TestRemoteTextIsHarmlessAndKeepsItsScript(t *testing.T) {
	for text, want := range map[string]string{
		"拒否されました\n次の行":                     "拒否されました 次の行",
		"\x1b[31mred\x1b[0m\a":             "[31mred [0m",
		"a\u202eb\u2028c\u009b1mD\xff":     "a b c 1mD\uFFFD",
		"  spaces\t and \r\n more \x00  .": "spaces and more .",
	} {
		assert.Equal(t, want, printable(text))
	}
}

// The transfer manager writes to the standard log, which is a job's stderr.
func TestS13_NothingIsLoggedBesidesTheError(t *testing.T) {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	a := newAccount(t, uploadtest.Options{Faults: faults("CompleteMultipartUpload", uploadtest.Fault{Status: 403, Code: "AccessDenied"})})
	_, err := Send(t.Context(), a.client, object, 0, writes(content(2*part)))
	require.Error(t, err)
	assert.Empty(t, logged.String())
}

func TestS13_RightsThatAnUploadNeedsAreTheRunnersOwn(t *testing.T) {
	a := newAccount(t, uploadtest.Options{})
	_, err := Send(t.Context(), a.client, object, 0, writes(content(2*part)))
	require.NoError(t, err)
	calls := slices.Compact(slices.Sorted(slices.Values(a.Calls())))
	// All of them are s3:PutObject; taking back is s3:AbortMultipartUpload.
	assert.Equal(t, []string{"CompleteMultipartUpload", "CreateMultipartUpload", "UploadPart"}, calls)
}
