package faults

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
	"gitlab-codedeploy/test/faults/cloud"
)

// Who may deploy: alpha's groups want the token of its project, and anybody deploys
// to the others.

const gitlabURL = "https://gitlab.example.com"

var (
	alphaProject = trust.Project{ID: 1, Path: "team/alpha"}
	otherProject = trust.Project{ID: 2, Path: "team/other"}
)

// gitlab signs tokens. There is one, as a key takes longer than a schedule.
var gitlab = sync.OnceValue(func() *signer.Signer {
	s, err := signer.New(gitlabURL)
	if err != nil {
		panic(err) // There is no randomness.
	}
	return s
})

// proves says whether who deploys to a group has to prove that he may.
func proves(pair cloud.Pair) bool { return pair.Application == goodGroups[0].Application }

// Kinds of tokens. The zero one is the good token that a job puts before its artifact.
const (
	noToken       = "none"
	otherToken    = "of another project"
	branchToken   = "of another branch"
	openToken     = "of a ref that is not protected"
	expiredToken  = "expired"
	garbageToken  = "garbage of 8 KB"
	lateToken     = "put after the artifact"
	usedToken     = "another upload's" // which one TokenOf says
	spoiltToken   = "good, and then replaced by a bad one"
	improvedToken = "bad, and then replaced by a good one"
)

var badTokens = []string{noToken, otherToken, branchToken, openToken, expiredToken, garbageToken, lateToken, improvedToken}

// token is one version of a token in the bucket.
type token struct {
	version *cloud.Version
	text    func() []byte
	id      string // as a group's record names it, "" for what is no token of GitLab's
	good    bool   // for alpha's groups, between these times:
	from    time.Time
	until   time.Time
	life    time.Duration // until S3 removes it
}

const tokenTTL = time.Hour

// generateToken chooses the token of an upload. Most are good.
func generateToken(r *rand.Rand, u *upload, before []upload) {
	u.SwapAt = time.Second + jitter(r, pick(r, time.Second, time.Minute))
	if r.IntN(10) == 0 {
		u.SwapAt = jitter(r, time.Second) // Perhaps within the artifact's second.
	}
	switch r.IntN(16) {
	case 0, 1:
		u.Token = pick(r, badTokens...)
	case 2:
		u.Token = spoiltToken
	case 3:
		if len(before) > 0 {
			u.Token, u.TokenOf = usedToken, 1+r.IntN(len(before))
		}
	}
}

// sign makes a token as GitLab gives it to a job.
func (w *world) sign(kind string) *token {
	job := signer.Job{Project: alphaProject, Ref: "main", Audience: trust.Audience, Issued: w.now().Add(-time.Minute), TTL: tokenTTL}
	good := false
	switch kind {
	case otherToken:
		job.Project = otherProject
	case branchToken:
		job.Ref = "feature"
	case openToken:
		job.Unprotected = true
	case expiredToken:
		job.Issued = w.now().Add(-2 * tokenTTL)
	case garbageToken:
		return &token{text: func() []byte { return bytes.Repeat([]byte("garbage."), 1<<10) }}
	default:
		good = true
	}
	claims := gitlab().Claims(job)
	w.signed++
	jti := fmt.Sprintf("job-%d", w.signed) // The same seed gives the same run.
	claims["jti"] = jti
	sum := sha256.Sum256([]byte(gitlabURL + "\x00" + jti))
	return &token{
		// A schedule reads few of its tokens, and to sign them all takes an eighth of its time.
		text: func() []byte { return []byte(gitlab().Sign(claims)) }, id: base64.RawURLEncoding.EncodeToString(sum[:16]),
		good: good, from: job.Issued.Truncate(time.Second), until: job.Issued.Add(job.TTL).Truncate(time.Second),
	}
}

// putToken puts a token to where it belongs for an upload.
func (w *world) putToken(u *placed, t *token) {
	key := trust.TokenKey(u.Metadata["upload-id"])
	if !uploadID.MatchString(u.Metadata["upload-id"]) {
		return // The job's role may put nothing else there.
	}
	put := *t
	put.version = w.aws.Bucket.PutSlow(key, t.text)
	put.life = 24*time.Hour + jitter(w.random, 24*time.Hour) // at the next midnight
	w.tokens[key] = append(w.tokens[key], &put)
}

// putTokens puts what the job puts before its artifact, and books what comes later.
func (w *world) putTokens(u *placed) {
	first, then := w.sign(u.Token), (*token)(nil)
	switch u.Token {
	case noToken:
		first = nil
	case lateToken:
		first, then = nil, first
	case usedToken:
		if u.TokenOf <= len(w.uploads) && w.uploads[u.TokenOf-1].token != nil {
			first = w.uploads[u.TokenOf-1].token
		}
	case spoiltToken:
		then = w.sign(otherToken)
	case improvedToken:
		first, then = w.sign(otherToken), first
	}
	if u.token = first; first != nil {
		w.putToken(u, first)
	}
	if then != nil {
		w.aws.Clock.After(u.SwapAt, func() {
			w.tracef("the token of %s is put now: %s", u, u.Token)
			w.putToken(u, then)
		})
	}
}

// expireTokens removes what the bucket's lifecycle has removed by now.
func (w *world) expireTokens() {
	for _, versions := range w.tokens {
		for _, t := range versions {
			if w.now().Sub(t.version.Modified) > t.life {
				w.aws.Bucket.Remove(t.version)
			}
		}
	}
}

// tokensOf are the tokens of which one counts for an upload: what lay there when it
// arrived. S3 tells times in whole seconds, so whatever came within that
// second may count as well; nil is none.
func (w *world) tokensOf(u *placed) []*token {
	id := u.Metadata["upload-id"]
	if !uploadID.MatchString(id) {
		return []*token{nil}
	}
	list := []*token{nil}
	for _, t := range w.tokens[trust.TokenKey(id)] {
		switch {
		case t.version.Sequence < u.version.Sequence:
			list = []*token{t}
		case !t.version.Modified.Truncate(time.Second).After(u.version.Modified):
			list = append(list, t)
		}
	}
	return list
}

// goodFor says whether a token lets an upload be deployed.
func (t *token) goodFor(u *placed) bool {
	at := u.version.Modified.Truncate(time.Second)
	return t != nil && t.good && !at.Before(t.from.Add(-5*time.Second)) && at.Before(t.until)
}

// refusal says why an upload must not be let through, "" if it must be. With sure
// false either is right.
func (w *world) refusal(u *placed) (reason string, sure bool) {
	if u.Invalid != "" {
		return u.Invalid, true
	}
	if !proves(u.Pair) {
		return "", true
	}
	tokens := w.tokensOf(u)
	good := 0
	for _, t := range tokens {
		if t.goodFor(u) {
			good++
		}
	}
	switch {
	case good == 0:
		return "its token is bad", true
	case good < len(tokens) || len(tokens) > 1:
		return "its token was replaced within the second", false
	}
	if by := w.spent[spending{u.Pair, tokens[0].id}]; by != nil && by != u {
		return fmt.Sprintf("its token was worth %s", by), true
	}
	if !u.proven && w.now().Sub(tokens[0].version.Modified) > tokens[0].life {
		return "its token was gone before anybody had read it", true
	}
	return "", true
}

// spending is a token that was worth an upload to a group.
type spending struct {
	cloud.Pair
	token string
}

// versionHash names an object version as records do.
func versionHash(u *placed) string {
	sum := sha256.Sum256([]byte(u.Key + "\x00" + u.version.ID))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
