package trust_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/internal/trust/signer"
)

const url = "https://gitlab.example.com"

var (
	gitlab  = newSigner(url)
	another = newSigner(url)

	web  = trust.Project{ID: 42, Path: "team/sample-web"}
	rule = trust.Rule{Projects: []trust.Project{web, {ID: 43, Path: "team/tools"}}, Refs: []string{"main", "v1.0"}}

	issued   = time.Date(2026, 11, 28, 1, 0, 0, 0, time.UTC)
	uploaded = issued.Add(10 * time.Minute)
	job      = signer.Job{Project: web, Ref: "main", Issued: issued, TTL: time.Hour}
)

func newSigner(url string) *signer.Signer {
	s, err := signer.New(url)
	if err != nil {
		panic(err)
	}
	return s
}

func verifier() *trust.Verifier { return &trust.Verifier{Keys: gitlab.Keys(), URL: url} }

// with are the claims of job, with some replaced; nil takes one out.
func with(changes jwt.MapClaims) jwt.MapClaims { return change(gitlab.Claims(job), changes) }

func change(claims, changes jwt.MapClaims) jwt.MapClaims {
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	return claims
}

func withAudience(audience any) jwt.MapClaims {
	j := job
	j.Audience = trust.Audience
	return change(gitlab.Claims(j), jwt.MapClaims{"aud": audience})
}

func TestS15_WhoMayDeployHasTheProof(t *testing.T) {
	for name, claims := range map[string]jwt.MapClaims{
		"CI_JOB_JWT of 13.10, all strings": with(nil),
		"ids as numbers, booleans as such": with(jwt.MapClaims{"project_id": 42, "pipeline_id": 12, "ref_protected": true}),
		"CI_JOB_JWT_V2":                    withAudience(url),
		"id_tokens":                        withAudience(trust.Audience),
		"several audiences":                withAudience([]string{"https://vault.example.com", trust.Audience}),
		"ref_path of 16.0":                 with(jwt.MapClaims{"ref_path": "refs/heads/main"}),
		"job_project_id of 18.4":           with(jwt.MapClaims{"job_project_id": "42"}),
		"claims that are null are absent":  with(jwt.MapClaims{"job_project_id": json.RawMessage("null"), "ref_path": json.RawMessage("null")}),
		"a time with a fraction":           with(jwt.MapClaims{"exp": float64(issued.Add(time.Hour).Unix()) + 0.5}),
		"of 8 KB":                          with(jwt.MapClaims{"filler": strings.Repeat("a", 8<<10)}),
	} {
		t.Run(name, func(t *testing.T) {
			proof, err := verifier().Verify(gitlab.Sign(claims), rule, uploaded)
			require.NoError(t, err)
			assert.Equal(t, trust.Deployer{
				Project: "team/sample-web", Ref: "main", User: "jdoe",
				PipelineURL: "https://gitlab.example.com/team/sample-web/-/pipelines/12",
			}, proof.Deployer)
			assert.WithinDuration(t, issued.Add(time.Hour), proof.Expires, time.Second)
		})
	}
	t.Run("a tag", func(t *testing.T) {
		j := job
		j.Ref, j.Tag = "v1.0", true
		proof, err := verifier().Verify(gitlab.Sign(change(gitlab.Claims(j), jwt.MapClaims{"ref_path": "refs/tags/v1.0"})), rule, uploaded)
		require.NoError(t, err)
		assert.Equal(t, "v1.0", proof.Ref)
	})
	t.Run("an unprotected ref, where the rule says so", func(t *testing.T) {
		open := rule
		open.UnprotectedRefs = true
		_, err := verifier().Verify(gitlab.Sign(with(jwt.MapClaims{"ref_protected": "false"})), open, uploaded)
		assert.NoError(t, err)
	})
	t.Run("by the second of two keys", func(t *testing.T) {
		v := &trust.Verifier{Keys: append(another.Keys(), gitlab.Keys()...), URL: url}
		_, err := v.Verify(gitlab.Token(job), rule, uploaded)
		assert.NoError(t, err)
	})
}

