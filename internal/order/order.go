// Package order is what an operator wants of a deployment group, as an object in the
// artifact bucket:
//
//	orders/<application>/<group>/<time>-<random>.json
//
// The operator's program writes it, the trigger carries it out. Who wrote it, and
// when, is S3's to say: an order names neither.
package order

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Prefix is that of orders' keys. To write there is a right of its own.
const Prefix = "orders/"

// MaxSize bounds an order: two keys of S3's longest, and a version.
const MaxSize = 16 << 10

// The kinds of orders.
const (
	Rollback = "rollback" // deploy an earlier version of the group again
	Promote  = "promote"  // deploy what another group of the application was given
	Pause    = "pause"    // let uploads wait
	Resume   = "resume"   // deploy the newest of those that wait
)

// Order is the content of an object.
type Order struct {
	Kind            string `json:"kind"`
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`
	// Key and VersionID are those of the artifact to deploy; none to pause and resume.
	Key       string `json:"key,omitempty"`
	VersionID string `json:"versionId,omitempty"`
	// From is the group that was given the artifact before; only to promote.
	From string `json:"from,omitempty"`
}

// Deploys says whether the order is for a deployment.
func (o Order) Deploys() bool { return o.Kind == Rollback || o.Kind == Promote }

// Parse reads an order, strictly: what has a field that is not known asks for
// something that nobody would do.
func Parse(text []byte) (o Order, err error) {
	if len(text) > MaxSize {
		return o, fmt.Errorf("it has more than %d bytes", MaxSize)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		return o, fmt.Errorf("it is no order: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return o, errors.New("want one JSON object, and nothing after it")
	}
	return o, o.check()
}

func (o Order) check() error {
	switch o.Kind {
	case Rollback, Promote, Pause, Resume:
	default:
		return fmt.Errorf("kind is %q, want %s, %s, %s or %s", o.Kind, Rollback, Promote, Pause, Resume)
	}
	for _, field := range []struct {
		name, value string
		longest     int
		wanted      bool
	}{
		{"application", o.Application, 100, true},
		{"deploymentGroup", o.DeploymentGroup, 100, true},
		{"key", o.Key, 1024, o.Deploys()},
		{"versionId", o.VersionID, 1024, o.Deploys()},
		{"from", o.From, 100, o.Kind == Promote},
	} {
		switch {
		case field.wanted && field.value == "":
			return fmt.Errorf("%s is missing, which %s needs", field.name, o.Kind)
		case !field.wanted && field.value != "":
			return fmt.Errorf("%s is %q, and %s has none", field.name, field.value, o.Kind)
		case len(field.value) > field.longest || !utf8.ValidString(field.value):
			return fmt.Errorf("%s has %d bytes, want UTF-8 of at most %d", field.name, len(field.value), field.longest)
		}
	}
	if o.From != "" && o.From == o.DeploymentGroup {
		return fmt.Errorf("from and deploymentGroup are both %q, want two groups", o.From)
	}
	return nil
}

// Key is where an order is written, by its group, a time and something that nobody
// else writes. Names are two segments whatever they hold.
func Key(o Order, at time.Time, random []byte) string {
	return Prefix + segment(o.Application) + "/" + segment(o.DeploymentGroup) + "/" + at.UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(random) + ".json"
}

// segment escapes a name from outside, so that it is one segment of a key.
func segment(name string) string { return strings.ReplaceAll(url.PathEscape(name), ".", "%2E") }

// RecordPrefix is that of the groups' records.
const RecordPrefix = "groups/"

// RecordKey is that of a group's record, which the functions keep.
func RecordKey(application, deploymentGroup string) string {
	return RecordPrefix + segment(application) + "/" + segment(deploymentGroup) + ".json"
}

// ID is what the state of an order is called: deployments/<id>.json. A job cannot
// choose it, as an upload's id has no dot.
func ID(key, versionID string) string {
	sum := sha256.Sum256([]byte(key + "\x00" + versionID))
	return "order." + hex.EncodeToString(sum[:16])
}

var operator = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]{1,300}$`)

// IsOperator says whether S3 has named somebody, such as AWS:AROAEXAMPLE:alice.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
func IsOperator(principal string) bool { return operator.MatchString(principal) }
