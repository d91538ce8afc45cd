package status

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/lambda/internal/clip"
)

// Status is the content of a status object.
type Status struct {
	UploadID        string    `json:"uploadId"`
	State           State     `json:"state"`
	DeploymentID    string    `json:"deploymentId"`
	Application     string    `json:"application"`
	DeploymentGroup string    `json:"deploymentGroup"`
	Key             string    `json:"key"`
	VersionID       string    `json:"versionId"`
	Reason          string    `json:"reason"`    // one line
	UpdatedAt       time.Time `json:"updatedAt"` // UTC, milliseconds

	// Deployer is whose upload it is, as GitLab has signed it: project, ref, user and
	// pipelineUrl. It is there as soon as it is proven, and stays.
	trust.Deployer

	// Order is there where an operator has ordered what the state is about.
	Order Order `json:"order,omitzero"`

	// Group is there once it is known, and stays.
	Group Group `json:"group,omitzero"`

	// LogTail is the end of the log of an instance on which the deployment failed,
	// in lines.
	LogTail string `json:"logTail,omitzero"`

	// TrafficMoved is there while the deployment is InProgress and its new
	// instances have the traffic: the old ones are waited for.
	TrafficMoved bool `json:"trafficMoved,omitzero"`
	// GivenUp is there when the state is Rejected because the upload's message
	// was tried in vain for too long. Alone of all ends it can be revived.
	GivenUp bool `json:"givenUp,omitzero"`
}

// Order is what an operator has ordered, and who he is.
type Order struct {
	Kind     string `json:"kind"`     // rollback, promote, pause or resume
	Operator string `json:"operator"` // as AWS names him
	// FromVersionID is the version that ran before, and FromGroup the group whose
	// artifact is promoted.
	FromVersionID string `json:"fromVersionId,omitempty"`
	FromGroup     string `json:"fromGroup,omitempty"`
}

// Settled says whether the upload has its deployment, or never gets one.
func (s Status) Settled() bool { return s.DeploymentID != "" || s.Ended() }

// Ended says whether nothing comes after s.
func (s Status) Ended() bool { return s.State.Final() && !s.GivenUp }

// rank orders what may be said of one upload.
func (s Status) rank() int {
	switch {
	case s.GivenUp:
		return ranks[Waiting]
	case s.TrafficMoved && !s.State.Final():
		return movedRank
	}
	return ranks[s.State]
}

// Merge returns what is true after s when next is heard of: whichever is
// further on. The first final state stays, as none comes after it, and so does
// the first deployment. Only the reason of an end may come later than the end.
func (s Status) Merge(next Status) Status {
	switch {
	case s.State == "":
		return next
	case s.DeploymentID != "" && s.DeploymentID != next.DeploymentID:
		return s
	case s.rank() == ranks[Waiting] && next.rank() == ranks[Waiting]:
		return next
	case next.rank() > s.rank():
		return next
	case s.State.Final() && s.State == next.State && (s.Reason == "" || s.LogTail == "" && next.LogTail != ""):
		s.Reason, s.LogTail = next.Reason, next.LogTail
	}
	return s
}

// Bounds of an object: what is written stays far below what is read.
const (
	maxReason  = 1000
	maxLogTail = 4000
	maxObject  = 64 << 10
)

// encode returns the object of s. Its text is for people and shell scripts
// too, so <, > and & are not escaped.
func (s Status) encode() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

func decode(text []byte) (Status, error) {
	if len(text) > maxObject {
		return Status{}, fmt.Errorf("status object: more than %d bytes", maxObject)
	}
	var s Status
	if err := json.Unmarshal(text, &s); err != nil {
		return Status{}, fmt.Errorf("status object: %s", clip.Line(err.Error(), 200))
	}
	if ranks[s.State] == 0 || s.VersionID == "" {
		return Status{}, fmt.Errorf("status object: state %q, version %q", clip.Line(string(s.State), 100), clip.Line(s.VersionID, 100))
	}
	return s, nil
}

// Prefix and suffix of a status object's key.
const (
	Prefix = "deployments/"
	suffix = ".json"
)

// idPattern is what an id may be made of: with nothing else no key outside
// Prefix can be forged. S3 promises only that a version id is URL-ready text of
// up to 1,024 bytes; those seen so far fit.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html
var idPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// IDs lists the ids that the status of an object version may have, in the
// order in which they are tried: uploadID, which comes from outside and may
// have been used before, then the version's own, then one that no other
// version can have, neither by accident nor on purpose.
func IDs(uploadID, key, versionID string) []string {
	var ids []string
	for _, id := range []string{uploadID, versionID} {
		if idPattern.MatchString(id) && (len(ids) == 0 || ids[0] != id) {
			ids = append(ids, id)
		}
	}
	sum := sha256.Sum256([]byte(key + "\x00" + versionID))
	if own := "sha256." + hex.EncodeToString(sum[:]); len(ids) == 0 || ids[0] != own {
		ids = append(ids, own)
	}
	return ids
}