func TestS15_TokensAreToldApartByTheirIds(t *testing.T) {
	id := func(claims jwt.MapClaims) string {
		proof, err := verifier().Verify(gitlab.Sign(claims), rule, uploaded)
		require.NoError(t, err)
		return proof.Token
	}
	same := with(nil)
	assert.Equal(t, id(same), id(change(same, jwt.MapClaims{"exp": issued.Add(2 * time.Hour).Unix()})))
	assert.NotEqual(t, id(with(nil)), id(with(nil)))
	assert.Regexp(t, `^[A-Za-z0-9_-]{22}$`, id(same), "the same length whatever GitLab's id is")
}

// raw makes a token of a header and claims as they are, signed by gitlab.
func raw(t *testing.T, header, claims string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(header)) + "." + encode([]byte(claims))
	signature, err := jwt.SigningMethodRS256.Sign(text, gitlab.Key)
	require.NoError(t, err)
	return text + "." + encode(signature)
}

func header(members string) string {
	return fmt.Sprintf(`{"typ":"JWT","kid":%q%s}`, gitlab.KeyID, members)
}

// publicPEM is what a careless verifier would take for the secret of HS256.
func publicPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&gitlab.Key.PublicKey)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func signed(t *testing.T, method jwt.SigningMethod, key any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, with(nil))
	token.Header["kid"] = gitlab.KeyID
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

func text(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	encoded, err := json.Marshal(claims)
	require.NoError(t, err)
	return string(encoded)
}

