package deploy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestS14_TheEventTellsTheRestOfTheSecondOfAnUpload(t *testing.T) {
	for name, tt := range map[string]struct {
		completed time.Time
		rest      time.Duration // of testTime's second
	}{
		"not told":              {time.Time{}, 0},
		"within the second":     {testTime.Add(345678 * time.Microsecond), 345 * time.Millisecond},
		"in the next second":    {testTime.Add(time.Second), 999 * time.Millisecond},
		"a long upload":         {testTime.Add(time.Hour), 999 * time.Millisecond},
		"before it, by a fault": {testTime.Add(-time.Second), 0},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, testTime.Add(tt.rest), uploadTime(testTime, tt.completed))
		})
	}
	assert.True(t, uploadTime(time.Time{}, testTime).IsZero())
}

func TestS14_AnEventsTimeIsWorthHavingButNotNeeded(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-23T01:02:03.004Z":   testTime.Add(4 * time.Millisecond),
		"2026-11-23T01:02:03.004567": testTime.Add(4567 * time.Microsecond),
		"2026-11-23T01:02:03Z":       testTime,
		"":                           {},
		"yesterday":                  {},
		"2026-11-23T01:02:03+09:00":  {},
	} {
		assert.Equal(t, want, decodeTime(text), text)
	}
}
