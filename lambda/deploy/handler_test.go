package deploy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestS14_OneUploadBecomesOneDeploymentOfItsExactVersion(t *testing.T) {
	w := &world{}
	failed := handle(t, t.Context(), w.handler(), batchOf(body(s3Record(testBucket, testKey, "v1"))))

	assert.Empty(t, failed)
	require.Len(t, w.heads, 1)
	assert.Nil(t, w.heads[0].VersionId, "the current version is asked for, which v1 still is")
	require.Len(t, w.creates, 1)
	assert.Equal(t, &codedeploy.CreateDeploymentInput{
		ApplicationName:     aws.String("web"),
		DeploymentGroupName: aws.String("web-blue-green"),
		Description:         aws.String("upload-id=artifact uploaded=2026-11-23T01:02:03.004Z"),
		Revision: &types.RevisionLocation{
			RevisionType: types.RevisionLocationTypeS3,
			S3Location: &types.S3Location{
				Bucket:     aws.String(testBucket),
				Key:        aws.String(testKey),
				Version:    aws.String("v1"),
				ETag:       aws.String("9a0364b9e99bb480dd25e1f0284c8555"),
				BundleType: types.BundleTypeTarGZip,
			},
		},
	}, w.creates[0])
}

func TestS14_OneLogLinePerRecordNamesTheUpload(t *testing.T) {
	w := &world{}
	handle(t, t.Context(), w.handler(), batchOf(body(s3Record(testBucket, testKey, "v1"))))

	lines := w.logged(t)
	require.Len(t, lines, 1)
	delete(lines[0], "time")
	assert.Equal(t, map[string]any{
		"level":           "INFO",
		"msg":             "deployment created",
		"messageId":       "m1",
		"uploadId":        "artifact",
		"application":     "web",
		"deploymentGroup": "web-blue-green",
		"key":             testKey,
		"versionId":       "v1",
		"deploymentId":    "d-TEST00001",
	}, lines[0])
}

func TestS14_MessagesThatAreNoArtifactOfOursAreDoneWithAReason(t *testing.T) {
	good := s3Record(testBucket, testKey, "v1")
	for name, tt := range map[string]struct{ body, message, reason string }{
		"test event":           {`{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-23T01:02:03.004Z","Bucket":"example-deploy-test"}`, "ignored", "test event"},
		"not JSON":             {"hello", "rejected", "no S3 event: invalid character"},
		"empty body":           {"", "rejected", "no S3 event"},
		"JSON of another kind": {`["Records"]`, "rejected", "no S3 event: json: cannot unmarshal array"},
		"no records":           {`{"Records":[]}`, "rejected", "it has no Records"},
		"another sender":       {`{"source":"aws.codedeploy","detail":{}}`, "rejected", "it has no Records"},
		"record of no object":  {body("null"), "ignored", `event "" creates no object`},
		"record of odd type":   {body(`"text"`), "rejected", "no S3 event record"},
		"odd type inside":      {body(`{"eventName":"ObjectCreated:Put","s3":{"object":{"key":7}}}`), "rejected", "no S3 event record"},
		"a deletion":           {body(strings.Replace(good, "ObjectCreated:Put", "ObjectRemoved:Delete", 1)), "ignored", `"ObjectRemoved:Delete" creates no object`},
		"another bucket":       {body(s3Record("somebody-elses", testKey, "v1")), "ignored", `"somebody-elses" is not the artifact bucket`},
		"outside the prefix":   {body(s3Record(testBucket, "deployments/x.json", "v1")), "ignored", "outside artifacts/"},
		"prefix of a name":     {body(s3Record(testBucket, "artifacts-old/x.zip", "v1")), "ignored", "outside artifacts/"},
		"a folder":             {body(s3Record(testBucket, "artifacts/web/", "v1")), "ignored", "folder"},
		"undecodable key":      {body(s3Record(testBucket, "artifacts/%zz.zip", "v1")), "rejected", "cannot be decoded"},
		"key not UTF-8":        {body(s3Record(testBucket, "artifacts/%ff.zip", "v1")), "rejected", "not UTF-8"},
		"no key":               {body(s3Record(testBucket, "", "v1")), "rejected", "no key"},
		"key too long":         {body(s3Record(testBucket, testPrefix+strings.Repeat("k", 2000), "v1")), "rejected", "the key has 2010 bytes, want at most 1024"},
		"version too long":     {body(s3Record(testBucket, testKey, strings.Repeat("v", 2000))), "rejected", "the version id has 2000 bytes"},
		"body too long":        {strings.Repeat(" ", maxBody+1), "rejected", "more than SQS carries"},
		"too many records":     {body(strings.Split(strings.Repeat("{},", maxRecords)+"{}", ",")...), "rejected", "has 1001 records"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			assert.Empty(t, handle(t, t.Context(), w.handler(), batchOf(tt.body)))
			assert.Empty(t, w.heads, "nothing may be asked of AWS")
			lines := w.logged(t)
			require.Len(t, lines, 1)
			assert.Equal(t, tt.message, lines[0]["msg"])
			assert.Contains(t, lines[0]["reason"], tt.reason)
			assert.Less(t, w.log.Len(), 3000, "what is logged is bounded")
		})
	}
}

func TestS14_OneUndecodableKeyDoesNotTakeTheOthersOfItsMessageWithIt(t *testing.T) {
	w := &world{}
	failed := handle(t, t.Context(), w.handler(), batchOf(body(
		s3Record(testBucket, "artifacts/%zz.zip", "v1"),
		s3Record(testBucket, "artifacts/web/my+app/a%2Bb.zip", "v1"),
	)))
	assert.Empty(t, failed)
	require.Len(t, w.creates, 1)
	assert.Equal(t, "artifacts/web/my app/a+b.zip", aws.ToString(w.creates[0].Revision.S3Location.Key))
}

