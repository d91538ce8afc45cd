package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// ErrAnswerLost is wrapped where the object may be there after all: S3 has got
// everything, and its last answer has not come.
var ErrAnswerLost = errors.New("S3's answer did not arrive")

// errUnread is what a stream gets whose upload has ended.
var errUnread = errors.New("the upload has ended")

// ErrWrongContent is wrapped where S3 says that it has something else than what
// was sent.
var ErrWrongContent = errors.New("not stored as it was sent")

// Error tells why an upload has failed, and what is left of it.
type Error struct {
	Object Object
	Err    error  // why
	Left   string // what is left, in words; "" is nothing that was ever there
}

func (e *Error) Error() string {
	if e.Left == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + "; " + e.Left
}

func (e *Error) Unwrap() error { return e.Err }

// why an upload failed. What went wrong first is the reason: the stream's own
// error shows in S3's as well, and the end of ctx in both.
func (u *upload) why(ctx context.Context, err, writeErr error) error {
	state := u.remains()
	e := &Error{Object: u.object}
	switch {
	case errors.Is(state.err, ErrWrongContent):
		e.Err = state.err
	case ctx.Err() != nil:
		e.Err = fmt.Errorf("the upload of %s was interrupted: %w", u.object, context.Cause(ctx))
	case writeErr != nil && !errors.Is(writeErr, errUnread):
		e.Err = writeErr
	default:
		e.Err = refused(u.object, cmp.Or(state.err, err))
	}
	switch {
	case state.began && state.abortErr != nil:
		e.Left = "the unfinished upload could not be taken back; the bucket's lifecycle rule will do it (" + said(state.abortErr) + ")"
	case state.finishing && (state.gone || !state.began && state.lost):
		e.Err = fmt.Errorf("%w (%w)", e.Err, ErrAnswerLost)
		e.Left = "the object may be there, and may be deployed: look at its deployment before you run this again"
	case state.began:
		e.Left = "the unfinished upload is taken back"
	}
	return e
}

// lied is about an object that is there and is another one.
func (u *upload) lied(got string, want Sent) error {
	version := want.VersionID
	if version == "" {
		version = "none"
	}
	return &Error{Object: u.object, Err: wrongContent(fmt.Sprintf("S3 did not store %s as it was sent: got CRC64NVME %s in version %s; want %s",
		u.object, orNone(got), version, want.Checksum)), Left: "do not deploy it, and upload again"}
}

// wrongContent is an ErrWrongContent with more words.
type wrongContent string

func (e wrongContent) Error() string        { return string(e) }
func (e wrongContent) Is(target error) bool { return target == ErrWrongContent }

// hints tell what an answer of S3's means here, by its code or its status.
var hints = []struct{ codes, hint string }{
	{"AccessDenied 403", "the bucket takes uploads only under its prefix, through account A's S3 endpoint and from the role of the GitLab runner's host: does this job run there, and is the bucket's name right?"},
	{"NoSuchBucket 404", "there is no such bucket: check ARTIFACT_BUCKET"},
	{"PermanentRedirect 301 AuthorizationHeaderMalformed IllegalLocationConstraintException", "the bucket is in another Region: check AWS_DEFAULT_REGION"},
	{"ExpiredToken InvalidAccessKeyId InvalidToken SignatureDoesNotMatch", noCredentials},
	{"BadDigest InvalidDigest XAmzContentChecksumMismatch", "the data was damaged on its way: upload again"},
	{"RequestTimeTooSkewed", "the clock of this machine is wrong"},
}

const noCredentials = "the job has no valid AWS credentials: on the GitLab runner's host it gets them from the role of jobs"

// hint is the one for a code, else that for a status.
func hint(code string, status int) string {
	for _, key := range []string{code, strconv.Itoa(status)} {
		for _, h := range hints {
			if slices.Contains(strings.Fields(h.codes), key) {
				return h.hint
			}
		}
	}
	return ""
}

// refused tells what S3 or the way to it said, and what that means here.
func refused(object Object, err error) error {
	code, status := answer(err)
	means, text := hint(code, status), err.Error()
	switch {
	case means != "":
	case status != 0:
		means = "the upload did not happen"
	case strings.Contains(text, "get credentials"), strings.Contains(text, "get identity"):
		means = noCredentials
	case strings.Contains(text, "egion"): // none is set, or one that cannot be
		means = hint("PermanentRedirect", 0)
	default:
		means = "S3 was not reached: check the runner's route to it"
	}
	return &refusedError{fmt.Sprintf("S3 refused %s; %s (aws said: %s)", object, means, said(err)), err}
}

type refusedError struct {
	text string
	err  error
}

func (e *refusedError) Error() string { return e.text }
func (e *refusedError) Unwrap() error { return e.err }

// answer is S3's error code and HTTP status, "" and 0 where it did not answer.
func answer(err error) (code string, status int) {
	if apiError := smithy.APIError(nil); errors.As(err, &apiError) {
		code = apiError.ErrorCode()
	}
	if response := (*awshttp.ResponseError)(nil); errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	return code, status
}

// said is an error of the SDK's in one printable line, with the code in brackets.
func said(err error) string {
	var apiError smithy.APIError
	var operation *smithy.OperationError
	if !errors.As(err, &apiError) {
		return printable(err.Error())
	}
	_, status := answer(err)
	text := fmt.Sprintf("(%s) %s, HTTP status %d", apiError.ErrorCode(), apiError.ErrorMessage(), status)
	if errors.As(err, &operation) {
		text = operation.Operation() + ": " + text
	}
	if response := (*awshttp.ResponseError)(nil); errors.As(err, &response) && response.ServiceRequestID() != "" {
		text += ", request " + response.ServiceRequestID()
	}
	return printable(text)
}

// printable keeps a text of others from leading a terminal or a log astray:
// controls of both sets, and what turns the direction of text round, become
// spaces. All scripts stay as they are.
func printable(text string) string {
	var out strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		if unicode.IsPrint(r) {
			out.WriteRune(r)
		} else {
			out.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return printable(text)
}

// Cause is why an upload has failed, without what that means for a job's artifact: S3's
// words, or the stream's own error.
func Cause(err error) error {
	refused := (*refusedError)(nil)
	if errors.As(err, &refused) {
		return &refusedError{"aws said: " + said(refused.err), refused.err}
	}
	failed := (*Error)(nil)
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
