// Package allowlist knows which deployment groups artifacts may be deployed to, and by whom.
package allowlist

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"gitlab-codedeploy/internal/trust"
)

// File lies in a function's package rather than in its environment, which
// Lambda limits to 4 KB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const File = "deployment-groups.json"

// Pair is a CodeDeploy application and one of its deployment groups.
type Pair struct {
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`
}

// List holds the pairs that an artifact may be deployed to, each with the rule that says by whom.
type List map[Pair]trust.Rule

// Has says whether a pair is on the list.
func (l List) Has(pair Pair) bool {
	_, has := l[pair]
	return has
}

// Load reads a JSON array of pairs with their rules. An empty list is an error: the
// function could only reject.
func Load(path string) (List, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("allow-list: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var pairs []struct {
		Pair
		trust.Rule
	}
	if err := decoder.Decode(&pairs); err != nil {
		return nil, fmt.Errorf(`allow-list %s: %w; want [{"application":"…","deploymentGroup":"…"}]`, path, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("allow-list %s: want one array and nothing after it", path)
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("allow-list %s names no deployment group", path)
	}
	list := make(List, len(pairs))
	for i, pair := range pairs {
		if pair.Application == "" || pair.DeploymentGroup == "" {
			return nil, fmt.Errorf("allow-list %s: entry %d has an empty application or deploymentGroup", path, i+1)
		}
		list[pair.Pair] = pair.Rule
	}
	return list, nil
}
