package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claims are those that are looked at. GitLab wrote nearly all of them as strings before it wrote some as numbers, so a
// number and a boolean may come either way. What is null counts as absent.
type claims struct {
	Issuer    string
	Audience  []string
	Expires   *jwt.NumericDate
	NotBefore *jwt.NumericDate
	IssuedAt  *jwt.NumericDate
	ID        string // of the token

	ProjectID      int64
	ProjectPath    string
	JobProjectID   int64 // from 18.4: whose code the job is; 0 when absent
	Ref            string
	RefType        string
	RefPath        string // from 16.0
	Protected      bool
	User           string
	PipelineID     int64
	PipelineSource string // from 14.0
}

// claimError says what is wrong with one claim.
type claimError struct{ name, problem string }

func (e *claimError) Error() string { return e.name + " is " + e.problem }

// UnmarshalJSON reads each claim by its exact name. It fails for one of another type.
func (c *claims) UnmarshalJSON(text []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil || all == nil {
		return errors.New("the claims are no JSON object")
	}
	for _, claim := range []struct {
		name string
		read func(json.RawMessage) string // answers what is wrong
	}{
		{"iss", readText(&c.Issuer)},
		{"aud", readTexts(&c.Audience)},
		{"exp", readTime(&c.Expires)},
		{"nbf", readTime(&c.NotBefore)},
		{"iat", readTime(&c.IssuedAt)},
		{"jti", readText(&c.ID)},
		{"project_id", readNumber(&c.ProjectID)},
		{"project_path", readText(&c.ProjectPath)},
		{"job_project_id", readNumber(&c.JobProjectID)},
		{"ref", readText(&c.Ref)},
		{"ref_type", readText(&c.RefType)},
		{"ref_path", readText(&c.RefPath)},
		{"ref_protected", readFlag(&c.Protected)},
		{"user_login", readText(&c.User)},
		{"pipeline_id", readNumber(&c.PipelineID)},
		{"pipeline_source", readText(&c.PipelineSource)},
	} {
		raw, there := all[claim.name]
		if !there || string(raw) == "null" {
			continue
		}
		if problem := claim.read(raw); problem != "" {
			return &claimError{claim.name, problem}
		}
	}
	return nil
}

func readText(into *string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		if json.Unmarshal(raw, into) != nil {
			return kind(raw) + ", want a string"
		}
		return ""
	}
}

func readTexts(into *[]string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var one string
		if json.Unmarshal(raw, &one) == nil {
			*into = []string{one}
			return ""
		}
		if bytes.HasPrefix(raw, []byte("[")) && json.Unmarshal(raw, into) == nil {
			return ""
		}
		return kind(raw) + ", want a string or a list of strings"
	}
}

// readNumber takes an id, which is 1 or more.
func readNumber(into *int64) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		text := string(raw)
		var quoted string
		if json.Unmarshal(raw, &quoted) == nil {
			text = quoted
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != text {
			return kind(raw) + ", want a whole number above 0, or its digits as a string"
		}
		*into = n
		return ""
	}
}

func readFlag(into *bool) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		switch string(raw) {
		case `true`, `"true"`:
			*into = true
		case `false`, `"false"`:
			*into = false
		default:
			return kind(raw) + `, want "true" or "false"`
		}
		return ""
	}
}

// latest is the end of the year 9999: what lies after it has no place in a message, or in a calculation.
const latest = 253402300799

func readTime(into **jwt.NumericDate) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var seconds float64
		if json.Unmarshal(raw, &seconds) != nil || seconds < 0 || seconds > latest {
			return kind(raw) + ", want a time in seconds since 1970"
		}
		whole, rest := math.Modf(seconds)
		*into = &jwt.NumericDate{Time: time.Unix(int64(whole), int64(rest*1e9)).UTC()}
		return ""
	}
}

