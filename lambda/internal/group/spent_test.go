package group

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/internal/trust"
)

func TestS15_ATokenIsSpentOnceAndForgottenWhenItIsWorthNothing(t *testing.T) {
	now := time.Date(2026, 11, 28, 1, 0, 0, 0, time.UTC)
	a, b := Upload{Key: "artifacts/a", VersionID: "v1"}, Upload{Key: "artifacts/a", VersionID: "v2"}
	proof := trust.Proof{Token: "t", Expires: now.Add(time.Hour)}
	var r Record
	assert.True(t, r.Spend(proof, a, now))
	assert.True(t, r.Spend(proof, a, now), "again is no second time")
	assert.Len(t, r.Spent, 1)
	assert.False(t, r.Spend(proof, b, now))
	assert.False(t, r.Spend(proof, b, now.Add(time.Hour+TokenLife-time.Nanosecond)), "what was uploaded in time may come late")

	other, third := trust.Proof{Token: "other", Expires: now.Add(2 * time.Hour)}, trust.Proof{Token: "third", Expires: now.Add(2 * time.Hour)}
	assert.True(t, r.Spend(other, b, now.Add(time.Hour+TokenLife-time.Nanosecond)))
	assert.Len(t, r.Spent, 2, "both may still be tried")
	assert.True(t, r.Spend(third, b, now.Add(time.Hour+TokenLife)))
	assert.Equal(t, []string{"other", "third"}, []string{r.Spent[0].Token, r.Spent[1].Token}, "the first is forgotten")
}

func TestS15_TheTokensOfAGroupAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 28, 1, 0, 0, 0, time.UTC)
	var r Record
	for i := range maxSpent {
		r.Spend(trust.Proof{Token: fmt.Sprintf("%022d", i), Expires: now.Add(time.Hour + time.Duration(i)*time.Second)}, Upload{Key: strings.Repeat("k", 1024), VersionID: fmt.Sprint(i)}, now)
	}
	last := trust.Proof{Token: "last", Expires: now.Add(time.Minute)}
	assert.True(t, r.Spend(last, Upload{Key: "a", VersionID: "v"}, now))
	assert.Len(t, r.Spent, maxSpent)
	assert.False(t, r.Spend(last, Upload{Key: "b", VersionID: "v"}, now), "the newest is kept, whenever it ends")
	assert.True(t, r.Spend(trust.Proof{Token: fmt.Sprintf("%022d", 0), Expires: now}, Upload{Key: "b"}, now), "the nearest end went")
	assert.Less(t, len(encode(r)), maxRecord/2)
}

func TestS15_WhoseAnUploadIsStaysKnownOfThatUploadAlone(t *testing.T) {
	mine, other := upload(1), upload(2)
	mine.By, other.By = trust.Deployer{User: "kim"}, trust.Deployer{User: "lee"}
	for name, r := range map[string]Record{
		"it waits":            {Waiting: &mine, Parked: &other},
		"it is parked":        {Waiting: &other, Parked: &mine},
		"it is being created": {Waiting: &other, Attempt: &Attempt{Upload: mine}},
		"it was deployed":     {Parked: &other, Deployments: []Deployment{{Upload: mine}}},
	} {
		by, ok := r.Accepted(upload(1))
		assert.True(t, ok, name)
		assert.Equal(t, mine.By, by, name)
		by, ok = r.Accepted(upload(3))
		assert.False(t, ok, name)
		assert.Zero(t, by, name)
	}
}
