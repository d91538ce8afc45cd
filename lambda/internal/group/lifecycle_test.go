package group_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "gitlab-codedeploy/lambda/internal/group"
	"gitlab-codedeploy/lambda/internal/mark"
	"gitlab-codedeploy/lambda/internal/status"
)

// rule is one of S3's lifecycle rules, as far as the template has them.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
type rule struct {
	Id, Status, Prefix          string
	ExpirationInDays            int
	ExpiredObjectDeleteMarker   bool
	NoncurrentVersionExpiration struct{ NoncurrentDays, NewerNoncurrentVersions int }
	TagFilters                  []struct{ Key, Value string }
	AbortIncompleteMultipartUpload,
	Transitions, NoncurrentVersionTransitions any
}

// artifactRules reads the rules of the deployed bucket.
func artifactRules(t *testing.T) []rule {
	raw, err := os.ReadFile("../../../test/testdata/Deploy-staging.template.json")
	require.NoError(t, err)
	var template struct {
		Resources map[string]struct {
			Type       string
			Properties json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal(raw, &template))
	for id, r := range template.Resources {
		if r.Type != "AWS::S3::Bucket" || !strings.HasPrefix(id, "Artifacts") {
			continue
		}
		var p struct{ LifecycleConfiguration struct{ Rules []rule } }
		require.NoError(t, json.Unmarshal(r.Properties, &p))
		require.NotEmpty(t, p.LifecycleConfiguration.Rules)
		return p.LifecycleConfiguration.Rules
	}
	t.Fatal("the template has no artifact bucket")
	return nil
}

// stored is one version in the bucket.
type stored struct {
	Upload
	made, replaced int // days; replaced is -1 while the version is current
	marked         bool
	since          int // day of the mark
}

// expires says whether a rule removes v on a day, or, of a current one, puts a
// marker upon it.
func (r rule) expires(v *stored, day int) bool {
	if r.Status != "Enabled" || !strings.HasPrefix(v.Key, r.Prefix) || r.NoncurrentVersionExpiration.NewerNoncurrentVersions > 0 {
		return false
	}
	for _, tag := range r.TagFilters {
		if tag.Key != mark.Key || tag.Value != mark.Value || !v.marked {
			return false
		}
	}
	if v.replaced >= 0 {
		return r.NoncurrentVersionExpiration.NoncurrentDays > 0 && day-v.replaced >= r.NoncurrentVersionExpiration.NoncurrentDays
	}
	return r.ExpirationInDays > 0 && day-v.made >= r.ExpirationInDays
}

// Two years of uploads to two groups, some of them to keys that both use: of each
// group the last successful version, and the ten before it that were deployed,
// are there on every day. What was rejected or superseded goes.
//
//fault:live two years of uploads to two groups that share keys, many failed or rejected | by the template's rules each group's live version and the ten before it are there every day, and what nobody wants goes
func TestS14_WhatIsLiveNeverExpires(t *testing.T) {
	rules := artifactRules(t)
	for _, r := range rules {
		assert.Nil(t, r.Transitions, r.Id)
		assert.Nil(t, r.NoncurrentVersionTransitions, r.Id)
	}
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		// Some groups get many uploads a day, others one in months.
		pace := []int{1 + random.IntN(120), 1 + random.IntN(10)}
		records := []*Record{{}, {}}
		live := make([][]Upload, 2) // what succeeded, the last one last
		var bucket []*stored
		n := 0
		for day := range 2 * 365 {
			for g := range records {
				if random.IntN(pace[g]) > 0 {
					continue
				}
				n++
				u := Upload{ID: fmt.Sprint(n), Key: "artifacts/" + []string{"shared.gz", fmt.Sprint("group", g, ".gz"), fmt.Sprint("build", n, ".gz")}[random.IntN(3)], VersionID: fmt.Sprint(n)}
				u.Uploaded = time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC).AddDate(0, 0, day)
				for _, v := range bucket {
					if v.Key == u.Key && v.replaced < 0 {
						v.replaced = day
					}
				}
				v := &stored{Upload: u, made: day, replaced: -1}
				bucket = append(bucket, v)
				switch random.IntN(5) {
				case 0: // rejected, or superseded
					records[g].Finish(End{Upload: u, State: status.Rejected})
					v.marked, v.since = true, day
				case 1, 2:
					records[g].Heard(Deployment{Upload: u, DeploymentID: u.ID, State: status.Failed, Reason: "x", Told: true})
				default:
					records[g].Heard(Deployment{Upload: u, DeploymentID: u.ID, State: status.Succeeded, Told: true})
					live[g] = append(live[g], u)
				}
				for _, expired := range records[g].Expired {
					for _, v := range bucket {
						if !v.marked && v.Same(expired) {
							v.marked, v.since = true, day
						}
					}
				}
				records[g].Expired = nil
			}
			bucket = slices.DeleteFunc(bucket, func(v *stored) bool {
				for _, r := range rules {
					if !r.expires(v, day) {
						continue
					}
					if v.replaced >= 0 {
						return true
					}
					v.replaced = day // A marker lies upon it.
				}
				return false
			})
			for g := range records {
				for _, u := range live[g][max(0, len(live[g])-11):] {
					require.True(t, slices.ContainsFunc(bucket, func(v *stored) bool { return v.Same(u) }),
						"seed %d, day %d: version %s is live or one of the ten before, and expired", seed, day, u.VersionID)
				}
			}
		}
		for _, v := range bucket {
			// Twice: until a marker lies upon a current one, and then until it goes.
			require.False(t, v.marked && v.since < 2*365-2*90, "seed %d: version %s is not wanted since day %d, and still there", seed, v.VersionID, v.since)
		}
	}
}
