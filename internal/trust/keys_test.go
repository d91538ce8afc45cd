package trust_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/trust"
)

// keySet is gitlab's set with changes of its one key; nil takes a member out.
func keySet(t *testing.T, changes map[string]any) string {
	t.Helper()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	require.NoError(t, json.Unmarshal(gitlab.Keys().Encode(), &set))
	for name, value := range changes {
		set.Keys[0][name] = value
		if value == nil {
			delete(set.Keys[0], name)
		}
	}
	text, err := json.Marshal(set)
	require.NoError(t, err)
	return string(text)
}

func TestS15_KeysComeBackAsTheyWereWritten(t *testing.T) {
	both := append(gitlab.Keys(), another.Keys()...)
	read, err := trust.ParseKeys(both.Encode())
	require.NoError(t, err)
	assert.ElementsMatch(t, both, read)
	assert.Equal(t, both.Encode(), read.Encode(), "sorted, so that a reviewer sees what changed and nothing else")

	read, err = trust.ParseKeys([]byte(keySet(t, map[string]any{"use": nil, "alg": nil})))
	require.NoError(t, err)
	assert.Equal(t, gitlab.Keys(), read)
}

func TestS15_WrongKeysAreRefusedByName(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	one := strings.TrimSuffix(strings.TrimPrefix(keySet(t, nil), `{"keys":[`), `]}`)
	for name, wrong := range map[string]struct{ text, message string }{
		"nothing":              {"", "want a key set"},
		"no JSON":              {"hello", "want a key set"},
		"a list":               {"[]", "want a key set"},
		"no keys":              {`{"keys":[]}`, "got no key, want at least one"},
		"another member":       {`{"keys":[` + one + `],"issuer":"x"}`, "issuer"},
		"more after its end":   {keySet(t, nil) + "{}", "more after its end"},
		"too large":            {strings.Repeat(" ", 65<<10) + keySet(t, nil), "want at most 65536"},
		"too many keys":        {`{"keys":[` + strings.Repeat(one+",", 20) + one + `]}`, "got 21 keys, want at most 20"},
		"the same kid twice":   {`{"keys":[` + one + "," + one + `]}`, "keys[1]: got kid"},
		"a key that is text":   {`{"keys":["x"]}`, "keys[0]: got no key, want a mapping"},
		"a private key":        {keySet(t, map[string]any{"d": "AQ"}), `got a private key (it has "d")`},
		"a prime":              {keySet(t, map[string]any{"p": "AQ"}), `got a private key (it has "p")`},
		"a secret":             {keySet(t, map[string]any{"kty": "oct", "k": "AQ"}), `got a private key (it has "k")`},
		"an unknown member":    {keySet(t, map[string]any{"x5c": []string{}}), "x5c"},
		"another type":         {keySet(t, map[string]any{"kty": "EC"}), `got kty "EC", want RSA`},
		"no kid":               {keySet(t, map[string]any{"kid": nil}), `got kid "", want`},
		"a kid with a control": {keySet(t, map[string]any{"kid": "\x1b[0m"}), "want 1 to 200 ASCII characters"},
		"a kid that is long":   {keySet(t, map[string]any{"kid": strings.Repeat("k", 201)}), "want 1 to 200 ASCII characters"},
		"a kid of a number":    {keySet(t, map[string]any{"kid": 5}), "keys[0]: got no such JSON"},
		"for encryption":       {keySet(t, map[string]any{"use": "enc"}), `got use "enc", want sig`},
		"another algorithm":    {keySet(t, map[string]any{"alg": "RS512"}), `got alg "RS512", want RS256`},
		"n is no base64url":    {keySet(t, map[string]any{"n": "++"}), "n that is not base64url"},
		"e is no base64url":    {keySet(t, map[string]any{"e": "AQAB="}), "e that is not base64url"},
		"no n":                 {keySet(t, map[string]any{"n": nil}), "n of 0 bits"},
		"1,024 bits":           {keySet(t, map[string]any{"n": encoded(short.N)}), "n of 1024 bits, want 2048 to 8192"},
		"16,384 bits":          {keySet(t, map[string]any{"n": encoded(new(big.Int).Lsh(big.NewInt(3), 16382))}), "n of 16384 bits"},
		"an even n":            {keySet(t, map[string]any{"n": encoded(new(big.Int).Lsh(big.NewInt(1), 2047))}), "n that is even"},
		"an e of 1":            {keySet(t, map[string]any{"e": "AQ"}), "e that no RSA key has"},
		"an even e":            {keySet(t, map[string]any{"e": "AQAA"}), "e that no RSA key has"},
		"a huge e":             {keySet(t, map[string]any{"e": strings.Repeat("_", 8)}), "e that no RSA key has"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := trust.ParseKeys([]byte(wrong.text))
			require.Error(t, err)
			assert.Contains(t, err.Error(), wrong.message)
			for _, line := range strings.Split(err.Error(), "\n") {
				mustBeHarmless(t, line, "")
			}
		})
	}
}

func encoded(n *big.Int) string {
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	_ = json.Unmarshal(trust.Keys{{ID: "x", Public: &rsa.PublicKey{N: n, E: 65537}}}.Encode(), &set)
	return set.Keys[0]["n"].(string)
}

// What GitLab answers has keys for other purposes, and members of later versions.
func TestS15_GitLabsAnswerMayHoldMoreThanItsKeys(t *testing.T) {
	one := strings.TrimSuffix(strings.TrimPrefix(keySet(t, map[string]any{"x5t": "later"}), `{"keys":[`), `]}`)
	read, err := trust.ReadKeys([]byte(`{"keys":[{"kty":"EC","kid":"e","crv":"P-256","x":"AQ","y":"AQ"},` + one + `],"more":1}`))
	require.NoError(t, err)
	assert.Equal(t, gitlab.Keys(), read)
	_, err = trust.ReadKeys([]byte(`{"keys":[{"kty":"EC","kid":"e"}]}`))
	assert.ErrorContains(t, err, "got no RSA key for signatures")
	_, err = trust.ReadKeys([]byte(keySet(t, map[string]any{"d": "AQ"})))
	assert.ErrorContains(t, err, "private key")
}
