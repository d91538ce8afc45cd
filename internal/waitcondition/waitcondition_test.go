package waitcondition_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/machine/machinetest"
	"gitlab-codedeploy/internal/waitcondition"
)

const url = "https://cloudformation-waitcondition.s3.amazonaws.com/arn%3Aaws%3Acloudformation"

// listening is a host with a wait condition that answers in turn, and 200 after that.
type listening struct {
	*machinetest.Host
	got     []map[string]string
	headers []http.Header
}

func listen(t *testing.T, answers ...int) *listening {
	l := &listening{Host: machinetest.New(t)}
	l.OnPage(url, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, http.MethodPut, r.Method)
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, int64(len(body)), r.ContentLength)
		got := map[string]string{}
		assert.NoError(t, json.Unmarshal(body, &got), string(body))
		l.got, l.headers = append(l.got, got), append(l.headers, r.Header)
		if n := len(l.got); n <= len(answers) {
			w.WriteHeader(answers[n-1])
		}
	})
	return l
}

func (l *listening) report(ctx context.Context, done string, err error) error {
	return waitcondition.Condition{URL: url + "?Signature=a%2Bb%3D", ID: "gitlab"}.Report(ctx, l.Machine, func(context.Context) (string, error) { return done, err })
}

func TestS5SuccessCarriesTheFourFieldsAndAnEmptyContentTypeWhichTheURLsSignatureCovers(t *testing.T) {
	l := listen(t)
	require.NoError(t, l.report(t.Context(), "GitLab is there", nil))
	assert.Equal(t, []map[string]string{{"Status": "SUCCESS", "Reason": "GitLab is there", "UniqueId": "gitlab", "Data": "GitLab is there"}}, l.got)
	assert.Empty(t, l.headers[0]["Content-Type"])
	assert.Empty(t, l.headers[0]["Transfer-Encoding"])
	assert.Contains(t, l.Talk.String(), "signalled SUCCESS")
}

func TestS5FailureCarriesTheErrorWhichStays(t *testing.T) {
	l := listen(t)
	err := errors.New("no disk")
	require.ErrorIs(t, l.report(t.Context(), "", err), err)
	assert.Equal(t, "FAILURE error: no disk", l.got[0]["Status"]+" "+l.got[0]["Reason"])
}

func TestS5AProgramThatPanicsIsReportedToo(t *testing.T) {
	l := listen(t)
	assert.PanicsWithValue(t, "at the disco", func() {
		_ = waitcondition.Condition{URL: url, ID: "gitlab"}.Report(t.Context(), l.Machine, func(context.Context) (string, error) { panic("at the disco") })
	})
	assert.Equal(t, "FAILURE", l.got[0]["Status"])
	assert.NotEmpty(t, l.got[0]["Reason"])
}

func TestS5WhateverStandsInTheReasonTheSignalIsJSON(t *testing.T) {
	for reason, want := range map[string]string{
		`say "hello"`:                          `error: say "hello"`,
		`C:\temp\new \u0041 \`:                 `error: C:\temp\new \u0041 \`,
		"two\nlines\tand a tab\r":              "error: two lines and a tab ",
		"bell \a escape \x1b[31m \x7f one\x01": "error: bell   escape  [31m   one ",
		"パスワード":                                "error: ?????",
		"not UTF-8: \xff\xfe\xc3":              "error: not UTF-8: ???",
		"$(id) `id` ${HOME} %s %n":             "error: $(id) `id` ${HOME} %s %n",
		`it's <b>&amp;`:                        `error: it's <b>&amp;`,
		`{"Status":"SUCCESS"}`:                 `error: {"Status":"SUCCESS"}`,
		"":                                     "error: ",
		strings.Repeat(`"\`, 300):              "error: " + strings.Repeat(`"\`, 300)[:249],
	} {
		l := listen(t)
		require.Error(t, l.report(t.Context(), "", errors.New(reason)))
		assert.Equal(t, want, l.got[0]["Reason"])
		assert.LessOrEqual(t, len(l.got[0]["Reason"]), 256)
	}
}

func TestS5ASignalThatDoesNotGetThroughIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := listen(t, 500, 503)
		begin := time.Now()
		require.NoError(t, l.report(t.Context(), "done", nil))
		assert.Len(t, l.got, 3)
		assert.Equal(t, 10*time.Second, time.Since(begin))
	})
}

func TestS5ASignalThatNeverGetsThroughDoesNotChangeHowTheProgramEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := listen(t, 500, 500, 500, 500, 500)
		err := errors.New("the disk is full")
		require.ErrorIs(t, l.report(t.Context(), "", err), err)
		assert.Len(t, l.got, 5)
		assert.Contains(t, l.Talk.String(), "could not signal FAILURE (last answer: HTTP 500)")

		nobody := machinetest.New(t)
		require.NoError(t, waitcondition.Condition{URL: "https://example.com/nobody", ID: "gitlab"}.Report(t.Context(), nobody.Machine,
			func(context.Context) (string, error) { return "fine", nil }))
		assert.Contains(t, nobody.Talk.String(), "could not signal SUCCESS (last answer: HTTP 000)")
	})
}

func TestS5TheExpiredURLOfALaterRunIsNotTriedTwice(t *testing.T) {
	l := listen(t, 403)
	require.NoError(t, l.report(t.Context(), "done", nil))
	assert.Len(t, l.got, 1)
	assert.Contains(t, l.Talk.String(), "could not signal SUCCESS (last answer: HTTP 403)")
}

func TestS5ARunThatIsStoppedSaysSo(t *testing.T) {
	l := listen(t)
	ctx, stop := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped by a signal: terminated")
	stop(stopped)
	require.ErrorIs(t, l.report(ctx, "", ctx.Err()), stopped)
	assert.Equal(t, "error: stopped by a signal: terminated", l.got[0]["Reason"])
}

func TestS5WithoutAURLNothingIsSent(t *testing.T) {
	l := listen(t)
	require.NoError(t, waitcondition.Condition{}.Report(t.Context(), l.Machine, func(context.Context) (string, error) { return "done", nil }))
	assert.Empty(t, l.got)
}
