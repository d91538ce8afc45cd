package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestS10_TheFunctionNamesEverythingThatIsMissing(t *testing.T) {
	_, err := newJudge(func(string) string { return "" })
	require.Error(t, err)
	for _, want := range []string{"BACKUP_BUCKET is not set", "KEEP_DAYS is \"\"", "AWS_REGION"} {
		assert.ErrorContains(t, err, want)
	}
	for _, days := range []string{"0", "-1", "30.5", "3651", "thirty"} {
		_, err := newJudge(func(name string) string {
			return map[string]string{"KEEP_DAYS": days, "BACKUP_BUCKET": "b", "AWS_REGION": "r", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}[name]
		})
		assert.EqualError(t, err, "KEEP_DAYS is \""+days+"\": want a number of days from 1 to 3650")
	}
}
