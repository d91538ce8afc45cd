// Package signer plays the GitLab that signs tokens, for tests and for the emulator.
package signer

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gitlab-codedeploy/internal/trust"
)

// Signer is a GitLab with a key.
type Signer struct {
	URL   string // https://gitlab.example.com
	KeyID string
	Key   *rsa.PrivateKey
}

// New makes a GitLab with a new key, of the length that GitLab's have.
func New(url string) (*Signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return of(url, key), nil
}

func of(url string, key *rsa.PrivateKey) *Signer {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	return &Signer{URL: url, KeyID: base64.RawURLEncoding.EncodeToString(sum[:]), Key: key}
}

// Parse reads the key of [Signer.PEM].
func Parse(url string, text []byte) (*Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("got no PEM, want a private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("got a %T, want an RSA key", parsed)
	}
	return of(url, key), nil
}

// PEM is the private key as a file.
func (s *Signer) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(s.Key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Keys are the public keys that this GitLab shows.
func (s *Signer) Keys() trust.Keys {
	return trust.Keys{{ID: s.KeyID, Public: &s.Key.PublicKey}}
}

// Job is what a token is about.
type Job struct {
	Project     trust.Project
	Ref         string
	Tag         bool // Ref is one, and not a branch
	Unprotected bool
	// Audience is that of a token of id_tokens; "" makes a CI_JOB_JWT.
	Audience string
	Issued   time.Time
	TTL      time.Duration
}

// Claims are those of a job's token, which a caller may change before it signs them. Their types are those of GitLab
// 13.10: nearly everything is a string.
func (s *Signer) Claims(job Job) jwt.MapClaims {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	namespace, _, _ := strings.Cut(job.Project.Path, "/")
	kind := "branch"
	if job.Tag {
		kind = "tag"
	}
	claims := jwt.MapClaims{
		"jti": fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
		"iss": strings.TrimPrefix(s.URL, "https://"),
		"iat": job.Issued.Unix(), "nbf": job.Issued.Unix() - 5, "exp": job.Issued.Add(job.TTL).Unix(),
		"sub":          "job_345",
		"namespace_id": "7", "namespace_path": namespace,
		"project_id": strconv.FormatInt(job.Project.ID, 10), "project_path": job.Project.Path,
		"user_id": "5", "user_login": "jdoe", "user_email": "jdoe@example.com",
		"pipeline_id": "12", "job_id": "345",
		"ref": job.Ref, "ref_type": kind, "ref_protected": strconv.FormatBool(!job.Unprotected),
	}
	if job.Audience != "" {
		claims["iss"], claims["aud"] = s.URL, job.Audience
		claims["sub"] = fmt.Sprintf("project_path:%s:ref_type:%s:ref:%s", job.Project.Path, kind, job.Ref)
		claims["pipeline_source"] = "push"
	}
	return claims
}

// Sign makes a token of claims.
func (s *Signer) Sign(claims jwt.Claims) string {
	token, err := s.sign(claims)
	if err != nil {
		panic(err) // An RSA key of 2,048 bits signs everything that is JSON.
	}
	return token
}

func (s *Signer) sign(claims jwt.Claims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = s.KeyID
	return token.SignedString(s.Key)
}

// Token makes the token of a job.
func (s *Signer) Token(job Job) string { return s.Sign(s.Claims(job)) }
