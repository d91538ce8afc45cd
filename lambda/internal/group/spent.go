package group

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"time"

	"gitlab-codedeploy/internal/trust"
)

// Spent is a token that was worth an upload to the group, and is worth no other
// one. Other groups have records of their own: a job may deploy to several.
type Spent struct {
	Token  string    `json:"token"`  // see trust.Proof
	Upload string    `json:"upload"` // of which version, by [versionHash]
	Until  time.Time `json:"until"`
}

// TokenLife is for how long a token is believed after it was put into the bucket,
// whose lifecycle removes it after a day, at the next midnight. Nothing that was
// uploaded with a token can be accepted later than that after the token's end, so
// a token that was spent may be forgotten then.
const TokenLife = 48 * time.Hour

// maxSpent bounds the tokens that are remembered. A group takes some minutes for a
// deployment, so a few hundred are spent in TokenLife. Of more, those go whose end
// is nearest.
const maxSpent = 2000

// versionHash names an object version in a few bytes: a key may have a thousand.
func versionHash(u Upload) string {
	sum := sha256.Sum256([]byte(u.Key + "\x00" + u.VersionID))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Spend notes that a token is worth u, unless it was worth another upload before;
// it answers whether it is. Doing so again changes nothing.
func (r *Record) Spend(proof trust.Proof, u Upload, now time.Time) bool {
	hash := versionHash(u)
	if i := slices.IndexFunc(r.Spent, func(s Spent) bool { return s.Token == proof.Token }); i >= 0 {
		return r.Spent[i].Upload == hash
	}
	r.Spent = slices.DeleteFunc(r.Spent, func(s Spent) bool { return !now.Before(s.Until) })
	r.Spent = append(r.Spent, Spent{proof.Token, hash, proof.Expires.Add(TokenLife).UTC()})
	if len(r.Spent) > maxSpent {
		next := slices.MinFunc(r.Spent[:maxSpent], func(a, b Spent) int { return a.Until.Compare(b.Until) })
		r.Spent = slices.DeleteFunc(r.Spent, func(s Spent) bool { return s == next })
	}
	return true
}

// Accepted returns whose upload u is, when it was accepted as such before; ok is
// false when it was not, or when nobody had to prove anything at that time.
func (r *Record) Accepted(u Upload) (by trust.Deployer, ok bool) {
	switch {
	case r.Waiting != nil && r.Waiting.Same(u):
		by = r.Waiting.By
	case r.Parked != nil && r.Parked.Same(u):
		by = r.Parked.By
	case r.Attempt != nil && r.Attempt.Same(u):
		by = r.Attempt.By
	}
	if d := r.Deployment(u); d != nil {
		by = cmp.Or(by, d.By)
	}
	return by, by != trust.Deployer{}
}
