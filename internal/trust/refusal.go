package trust

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// Names of the rules, for whoever counts refusals or looks for them in a log.
const (
	RuleToken        = "token"         // a token that can be read
	RuleAlgorithm    = "algorithm"     // RS256
	RuleKey          = "key"           // one that the environment knows
	RuleSignature    = "signature"     // made with that key
	RuleClaims       = "claims"        // all that are needed, of the right types
	RuleIssuer       = "issuer"        // this environment's GitLab
	RuleAudience     = "audience"      // us
	RuleTime         = "time"          // valid when the artifact was uploaded
	RuleMergeRequest = "merge-request" // no pipeline of one
	RuleFork         = "fork"          // the job is the project's own
	RuleProject      = "project"       // one of the list
	RuleRef          = "ref"           // one of the list
	RuleProtected    = "protected"     // a protected branch or tag
)

// Refusal says which rule failed, with what came and what is allowed. It never holds the token.
type Refusal struct {
	Rule   string
	Reason string // one line, of text that is safe to show
}

func (r *Refusal) Error() string { return r.Reason }

func refuse(rule, format string, args ...any) *Refusal {
	return &Refusal{rule, fmt.Sprintf(format, args...)}
}

// explain says in our words what the library found. Its own may hold parts of the token.
func explain(err error, token string, c *claims, uploaded time.Time) *Refusal {
	var wrong *claimError
	switch {
	case errors.As(err, &wrong):
		return refuse(RuleClaims, "the token's %s", wrong)
	case errors.Is(err, jwt.ErrTokenExpired):
		return refuse(RuleTime, "the token was valid until %s, the artifact was uploaded at %s: want a token that is valid then", moment(c.Expires), uploaded.UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return refuse(RuleTime, "the token is valid from %s, the artifact was uploaded at %s: want a token that is valid then", moment(c.NotBefore), uploaded.UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return refuse(RuleTime, "the token has no end (exp), want one")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		if algorithm := algorithm(token); algorithm != jwt.SigningMethodRS256.Alg() {
			return refuse(RuleAlgorithm, "the token's algorithm is %s, want %s", quote(algorithm), jwt.SigningMethodRS256.Alg())
		}
		return refuse(RuleSignature, "the token's signature is wrong: want that of the key which it names")
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return refuse(RuleAlgorithm, "the token's algorithm is %s, want %s", quote(algorithm(token)), jwt.SigningMethodRS256.Alg())
	}
	return refuse(RuleToken, "the token cannot be read: want what GitLab has signed, as it is")
}

// algorithm is what the header of a token names, for a message.
func algorithm(token string) string {
	t, _, _ := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if t == nil {
		return ""
	}
	name, _ := t.Header["alg"].(string)
	return name
}

func moment(date *jwt.NumericDate) string {
	if date == nil {
		return "no time"
	}
	return date.UTC().Format(time.RFC3339)
}

// longest bounds a value in a message, in characters.
const longest = 100

// quote shows a value that came from outside: on one line, without anything that controls a terminal, and bounded.
func quote(text string) string {
	letters := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text))
	if len(letters) > longest {
		return strconv.Quote(string(letters[:longest])) + fmt.Sprintf("… (%d characters)", len(letters))
	}
	return strconv.Quote(string(letters))
}

// some lists what is allowed, but not without an end.
func some(values []string) string {
	const most = 8
	if len(values) == 0 {
		return "none"
	}
	if more := len(values) - most; more > 0 {
		return strings.Join(values[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(values, ", ")
}