//fault:words a token that is none, that somebody else has signed, that is not for us, or that does not say who deploys | each is refused, by the rule that failed
func TestS15_EachAttackIsRefusedByTheRuleThatItBreaks(t *testing.T) {
	sign := func(changes jwt.MapClaims) string { return gitlab.Sign(with(changes)) }
	good := gitlab.Token(job)
	parts := strings.Split(good, ".")
	stranger := &signer.Signer{URL: url, KeyID: gitlab.KeyID, Key: another.Key}
	for _, attack := range []struct {
		name, token, rule, reason string
	}{
		{"no token", "", trust.RuleToken, "the token is empty"},
		{"no token at all", "hello", trust.RuleToken, "cannot be read"},
		{"two parts", parts[0] + "." + parts[1], trust.RuleToken, "cannot be read"},
		{"four parts", good + ".x", trust.RuleToken, "cannot be read"},
		{"a space after it", good + " ", trust.RuleToken, "cannot be read"},
		{"claims that are no JSON", raw(t, header(`,"alg":"RS256"`), "hello"), trust.RuleToken, "cannot be read"},
		{"claims that are a list", raw(t, header(`,"alg":"RS256"`), "[]"), trust.RuleToken, "cannot be read"},
		{"more than 16 KB", sign(jwt.MapClaims{"filler": strings.Repeat("a", 16<<10)}), trust.RuleToken, "bytes, want at most 16384"},
		{"extensions", raw(t, header(`,"alg":"RS256","crit":["exp"]`), text(t, with(nil))), trust.RuleToken, "(crit), want none"},

		{"alg none", signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), trust.RuleAlgorithm, `algorithm is "none", want RS256`},
		{"alg None without a signature", raw(t, header(`,"alg":"None"`), text(t, with(nil))), trust.RuleAlgorithm, `algorithm is "None", want RS256`},
		{"HS256 with the public key as its secret", signed(t, jwt.SigningMethodHS256, publicPEM(t)), trust.RuleAlgorithm, `algorithm is "HS256", want RS256`},
		{"RS512 with the right key", signed(t, jwt.SigningMethodRS512, gitlab.Key), trust.RuleAlgorithm, `algorithm is "RS512", want RS256`},
		{"PS256 with the right key", signed(t, jwt.SigningMethodPS256, gitlab.Key), trust.RuleAlgorithm, `algorithm is "PS256", want RS256`},
		{"no algorithm", raw(t, header(""), text(t, with(nil))), trust.RuleAlgorithm, `algorithm is "", want RS256`},

		{"no kid", raw(t, `{"alg":"RS256"}`, text(t, with(nil))), trust.RuleKey, "names no key (kid)"},
		{"a kid that is a number", raw(t, `{"alg":"RS256","kid":1}`, text(t, with(nil))), trust.RuleKey, "names no key (kid)"},
		{"an unknown kid", another.Token(job), trust.RuleKey, "GitLab signs with a key that this environment does not know: scripts/ops trust"},
		{"a kid with an escape sequence", raw(t, `{"alg":"RS256","kid":"\u001b[31m"}`, text(t, with(nil))), trust.RuleKey, `"` + "\uFFFD" + `[31m"`},
		{"another GitLab's key under the known kid", stranger.Token(job), trust.RuleSignature, "signature is wrong"},
		{"a key of its own in the header", raw(t, fmt.Sprintf(`{"alg":"RS256","kid":"x","jwk":%s}`, another.Keys().Encode()), text(t, with(nil))), trust.RuleKey, "does not know"},
		{"other claims under the same signature", parts[0] + "." + strings.Split(sign(jwt.MapClaims{"project_id": "43"}), ".")[1] + "." + parts[2], trust.RuleSignature, "signature is wrong"},
		{"no signature", parts[0] + "." + parts[1] + ".", trust.RuleSignature, "signature is wrong"},

		{"another issuer", sign(jwt.MapClaims{"iss": "gitlab.example.org"}), trust.RuleIssuer, `is "gitlab.example.org", want gitlab.example.com or https://gitlab.example.com`},
		{"no issuer", sign(jwt.MapClaims{"iss": nil}), trust.RuleIssuer, `is "", want`},
		{"the issuer over http", sign(jwt.MapClaims{"iss": "http://gitlab.example.com"}), trust.RuleIssuer, "want"},
		{"the issuer with a slash", sign(jwt.MapClaims{"iss": url + "/"}), trust.RuleIssuer, "want"},
		{"for somebody else", gitlab.Sign(withAudience("https://vault.example.com")), trust.RuleAudience, `is for "https://vault.example.com" (aud), want gitlab-codedeploy`},
		{"for nobody", gitlab.Sign(withAudience([]string{})), trust.RuleAudience, "is for none (aud)"},
		{"for an empty audience", gitlab.Sign(withAudience("")), trust.RuleAudience, `is for "" (aud)`},

		{"expired before the upload", sign(jwt.MapClaims{"exp": uploaded.Unix() - 1}), trust.RuleTime, "was valid until 2026-11-28T01:09:59Z, the artifact was uploaded at 2026-11-28T01:10:00Z"},
		{"expired at the moment of the upload", sign(jwt.MapClaims{"exp": uploaded.Unix()}), trust.RuleTime, "was valid until"},
		{"no end", sign(jwt.MapClaims{"exp": nil}), trust.RuleTime, "has no end (exp)"},
		{"not yet valid", sign(jwt.MapClaims{"nbf": uploaded.Unix() + 1}), trust.RuleTime, "is valid from 2026-11-28T01:10:01Z"},
		{"issued after the upload", sign(jwt.MapClaims{"nbf": nil, "iat": uploaded.Unix() + 6}), trust.RuleTime, "was issued at 2026-11-28T01:10:06Z"},

		{"no id", sign(jwt.MapClaims{"jti": nil}), trust.RuleClaims, "no id (jti)"},
		{"no project", sign(jwt.MapClaims{"project_id": nil}), trust.RuleClaims, "no project_id"},
		{"no ref", sign(jwt.MapClaims{"ref": nil}), trust.RuleClaims, "no ref"},
		{"jti is a number", sign(jwt.MapClaims{"jti": 5}), trust.RuleClaims, "token's jti is 5, want a string"},
		{"exp is text", sign(jwt.MapClaims{"exp": "2000000000"}), trust.RuleClaims, `token's exp is "2000000000", want a time`},
		{"exp is far away", sign(jwt.MapClaims{"exp": 1e300}), trust.RuleClaims, "token's exp is 1e+300, want a time"},
		{"nbf is a list", sign(jwt.MapClaims{"nbf": []int{1}}), trust.RuleClaims, "token's nbf is a list, want a time"},
		{"iat is negative", sign(jwt.MapClaims{"iat": -1}), trust.RuleClaims, "token's iat is -1, want a time"},
		{"aud is a number", sign(jwt.MapClaims{"aud": 1}), trust.RuleClaims, "token's aud is 1, want a string or a list"},
		{"aud holds a number", sign(jwt.MapClaims{"aud": []any{trust.Audience, 1}}), trust.RuleClaims, "token's aud is a list, want"},
		{"iss is a list", sign(jwt.MapClaims{"iss": []string{url}}), trust.RuleClaims, "token's iss is a list, want a string"},
		{"project_id is a fraction", sign(jwt.MapClaims{"project_id": 42.5}), trust.RuleClaims, "token's project_id is 42.5, want a whole number"},
		{"project_id has a blank", sign(jwt.MapClaims{"project_id": " 42"}), trust.RuleClaims, `token's project_id is " 42", want a whole number`},
		{"project_id has a zero in front", sign(jwt.MapClaims{"project_id": "042"}), trust.RuleClaims, "want a whole number"},
		{"project_id is a list", sign(jwt.MapClaims{"project_id": []int{42}}), trust.RuleClaims, "token's project_id is a list"},
		{"project_id is 0", sign(jwt.MapClaims{"project_id": 0}), trust.RuleClaims, "want a whole number above 0"},
		{"project_path is a mapping", sign(jwt.MapClaims{"project_path": map[string]int{}}), trust.RuleClaims, "token's project_path is a mapping"},
		{"ref is a list", sign(jwt.MapClaims{"ref": []string{"main"}}), trust.RuleClaims, "token's ref is a list"},
		{"ref_protected is yes", sign(jwt.MapClaims{"ref_protected": "yes"}), trust.RuleClaims, `ref_protected is "yes", want "true" or "false"`},
		{"ref_protected is 1", sign(jwt.MapClaims{"ref_protected": 1}), trust.RuleClaims, `ref_protected is 1, want`},

		{"another project", sign(jwt.MapClaims{"project_id": "7", "project_path": "team/other"}), trust.RuleProject, `of project 7 ("team/other"), want 42 (team/sample-web), 43 (team/tools)`},
		{"another project under the right path", sign(jwt.MapClaims{"project_id": "7"}), trust.RuleProject, "of project 7"},
		{"the right project under another path", sign(jwt.MapClaims{"project_path": "team/moved"}), trust.RuleProject, `42 ("team/moved"), want 42 (team/sample-web)`},
		{"another branch", sign(jwt.MapClaims{"ref": "feature"}), trust.RuleRef, `of branch "feature", want "main", "v1.0"`},
		{"a branch that begins like it", sign(jwt.MapClaims{"ref": "main2"}), trust.RuleRef, `"main2"`},
		{"a branch in other letters", sign(jwt.MapClaims{"ref": "Main"}), trust.RuleRef, `"Main"`},
		{"a ref of no known type", sign(jwt.MapClaims{"ref_type": "workspace"}), trust.RuleRef, `ref_type is "workspace", want branch or tag`},
		{"a ref without a type", sign(jwt.MapClaims{"ref_type": nil}), trust.RuleRef, "want branch or tag"},
		{"an unprotected branch", sign(jwt.MapClaims{"ref_protected": "false"}), trust.RuleProtected, `branch "main" is not protected`},
		{"nothing about protection", sign(jwt.MapClaims{"ref_protected": nil}), trust.RuleProtected, "is not protected"},

		{"a merge request", sign(jwt.MapClaims{"pipeline_source": "merge_request_event"}), trust.RuleMergeRequest, "want one of a branch or a tag"},
		{"a fork's merge request in the parent, before 18.4", sign(jwt.MapClaims{"ref_protected": "false", "pipeline_source": "merge_request_event"}), trust.RuleMergeRequest, "merge request's"},
		{"a fork's merge request in the parent, by its ref", sign(jwt.MapClaims{"ref_path": "refs/merge-requests/3/head"}), trust.RuleMergeRequest, `is "refs/merge-requests/3/head", want "refs/heads/main"`},
		{"a fork's job in the parent's pipeline, from 18.4", sign(jwt.MapClaims{"job_project_id": "99"}), trust.RuleFork, "of project 99 (job_project_id), its pipeline of project 42"},
		{"a branch that claims to be a tag", sign(jwt.MapClaims{"ref_type": "tag", "ref_path": "refs/heads/main"}), trust.RuleMergeRequest, "no pipeline of the tag itself"},
	} {
		t.Run(attack.name, func(t *testing.T) {
			proof, err := verifier().Verify(attack.token, rule, uploaded)
			var refusal *trust.Refusal
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, attack.rule, refusal.Rule, refusal.Reason)
			assert.Contains(t, refusal.Reason, attack.reason)
			assert.Equal(t, trust.Proof{}, proof)
			mustBeHarmless(t, refusal.Reason, attack.token)
		})
	}
}