func TestS14_OnlyTransientFaultsGoBackToTheQueue(t *testing.T) {
	w := &world{}
	w.create = func(_ context.Context, in *codedeploy.CreateDeploymentInput) (*codedeploy.CreateDeploymentOutput, error) {
		switch aws.ToString(in.Revision.S3Location.Key) {
		case "artifacts/busy.gz":
			return nil, &types.DeploymentLimitExceededException{}
		case "artifacts/bad.gz":
			return nil, &types.InvalidRevisionException{}
		}
		return &codedeploy.CreateDeploymentOutput{DeploymentId: aws.String("d-1")}, nil
	}
	failed := handle(t, t.Context(), w.handler(), batchOf(
		body(s3Record(testBucket, "artifacts/1.gz", "v1")),
		body(s3Record(testBucket, "artifacts/busy.gz", "v1")),
		body(s3Record(testBucket, "artifacts/bad.gz", "v1")),
		body(s3Record(testBucket, "artifacts/busy.gz", "v1"), s3Record(testBucket, "artifacts/5.gz", "v1")),
		body(s3Record(testBucket, "artifacts/6.gz", "v1")),
	))
	assert.Equal(t, []string{"m2", "m4"}, failed)
	assert.Len(t, w.creates, 6, "a failed record holds back no other one")
}

func TestS14_APanicCostsOneMessageARetry(t *testing.T) {
	w := &world{}
	w.head = func(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		if aws.ToString(in.Key) == "artifacts/1.gz" {
			panic("index out of range")
		}
		return headOf(goodMetadata(aws.ToString(in.Key))), nil
	}
	failed := handle(t, t.Context(), w.handler(), batchOf(
		body(s3Record(testBucket, "artifacts/1.gz", "v1")),
		body(s3Record(testBucket, "artifacts/2.gz", "v1")),
	))
	assert.Equal(t, []string{"m1"}, failed)
	assert.Len(t, w.creates, 1)

	lines := w.logged(t)
	require.Len(t, lines, 3)
	assert.Contains(t, lines[0]["stack"], "handler_test.go", "the stack leads to the place of the panic")
	assert.Equal(t, "panic: index out of range", lines[1]["err"])
	assert.Equal(t, "v1", lines[1]["versionId"], "what was known before the panic is logged")
}

func TestS14_ASlowCallLosesNoWorkOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.head = func(ctx context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
			if aws.ToString(in.Key) == "artifacts/slow.gz" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return headOf(goodMetadata(aws.ToString(in.Key))), nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		failed := handle(t, ctx, w.handler(), batchOf(
			body(s3Record(testBucket, "artifacts/slow.gz", "v1")), // 0 s … 10 s
			body(s3Record(testBucket, "artifacts/2.gz", "v1")),
			body(s3Record(testBucket, "artifacts/slow.gz", "v1")), // … 20 s
			body(s3Record(testBucket, "artifacts/slow.gz", "v1")), // … 29 s: cut to leave time for the answer
			body(s3Record(testBucket, "artifacts/5.gz", "v1")),    // no longer begun
			body(s3Record(testBucket, "artifacts/6.gz", "v1")),
		))
		assert.Equal(t, []string{"m1", "m3", "m4", "m5", "m6"}, failed)
		assert.Len(t, w.creates, 1)
		deadline, _ := ctx.Deadline()
		assert.Equal(t, time.Second, time.Until(deadline), "the answer still gets out")

		last := w.logged(t)[len(w.logged(t))-1]
		assert.Equal(t, "out of time, the rest of the batch is retried", last["msg"])
		assert.EqualValues(t, 2, last["messages"])
	})
}

func TestS14_AMessageOfManyRecordsIsGivenBackWhenTimeRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.head = func(_ context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
			time.Sleep(4 * time.Second)
			return headOf(goodMetadata(aws.ToString(in.Key))), nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		failed := handle(t, ctx, w.handler(), batchOf(body(
			s3Record(testBucket, "artifacts/1.gz", "v1"),
			s3Record(testBucket, "artifacts/2.gz", "v1"),
			s3Record(testBucket, "artifacts/3.gz", "v1"),
		)))
		assert.Equal(t, []string{"m1"}, failed)
		assert.Len(t, w.creates, 2)
	})
}

func TestS14_AFunctionWithLittleTimeStillTriesOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		record := body(s3Record(testBucket, testKey, "v1"))
		assert.Equal(t, []string{"m2"}, handle(t, ctx, w.handler(), batchOf(record, record)))
		assert.Len(t, w.creates, 1)
	})
}

func TestS14_LogValuesFromOutsideAreBounded(t *testing.T) {
	w := &world{}
	long := strings.Repeat("é\xff\n", 200_000)
	w.head = func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		metadata := goodMetadata(testKey)
		metadata["application-name"] = long
		return headOf(metadata), nil
	}
	batch := batchOf(body(s3Record(testBucket, testKey, "v1")))
	batch.Records[0].MessageId = long
	assert.Empty(t, handle(t, t.Context(), w.handler(), batch))
	lines := w.logged(t)
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0]["reason"], "not on the list")
	assert.Less(t, w.log.Len(), 8000)

	w = &world{}
	w.head = func(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
		return nil, errors.New(long)
	}
	assert.Equal(t, []string{"m1"}, handle(t, t.Context(), w.handler(), batchOf(body(s3Record(testBucket, testKey, "v1")))))
	assert.Less(t, w.log.Len(), 8000)
}
