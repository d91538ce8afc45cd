// Package trust says whether a job may deploy, by the token that GitLab has signed for it.
//
// A job's word is worth nothing: whoever can run one can write any metadata. GitLab's signature says which project, which
// branch or tag, and whether that is protected. It is checked offline, against public keys that an operator has read from
// GitLab, so that GitLab need not be reachable for whoever checks:
//
//	token ── signed by a known key, by this GitLab, for us, valid at the time of the upload?
//	      └─ claims ── a project of the rule, a ref of the rule, protected, no merge request?
//	                   └─ Deployer
//
// The token is a JSON Web Token (https://datatracker.ietf.org/doc/html/rfc7519), in each form that GitLab has given it:
// CI_JOB_JWT (12.10 to 16.x), CI_JOB_JWT_V2 (14.6 to 16.x) and id_tokens (15.7 and later).
// https://docs.gitlab.com/ci/secrets/id_token_authentication/
//
// Everything here is a function of its arguments. The trigger uses it, and so do the operator's program and the emulator.
package trust

import (
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// Audience is whom a token of id_tokens is for: the CI template asks for it.
	Audience = "gitlab-codedeploy"
	// Prefix begins the keys of tokens in the artifact bucket: see [TokenKey].
	Prefix = "tokens/"
	// MaxToken bounds a token, in bytes. GitLab's have one to two thousand; what is longer is not even taken apart.
	MaxToken = 16 << 10
)

// Variables are those that a job may have its token in, in the order in which they are tried. The first is that of the CI
// template, for GitLab 15.7 and later.
var Variables = []string{"GITLAB_CODEDEPLOY_TOKEN", "CI_JOB_JWT_V2", "CI_JOB_JWT"}

// TokenKey is where the token of an upload lies in the artifact bucket.
func TokenKey(uploadID string) string { return Prefix + uploadID }

// Verifier knows one GitLab.
type Verifier struct {
	Keys Keys
	// URL is GitLab's, such as "https://gitlab.example.com". Tokens name it, or its host, as their issuer.
	URL string
}

// Proof is what a token has proven.
type Proof struct {
	Deployer
	// Token tells tokens apart: whoever sees one a second time knows it by this. It is no secret.
	Token string
	// Expires is from when on nothing can be uploaded with the token.
	Expires time.Time
}

// Verify checks the token of an artifact that was uploaded at a time, by the rule of what it is for. The error is a
// [*Refusal].
func (v *Verifier) Verify(token string, rule Rule, uploaded time.Time) (Proof, error) {
	c, err := v.read(token, uploaded)
	if err != nil {
		return Proof{}, err
	}
	if err := v.checkIssuer(c); err != nil {
		return Proof{}, err
	}
	if err := checkTimes(c, uploaded); err != nil {
		return Proof{}, err
	}
	if err := checkJob(c); err != nil {
		return Proof{}, err
	}
	if refusal := rule.check(c); refusal != nil {
		return Proof{}, refusal
	}
	sum := sha256.Sum256([]byte(c.Issuer + "\x00" + c.ID))
	return Proof{
		Deployer: c.deployer(v.URL),
		Token:    base64.RawURLEncoding.EncodeToString(sum[:16]),
		Expires:  c.Expires.Time,
	}, nil
}

// read takes a token apart and checks its signature, before anything in it is believed.
func (v *Verifier) read(token string, uploaded time.Time) (*claims, error) {
	switch {
	case token == "":
		return nil, refuse(RuleToken, "the token is empty")
	case len(token) > MaxToken:
		return nil, refuse(RuleToken, "the token has %d bytes, want at most %d", len(token), MaxToken)
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodRS256.Alg()}), // not what the token itself asks for
		jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return uploaded }),
	)
	var refusal *Refusal
	c := &claims{}
	_, err := parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		key, err := v.key(t.Header)
		refusal = err
		if err != nil {
			return nil, err
		}
		return key, nil
	})
	switch {
	case refusal != nil:
		return nil, refusal
	case err != nil:
		return nil, explain(err, token, c, uploaded)
	}
	return c, nil
}

// key finds the key that a token's header names. Headers that bring a key of their own (jwk, jku, x5c) are not looked at.
func (v *Verifier) key(header map[string]any) (any, *Refusal) {
	if _, there := header["crit"]; there {
		// https://datatracker.ietf.org/doc/html/rfc7515#section-4.1.11
		return nil, refuse(RuleToken, "the token has extensions that must be understood (crit), want none")
	}
	id, ok := header["kid"].(string)
	if !ok || id == "" {
		return nil, refuse(RuleKey, "the token names no key (kid), want one of %s", v.Keys.names())
	}
	key := v.Keys.find(id)
	if key == nil {
		return nil, refuse(RuleKey, "%s (the token's key is %s, known: %s)", UnknownKey, quote(id), v.Keys.names())
	}
	return key, nil
}

// UnknownKey is what there is to say when GitLab has a new key.
const UnknownKey = "GitLab signs with a key that this environment does not know: scripts/ops trust"