// mustBeHarmless wants one bounded line that can be shown, with nothing of the token in it.
func mustBeHarmless(t *testing.T, reason, token string) {
	t.Helper()
	if reason == "" || len(reason) > 3000 || strings.ContainsFunc(reason, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
		t.Errorf("want one harmless line, got %q", reason)
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 40 && strings.Contains(reason, part[:40]) {
			t.Errorf("part of the token is told: %q", reason)
		}
	}
}

func TestS15_NobodyMayDeployWhatNoRuleIsAbout(t *testing.T) {
	_, err := verifier().Verify(gitlab.Token(job), trust.Rule{}, uploaded)
	assert.ErrorContains(t, err, "no project may deploy this")
	_, err = verifier().Verify(gitlab.Token(job), trust.Rule{Projects: rule.Projects}, uploaded)
	assert.ErrorContains(t, err, "want none", "refs are exact: without any, none is right")
}

func TestS15_ARuleThatHasChangedIsAskedAgain(t *testing.T) {
	proof, err := verifier().Verify(gitlab.Token(job), rule, uploaded)
	require.NoError(t, err)
	assert.NoError(t, rule.Recheck(proof.Deployer))
	assert.NoError(t, trust.Rule{AnyProject: true}.Recheck(proof.Deployer))
	assert.ErrorContains(t, trust.Rule{}.Recheck(proof.Deployer), `"team/sample-web", which may not deploy this any more, want none`)
	assert.ErrorContains(t, trust.Rule{Projects: rule.Projects, Refs: []string{"v1.0"}}.Recheck(proof.Deployer), `"main", which may not deploy this any more, want "v1.0"`)
	assert.Error(t, rule.Recheck(trust.Deployer{}))
}

