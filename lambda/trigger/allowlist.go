package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Pair is a CodeDeploy application and one of its deployment groups.
type Pair struct {
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`
}

// AllowList holds the pairs that an artifact may be deployed to.
type AllowList map[Pair]bool

// LoadAllowList reads a JSON array of pairs. An empty list is an error: the
// function could only reject.
func LoadAllowList(path string) (AllowList, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("allow-list: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var pairs []Pair
	if err := decoder.Decode(&pairs); err != nil {
		return nil, fmt.Errorf(`allow-list %s: %w; want [{"application":"…","deploymentGroup":"…"}]`, path, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("allow-list %s: want one array and nothing after it", path)
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("allow-list %s names no deployment group", path)
	}
	list := make(AllowList, len(pairs))
	for i, pair := range pairs {
		if pair.Application == "" || pair.DeploymentGroup == "" {
			return nil, fmt.Errorf("allow-list %s: entry %d has an empty application or deploymentGroup", path, i+1)
		}
		list[pair] = true
	}
	return list, nil
}
