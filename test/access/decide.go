package access

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"gitlab-codedeploy/test/inputs"
)

// Decision is what the simulator says to a request.
type Decision struct {
	// Result is "Allowed", "ImplicitlyDenied" or "ExplicitlyDenied".
	Result string
	// Ignored are context keys that the action does not have.
	Ignored []string
	Error   string
}

// tokenKey is a context key of what an identity provider signed, such as
// "ci.example.com:sub".
var tokenKey = regexp.MustCompile(`"([a-z0-9-]+(?:\.[a-z0-9-]+)+):(aud|sub)":`)

// Decide asks the simulator, in a run of it for each processor. Equal questions are
// asked once: one mistake in a template leaves most of them as they are. root is the
// folder of the project, whose node_modules hold it.
func Decide(root string, simulations []Simulation) ([]Decision, error) {
	if err := inputs.Are(root, "test/access", "package-lock.json", "requirements-dev.lock"); err != nil {
		return nil, err
	}
	var asked []json.RawMessage
	place := map[string]int{}
	places := make([]int, len(simulations))
	for i, s := range simulations {
		question, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		at, known := place[string(question)]
		if !known {
			at = len(asked)
			place[string(question)], asked = at, append(asked, question)
		}
		places[i] = at
	}
	var runs errgroup.Group
	each := max(100, (len(asked)+runtime.NumCPU()-1)/runtime.NumCPU()) // for fewer, a start takes longer than the answers
	parts := slices.Collect(slices.Chunk(asked, each))
	answers := make([][]Decision, len(parts))
	for i, part := range parts {
		runs.Go(func() (err error) {
			answers[i], err = decide(root, part)
			return err
		})
	}
	if err := runs.Wait(); err != nil {
		return nil, err
	}
	decisions := make([]Decision, len(simulations))
	answered := slices.Concat(answers...)
	for i, at := range places {
		decisions[i] = answered[at]
	}
	return decisions, nil
}

func decide(root string, simulations []json.RawMessage) ([]Decision, error) {
	input, err := json.Marshal(simulations)
	if err != nil {
		return nil, err
	}
	// The simulator does not know the context keys that have a name of the
	// caller's choice behind a colon. Those with one behind a slash are compared
	// in the same way.
	input = bytes.ReplaceAll(input, []byte("kms:EncryptionContext:"), []byte("aws:PrincipalTag/EncryptionContext-"))
	// The issuer stays in the name: a token of another one has other keys.
	input = tokenKey.ReplaceAll(input, []byte(`"aws:PrincipalTag/$1-$2":`))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "node", "test/access/simulate.mjs")
	command.Dir = root
	command.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("the simulator (scripts/setup.sh test installs it): %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var decisions []Decision
	if err := json.Unmarshal(output, &decisions); err != nil {
		return nil, fmt.Errorf("the simulator's answer: %w", err)
	}
	if len(decisions) != len(simulations) {
		return nil, fmt.Errorf("the simulator answered %d of %d requests", len(decisions), len(simulations))
	}
	return decisions, nil
}

// managedScript prints policies that AWS wrote, of those that the emulator
// brings along. It reads the one file: importing all of the emulator takes
// seconds.
const managedScript = `
import importlib.util, json, runpy, sys
folder = importlib.util.find_spec("moto").submodule_search_locations[0]
known = json.loads(runpy.run_path(folder + "/iam/aws_managed_policies.py")["aws_managed_policies_data"])
json.dump({name: known[name]["Document"] for name in sys.argv[1:]}, sys.stdout)
`

// ManagedPolicies returns policies that AWS wrote, by name. root is the folder
// of the project, whose .venv holds them.
func ManagedPolicies(root string, names ...string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, ".venv/bin/python", append([]string{"-c", managedScript}, names...)...)
	command.Dir = root
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("AWS's managed policies (scripts/setup.sh test installs them): %w", err)
	}
	var policies map[string]any
	return policies, json.Unmarshal(output, &policies)
}