func TestS15_AUsersNameIsBounded(t *testing.T) {
	for user, want := range map[string]string{"j.doe-1": "j.doe-1", "a b": "", "\x1b[0m": "", strings.Repeat("u", 256): ""} {
		proof, err := verifier().Verify(gitlab.Sign(with(jwt.MapClaims{"user_login": user})), rule, uploaded)
		require.NoError(t, err)
		assert.Equal(t, want, proof.User)
	}
}

func TestS15_WithoutKeysEveryTokenIsOfAnUnknownOne(t *testing.T) {
	_, err := (&trust.Verifier{URL: url}).Verify(gitlab.Token(job), rule, uploaded)
	assert.ErrorContains(t, err, trust.UnknownKey)
	assert.ErrorContains(t, err, "known: none")
}

func TestS15_LongListsAndValuesAreCut(t *testing.T) {
	long := trust.Rule{Refs: []string{"main"}}
	for i := range 1000 {
		long.Projects = append(long.Projects, trust.Project{ID: int64(1000 + i), Path: strings.Repeat("p", 200)})
	}
	_, err := verifier().Verify(gitlab.Sign(with(jwt.MapClaims{"project_path": strings.Repeat("日本", 1000)})), long, uploaded)
	var refusal *trust.Refusal
	require.True(t, errors.As(err, &refusal))
	assert.Contains(t, refusal.Reason, "and 992 more")
	assert.Contains(t, refusal.Reason, "日本日", "a language is no fault")
	mustBeHarmless(t, refusal.Reason, "")
}

func TestS15_TheTokensKeyHasItsOwnFolder(t *testing.T) {
	assert.Equal(t, "tokens/job-1-abc", trust.TokenKey("job-1-abc"))
	assert.Equal(t, []string{"GITLAB_CODEDEPLOY_TOKEN", "CI_JOB_JWT_V2", "CI_JOB_JWT"}, trust.Variables)
}
