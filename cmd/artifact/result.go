package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gitlab-codedeploy/internal/upload"
)

// result is the one line on stdout.
type result struct {
	UploadID        text  `json:"uploadId"`
	Bucket          text  `json:"bucket"`
	Key             text  `json:"key"`
	VersionID       text  `json:"versionId"` // null in a bucket without versions
	ETag            text  `json:"eTag"`
	SHA256          text  `json:"sha256"` // of the whole artifact, in hex
	Size            int64 `json:"size"`   // in bytes
	Application     text  `json:"application"`
	DeploymentGroup text  `json:"deploymentGroup"`
	*outcome
	DryRun bool `json:"dryRun,omitzero"`
}

// outcome is what --wait adds.
type outcome struct {
	State        text `json:"state"`
	DeploymentID text `json:"deploymentId"`
	Reason       text `json:"reason"`
}

func outcomeOf(s upload.State) *outcome {
	return &outcome{State: text(s.Name), DeploymentID: text(s.DeploymentID), Reason: text(s.Reason)}
}

// text is a string that is null in JSON while it is unknown.
type text string

// MarshalJSON leaves <, > and & as they are: people read the line, too.
func (t text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(string(t))
	return out.Bytes(), err
}

// print writes a result. One that nobody got is no success.
func (p program) print(result any) error {
	var line strings.Builder
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(result); err != nil {
		return err
	}
	if _, err := p.stdout.Write([]byte(line.String())); err != nil {
		return fmt.Errorf("the result cannot be written: %w", err)
	}
	return nil
}
