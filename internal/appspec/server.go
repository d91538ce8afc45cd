package appspec

import (
	"slices"
	"strings"
)

const topKeys = "version, os, files, hooks, permissions or file_exists_behavior"

// checkServer judges an AppSpec file for servers, section by section as application_specification.rb reads it, and then
// what the installer and the hooks would do with the folder.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure.html
func checkServer(r *report, b *bundle, root *value) error {
	checkVersion(r, root)
	windows := checkOS(r, root.get("os"))
	for _, e := range root.entries {
		if e.key.kind == refused || slices.Contains([]string{"version", "os", "files", "hooks", "permissions", "file_exists_behavior"}, e.key.text) {
			continue
		}
		if slices.Contains(events, e.key.text) {
			r.warn(e.key, "%s at the top level runs nothing: the agent looks for it under hooks", quote(e.key.text))
			continue
		}
		r.warn(e.key, "unknown key %s, want %s: the agent passes over it", quote(e.key.text), topKeys)
	}
	if behavior := root.get("file_exists_behavior"); !behavior.missing() && behavior.kind != refused &&
		!(behavior.kind == text && slices.Contains([]string{"DISALLOW", "OVERWRITE", "RETAIN"}, behavior.text)) {
		r.refuse(behavior, "file_exists_behavior: got %s, want DISALLOW, OVERWRITE or RETAIN", behavior)
	}

	s := &server{report: r, bundle: b, windows: windows}
	if err := s.checkHooks(root.get("hooks")); err != nil {
		return err
	}
	installed, err := s.checkFiles(root.get("files"), !root.get("permissions").falsy())
	if err != nil {
		return err
	}
	s.checkPermissions(root.get("permissions"), installed)
	return nil
}

// server is an AppSpec file for servers on its way through the checks.
type server struct {
	*report
	bundle  *bundle
	windows bool
}

// checkVersion: the agent compares with the number 0.0, so that "0.0" in quotes is another value.
func checkVersion(r *report, root *value) {
	version := root.get("version")
	switch {
	case version.missing():
		r.refuse(version, "version is missing, want 0.0")
	case version.kind == refused, version.kind == integer && version.number == 0, version.kind == float && version.number == 0:
	case version.kind == text && !version.plain:
		r.refuse(version, "version: got %s in quotes, want 0.0 without quotes", version)
	default:
		r.refuse(version, "version: got %s, want 0.0 without quotes", version)
	}
}

func checkOS(r *report, system *value) (windows bool) {
	switch {
	case system.missing():
		r.refuse(system, "os is missing, want linux")
	case system.kind == refused:
	case system.kind == text && system.text == "windows":
		// https://docs.aws.amazon.com/codedeploy/latest/userguide/deployments-create-cli.html
		r.refuse(system, "os: got windows, want linux: CodeDeploy unpacks no tar archives on Windows")
		return true
	case system.kind != text || system.text != "linux":
		r.refuse(system, "os: got %s, want linux", system)
	}
	return false
}

// slashes lets a path of Windows be looked up here.
func (s *server) slashes(name string) string {
	if s.windows {
		return strings.ReplaceAll(name, `\`, "/")
	}
	return name
}

// known warns about the keys of an entry that the agent passes over.
func (r *report) known(v *value, what string, keys ...string) {
	for _, e := range v.entries {
		if e.key.kind != refused && !slices.Contains(keys, e.key.text) {
			r.warn(e.key, "unknown key %s in %s, want %s: the agent passes over it", quote(e.key.text), what, strings.Join(keys, ", "))
		}
	}
}

// elementsOf are the entries of a list. An empty mapping is one for the agent, and none for the agent that is written in Rust.
func (r *report) elementsOf(v *value, what string) ([]*value, bool) {
	list, ok := v.elements()
	if ok && v.kind == mapping {
		r.warn(v, "%s: got {}, which other agents refuse; want a list", what)
	}
	return list, ok
}
