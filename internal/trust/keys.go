package trust

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
)

// Key is a public key of GitLab's.
type Key struct {
	ID     string
	Public *rsa.PublicKey
}

// Keys are those that a GitLab may sign with. There are several while it changes its key, and it has one of its own for
// signing in, beside the one of its jobs.
type Keys []Key

func (k Keys) find(id string) *rsa.PublicKey {
	for _, key := range k {
		if key.ID == id {
			return key.Public
		}
	}
	return nil
}

// IDs are the names of the keys, sorted.
func (k Keys) IDs() []string {
	var ids []string
	for _, key := range k {
		ids = append(ids, key.ID)
	}
	slices.Sort(ids)
	return ids
}

func (k Keys) names() string {
	var names []string
	for _, id := range k.IDs() {
		names = append(names, quote(id))
	}
	return some(names)
}

// Bounds of a key set.
const (
	maxKeySet = 64 << 10
	maxKeys   = 20
	maxKeyID  = 200
	minBits   = 2048
	maxBits   = 8192 // a longer one takes long to check
)

// jwk is a key as GitLab tells it: https://datatracker.ietf.org/doc/html/rfc7517
type jwk struct {
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Use       string `json:"use,omitempty"`
	Algorithm string `json:"alg,omitempty"`
	Modulus   string `json:"n"`
	Exponent  string `json:"e"`
}

// privateParts would be somebody's secret.
// https://datatracker.ietf.org/doc/html/rfc7518#section-6.3.2
var privateParts = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// ParseKeys reads a file of keys, a JSON Web Key Set, as [Keys.Encode] writes it. It is strict: what is not understood is
// a mistake. The error names each key that is wrong.
func ParseKeys(text []byte) (Keys, error) { return parseKeys(text, true) }

// ReadKeys reads what GitLab answers. What RFC 7517 lets a set have beside RSA keys for signatures is left aside.
func ReadKeys(text []byte) (Keys, error) { return parseKeys(text, false) }

func parseKeys(text []byte, strict bool) (Keys, error) {
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(text), maxKeySet)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := decode(text, &set, strict); err != nil {
		return nil, fmt.Errorf(`want a key set, {"keys": […]}: %w`, err)
	}
	switch n := len(set.Keys); {
	case n == 0:
		return nil, errors.New(`got no key, want at least one in "keys"`)
	case n > maxKeys:
		return nil, fmt.Errorf("got %d keys, want at most %d", n, maxKeys)
	}
	var keys Keys
	var problems []error
	for i, raw := range set.Keys {
		key, err := parseKey(raw, strict)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("keys[%d]: %w", i, err))
		case key == nil:
		case keys.find(key.ID) != nil:
			problems = append(problems, fmt.Errorf("keys[%d]: got kid %s again, want each once", i, quote(key.ID)))
		default:
			keys = append(keys, *key)
		}
	}
	if len(problems) == 0 && len(keys) == 0 {
		problems = append(problems, errors.New("got no RSA key for signatures, want at least one"))
	}
	return keys, errors.Join(problems...)
}

// parseKey returns no key for one that is not for signatures with RSA, unless it is strict.
func parseKey(raw json.RawMessage, strict bool) (*Key, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, errors.New("got no key, want a mapping")
	}
	for _, part := range privateParts {
		if _, there := members[part]; there {
			return nil, fmt.Errorf("got a private key (it has %q), want a public one: whoever has seen this file can sign as GitLab", part)
		}
	}
	var k jwk
	if err := decode(raw, &k, strict); err != nil {
		return nil, err
	}
	if !strict && (k.Type != "RSA" || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != "RS256") {
		return nil, nil
	}
	switch {
	case k.Type != "RSA":
		return nil, fmt.Errorf("got kty %s, want RSA", quote(k.Type))
	case k.ID == "" || len(k.ID) > maxKeyID || strings.ContainsFunc(k.ID, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, fmt.Errorf("got kid %s, want 1 to %d ASCII characters without blanks", quote(k.ID), maxKeyID)
	case k.Use != "" && k.Use != "sig":
		return nil, fmt.Errorf("got use %s, want sig", quote(k.Use))
	case k.Algorithm != "" && k.Algorithm != "RS256":
		return nil, fmt.Errorf("got alg %s, want RS256", quote(k.Algorithm))
	}
	modulus, err := base64.RawURLEncoding.Strict().DecodeString(k.Modulus)
	if err != nil {
		return nil, errors.New("got an n that is not base64url")
	}
	exponent, err := base64.RawURLEncoding.Strict().DecodeString(k.Exponent)
	if err != nil {
		return nil, errors.New("got an e that is not base64url")
	}
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	switch {
	case n.BitLen() < minBits || n.BitLen() > maxBits:
		return nil, fmt.Errorf("got an n of %d bits, want %d to %d", n.BitLen(), minBits, maxBits)
	case n.Bit(0) == 0:
		return nil, errors.New("got an n that is even, want the product of two primes")
	case e.BitLen() < 2 || e.BitLen() > 31 || e.Bit(0) == 0:
		return nil, errors.New("got an e that no RSA key has, want 65537")
	}
	return &Key{k.ID, &rsa.PublicKey{N: n, E: int(e.Int64())}}, nil
}

func decode(text []byte, into any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("got no such JSON: %s", quote(err.Error()))
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("got more after its end, want nothing")
	}
	return nil
}

// Encode writes keys as a file that [ParseKeys] reads: the same keys give the same bytes.
func (k Keys) Encode() []byte {
	sorted := slices.Clone(k)
	slices.SortFunc(sorted, func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
	set := struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{}}
	for _, key := range sorted {
		set.Keys = append(set.Keys, jwk{
			Type: "RSA", ID: key.ID, Use: "sig", Algorithm: "RS256",
			Modulus:  base64.RawURLEncoding.EncodeToString(key.Public.N.Bytes()),
			Exponent: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.Public.E)).Bytes()),
		})
	}
	text, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		panic(err) // It has strings only.
	}
	return append(text, '\n')
}
