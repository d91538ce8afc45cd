package review_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/review"
)

// library plays the one of cdk diff. What it really says is in the notes of test/testdata/notes.
type library string

func (l library) Script(_ context.Context, _ string, _, out any) error {
	return json.Unmarshal([]byte(l), out)
}

func note(t *testing.T, says library, deployed, next string) string {
	t.Helper()
	pair := review.Pair{}
	if deployed != "" {
		require.NoError(t, json.Unmarshal([]byte(deployed), &pair.Deployed))
	}
	require.NoError(t, json.Unmarshal([]byte(next), &pair.Next))
	results, err := review.Compare(t.Context(), says, []review.Pair{pair})
	require.NoError(t, err)
	return review.Note("staging", []review.Stack{{Name: "S", Account: "1", Region: "r", Result: results[0]}})
}

// A template is written by who asks for the review.
func TestS15_NothingInATemplateIsMarkupOrHidesAChange(t *testing.T) {
	const hostile = "a`b|c\\n\\n## Nothing changes.\\u202eevil\\u001b[2J<script>"
	topic := func(value string) string {
		return `{"Resources": {"T": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "` + value + `"}}}}`
	}
	resource := func(value string) string {
		return `{"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "` + value + `"}}`
	}
	got := note(t, library(`[{"T": {"impact": "WILL_UPDATE", "before": `+resource("x")+`, "after": `+resource(hostile)+`}}]`), topic("x"), topic(hostile))
	assert.Contains(t, got, "- `DisplayName`: `x` → `a'b\\|c ## Nothing changes.\uFFFDevil\uFFFD[2J<script>`")
	assert.NotContains(t, got, "\x1b")
	assert.NotContains(t, got, "\u202e")
	assert.NotContains(t, got, "\n## ", "no heading of its own")
}

func TestS15_AScriptCannotCloseItsBlock(t *testing.T) {
	document := func(last string) string {
		return `{"Type": "AWS::SSM::Document", "Properties": {"Content": ["one", "two", "three", ` + last + `]}}`
	}
	template := func(last string) string { return `{"Resources": {"D": ` + document(last) + `}}` }
	before, after := `"four"`, "\"````\\n# **Approved**\""
	got := note(t, library(`[{"D": {"impact": "WILL_UPDATE", "before": `+document(before)+`, "after": `+document(after)+`}}]`), template(before), template(after))
	assert.Contains(t, got, "`````diff\n@@ -1 +1 @@\n one\n two\n three\n-four\n+````\n+# **Approved**\n`````")
	assert.Contains(t, got, "+2 −1 lines")
}

func TestS15_MoreIsToldFromFewerPermissions(t *testing.T) {
	policy := func(effect string) string {
		return `{"Resources": {"P": {"Type": "AWS::IAM::Policy", "Properties": {"Roles": [{"Ref": "R"}], "PolicyDocument": {"Statement": [
			{"Effect": "` + effect + `", "Action": "s3:*", "Resource": {"Fn::GetAtt": ["B", "Arn"]}, "Condition": {"StringEquals": {"aws:SourceVpce": ["b", "a"]}}}]}}}}}`
	}
	none := `{"Resources": {}}`
	for name, tt := range map[string]struct{ before, after, want string }{
		"allowed":          {none, policy("Allow"), "**MORE PERMISSIONS** in S: 1 statement, see below"},
		"forbidden":        {none, policy("Deny"), "Fewer permissions in S: 1 statement"},
		"allowed no more":  {policy("Allow"), none, "Fewer permissions in S: 1 statement"},
		"forbidden no mor": {policy("Deny"), none, "**MORE PERMISSIONS** in S: 1 statement, see below"},
	} {
		t.Run(name, func(t *testing.T) { assert.Contains(t, note(t, `[{}]`, tt.before, tt.after), "- "+tt.want+"\n") })
	}
	assert.Contains(t, note(t, `[{}]`, none, policy("Allow")), "| + | `P` | Allow | `s3:*` | `${B.Arn}` | `${R}` | `StringEquals aws:SourceVpce b, a` |")
}

func TestS15_WhatTheLibrarySaysIsNotGuessedAt(t *testing.T) {
	_, err := review.Compare(t.Context(), library(`[{"X": {"impact": "WILL_EXPLODE"}}]`), make([]review.Pair, 1))
	assert.ErrorContains(t, err, `the library of cdk diff says "WILL_EXPLODE" of X`)
	_, err = review.Compare(t.Context(), library(`[]`), make([]review.Pair, 1))
	assert.ErrorContains(t, err, "got 0 answers, want 1")
	_, err = review.Compare(t.Context(), broken{}, make([]review.Pair, 1))
	assert.ErrorContains(t, err, "ask the library of cdk diff: no node")
}

type broken struct{}

func (broken) Script(context.Context, string, any, any) error { return errors.New("no node") }
