package emulator

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ownVariables begin the names of variables that choose accounts, endpoints,
// settings or repositories. A child gets only what the emulator says: a laptop
// has profiles of real accounts, and a test may run inside a pipeline or a Git hook.
var ownVariables = []string{"AWS_", "CDK_", "MOTO_", "CI_", "GITLAB_", "GIT_", "ARTIFACT_", "WERKZEUG_", "DOCKER_"}

// childEnvironment is this program's environment without ownVariables, with the
// repository's tools first on PATH, and with the given variables.
func childEnvironment(root string, variables ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		belongs := slices.ContainsFunc(ownVariables, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if !belongs && !slices.Contains([]string{"PATH", "CI", "NO_PROXY", "no_proxy"}, name) {
			env = append(env, v)
		}
	}
	path := []string{filepath.Join(root, "node_modules", ".bin"), filepath.Join(root, ".venv", "bin"), os.Getenv("PATH")}
	env = append(env,
		"PATH="+strings.Join(path, string(filepath.ListSeparator)),
		// A company's proxy cannot reach this machine's loopback.
		"NO_PROXY="+loopback(os.Getenv("NO_PROXY")), "no_proxy="+loopback(os.Getenv("no_proxy")),
		// Without it an SDK that finds no credentials asks the machine it runs on.
		"AWS_EC2_METADATA_DISABLED=true",
	)
	return append(env, variables...)
}

// loopback adds this machine to a list of hosts that need no proxy.
func loopback(list string) string { return strings.TrimPrefix(list+",localhost,127.0.0.1", ",") }

// tools are the programs that `make setup` installs and the emulator starts.
var tools = []string{
	".venv/bin/python3", ".venv/bin/moto_server", ".venv/bin/aws", "node_modules/.bin/node", "node_modules/.bin/cdk", "node_modules/.bin/gitlab-ci-local",
}

// CheckTools says what is missing of the tools of `make setup`.
func CheckTools(root string) error {
	var missing []string
	for _, tool := range tools {
		if _, err := os.Stat(filepath.Join(root, tool)); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s not found: run make setup", strings.Join(missing, ", "))
	}
	return nil
}
