package trust_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"gitlab-codedeploy/internal/trust"
)

// A longer run:
//
//	go test ./internal/trust -run '^$' -fuzz FuzzClaims -fuzztime 1m

// FuzzToken feeds text that nobody has signed.
func FuzzToken(f *testing.F) {
	good := gitlab.Token(job)
	f.Add(good[1:])
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		if token == good {
			return
		}
		_, err := verifier().Verify(token, rule, uploaded)
		mustRefuse(t, err, token)
	})
}

// FuzzClaims feeds claims that GitLab itself would have signed.
func FuzzClaims(f *testing.F) {
	good, err := json.Marshal(gitlab.Claims(job))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add(`{"jti":"1","iss":"gitlab.example.com","exp":1e12,"project_id":42,"project_path":"team/sample-web","ref":"main","ref_type":"branch","ref_protected":true}`)
	f.Add(`{"aud":[],"exp":{},"project_id":"\u0000"}`)
	f.Fuzz(func(t *testing.T, claims string) {
		token := raw(t, header(`,"alg":"RS256"`), claims)
		proof, err := verifier().Verify(token, rule, uploaded)
		if err != nil {
			mustRefuse(t, err, token)
			return
		}
		var said map[string]any
		if json.Unmarshal([]byte(claims), &said) != nil {
			t.Fatalf("accepted %q", claims)
		}
		if !slices.Contains([]string{"team/sample-web", "team/tools"}, proof.Project) || !slices.Contains(rule.Refs, proof.Ref) ||
			!proof.Expires.After(uploaded) || said["pipeline_source"] == "merge_request_event" || said["jti"] == nil {
			t.Fatalf("accepted %q as %+v", claims, proof)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(string(gitlab.Keys().Encode()))
	f.Add(`{"keys":[{"kty":"RSA","kid":"a","n":"AQ","e":"AQAB"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func([]byte) (trust.Keys, error){trust.ParseKeys, trust.ReadKeys} {
			keys, err := parse([]byte(text))
			if err != nil {
				continue
			}
			again, err := trust.ParseKeys(keys.Encode())
			if err != nil || len(again) != len(keys) || len(keys) == 0 {
				t.Fatalf("%q became %s: %v", text, keys.Encode(), err)
			}
		}
	})
}

func mustRefuse(t *testing.T, err error, token string) {
	t.Helper()
	var refusal *trust.Refusal
	if !errors.As(err, &refusal) || refusal.Rule == "" {
		t.Fatalf("want a refusal, got %v", err)
	}
	mustBeHarmless(t, refusal.Reason, token)
}