// kind names the type of a JSON value, and shows it when it is short.
func kind(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "a mapping"
	case '[':
		return "a list"
	case '"':
		var text string
		_ = json.Unmarshal(raw, &text)
		return quote(text)
	}
	return strings.Trim(quote(string(raw)), `"`)
}

// The rest of jwt.Claims, by which the library checks the times.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.Expires, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.NotBefore, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.IssuedAt, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return "", nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.Audience, nil }

// checkIssuer wants this GitLab, in one of the two forms that it names itself by: CI_JOB_JWT has the bare host, later tokens
// the base URL. A token that says whom it is for has to be for us; CI_JOB_JWT_V2 is for everybody, and says so by
// GitLab's own URL.
func (v *Verifier) checkIssuer(c *claims) error {
	issuers := []string{strings.TrimPrefix(v.URL, "https://"), v.URL}
	if !slices.Contains(issuers, c.Issuer) {
		return refuse(RuleIssuer, "the token's issuer (iss) is %s, want %s", quote(c.Issuer), strings.Join(issuers, " or "))
	}
	audiences := []string{Audience, v.URL}
	if c.Audience != nil && !slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(audiences, a) }) {
		var came []string
		for _, a := range c.Audience {
			came = append(came, quote(a))
		}
		return refuse(RuleAudience, "the token is for %s (aud), want %s", some(came), Audience)
	}
	return nil
}

// early is how much earlier than it was issued GitLab lets a token begin, for clocks that differ.
const early = 5 * time.Second

// checkTimes adds to what the library checks that nobody uses a token before GitLab has issued it.
func checkTimes(c *claims, uploaded time.Time) error {
	if c.IssuedAt != nil && uploaded.Before(c.IssuedAt.Add(-early)) {
		return refuse(RuleTime, "the token was issued at %s, the artifact was uploaded at %s: want a token that is valid then",
			moment(c.IssuedAt), uploaded.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkJob checks what holds for every rule: the token is one of a job, and that job runs the project's own code. A
// pipeline for a merge request of a fork can run in the parent project, with the name of a branch of the fork's
// (CVE-2025-5819).
func checkJob(c *claims) error {
	switch {
	case c.ID == "":
		return refuse(RuleClaims, "the token has no id (jti), want one")
	case c.ProjectID == 0:
		return refuse(RuleClaims, "the token has no project_id, want one: it is no job's")
	case c.PipelineSource == "merge_request_event":
		return refuse(RuleMergeRequest, "the pipeline is a merge request's (pipeline_source is merge_request_event), want one of a branch or a tag")
	case c.JobProjectID != 0 && c.JobProjectID != c.ProjectID:
		return refuse(RuleFork, "the job is of project %d (job_project_id), its pipeline of project %d: want a job of the project itself", c.JobProjectID, c.ProjectID)
	}
	folder := map[string]string{"branch": "refs/heads/", "tag": "refs/tags/"}[c.RefType]
	switch {
	case folder == "":
		return refuse(RuleRef, "the token's ref_type is %s, want branch or tag", quote(c.RefType))
	case c.Ref == "":
		return refuse(RuleClaims, "the token has no ref, want one")
	case c.RefPath != "" && c.RefPath != folder+c.Ref:
		return refuse(RuleMergeRequest, "the token's ref_path is %s, want %s: it is no pipeline of the %s itself", quote(c.RefPath), quote(folder+c.Ref), c.RefType)
	}
	return nil
}

func (c *claims) deployer(url string) Deployer {
	d := Deployer{Project: c.ProjectPath, Ref: c.Ref, User: userName.FindString(c.User)}
	if c.PipelineID != 0 {
		d.PipelineURL = fmt.Sprintf("%s/%s/-/pipelines/%d", url, c.ProjectPath, c.PipelineID)
	}
	return d
}

// userName is GitLab's rule for the names of users. Unlike project and ref, which the rule lists, nothing else has
// bounded it.
var userName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,255}$`)
