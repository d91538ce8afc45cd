package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/licensecheck"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/inputs"
)

// linkable are the licences, by SPDX's ids, of what may be part of a program that
// this project hands on: all that they ask for is that their text travels along.
var linkable = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0"}

// usable are those of what is only started, by a developer or a test. It is part of
// nothing that leaves the checkout.
var usable = append([]string{"MIT OR Apache-2.0"}, linkable...)

// acceptedTools are packages with another licence, and why they may be used.
var acceptedTools = map[string]string{
	"@cloud-copilot/iam-policy":   "AGPL-3.0-or-later: part of iam-simulate",
	"@cloud-copilot/iam-simulate": "AGPL-3.0-or-later: tests ask it what a policy allows; no program of this project contains it or offers it over a network",
	"@cloud-copilot/iam-utils":    "AGPL-3.0-or-later: part of iam-simulate",
}

// TestTheLicenceIsTheOfficialText: a changed word would be another licence.
func TestTheLicenceIsTheOfficialText(t *testing.T) {
	sum := sha256.Sum256([]byte(read(t, "LICENSE")))
	assert.Equal(t, "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30", fmt.Sprintf("%x", sum),
		"LICENSE is not https://www.apache.org/licenses/LICENSE-2.0.txt")
}

// TestGolden_theDocsListEveryThirdPartyLicence compares docs/third-party.md with
// the licence files of the modules and packages themselves.
func TestGolden_theDocsListEveryThirdPartyLicence(t *testing.T) {
	require.NoError(t, inputs.Are(".."))
	linked := linkedModules(t)
	compareGolden(t, "../docs/third-party.md", thirdPartyPage(t, linked, otherModules(t, linked)))
}

// module is a Go module, and how much of it is used.
type module struct {
	Path, Version string

	// Programs are those that packages of it are linked into.
	Programs map[string]bool

	// Files are the licences and notices of these packages: those of their folders, and
	// of all above them up to the module's.
	Files map[string]bool
}

// linkedModules returns what is linked into the programs and functions, on any
// system that they are built for, by module path. The standard library is one.
func linkedModules(t *testing.T) map[string]*module {
	linked := map[string]*module{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		env := []string{"GOOS=" + system, "GOARCH=amd64", "CGO_ENABLED=0"}
		programs := []string{"./cmd/..."}
		if system == "linux" {
			programs = append(programs, "./lambda/...")
		}
		packages := listPackages(t, env, append([]string{"-tags", "lambda.norpc"}, programs...)...)
		for _, program := range packages {
			if program.Name != "main" {
				continue
			}
			for _, dep := range program.Deps {
				packages[dep].addTo(t, linked, strings.TrimPrefix(program.ImportPath, "gitlab-codedeploy/"))
			}
		}
	}
	require.NotEmpty(t, linked)
	return linked
}

// otherModules returns what only the CDK app, the tests and the tools use.
func otherModules(t *testing.T, linked map[string]*module) map[string]*module {
	others := map[string]*module{}
	for user, packages := range map[string][]string{"the CDK app": {"."}, "tests": {"-test", "./..."}, "tools": {"tool"}} {
		for _, pkg := range listPackages(t, nil, packages...) {
			pkg.addTo(t, others, user)
		}
	}
	maps.DeleteFunc(others, func(path string, _ *module) bool { return linked[path] != nil })
	return others
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath, Name, Dir, Root string
	Standard                    bool
	Deps                        []string
	Module                      *struct {
		Path, Version, Dir string
		Main               bool
	}
}

// listPackages returns the packages and all that they import, by their paths.
func listPackages(t *testing.T, env []string, packages ...string) map[string]goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Name,Dir,Root,Standard,Deps,Module"}, packages...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", cmd, &stderr)
	found := map[string]goPackage{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg goPackage
		err := decoder.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		found[pkg.ImportPath] = pkg
	}
}

// licenceName is how the files are named that hold a licence, or what a licence
// wants to be told.
var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([-_.].*)?$`)

// addTo adds a package that a program uses to its module.
func (p goPackage) addTo(t *testing.T, modules map[string]*module, program string) {
	path, version, root, dir := "Go's standard library", "", p.Root, p.Dir
	switch {
	case p.Standard:
		dir = root // Below it lies what is not linked: a module of BoringSSL.
	case p.Module == nil || p.Module.Main:
		return
	default:
		path, version, root = p.Module.Path, p.Module.Version, p.Module.Dir
	}
	m := modules[path]
	if m == nil {
		m = &module{Path: path, Version: version, Programs: map[string]bool{}, Files: map[string]bool{}}
		modules[path] = m
	}
	m.Programs[program] = true
	for ; len(dir) >= len(root); dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, entry := range entries {
			if licenceName.MatchString(entry.Name()) && entry.Type().IsRegular() && filepath.Ext(entry.Name()) != ".go" {
				m.Files[filepath.Join(dir, entry.Name())] = true
			}
		}
	}
}

// isNotice: it grants nothing, it only has to travel along.
func isNotice(file string) bool {
	name := strings.ToLower(filepath.Base(file))
	return strings.HasPrefix(name, "notice") || strings.HasSuffix(name, "-summary")
}

// licences returns the ids of a module's licences, and the texts of its files.
func (m *module) licences(t *testing.T) (ids, texts []string) {
	for _, file := range slices.Sorted(maps.Keys(m.Files)) {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		text := strings.TrimRight(strings.ReplaceAll(string(raw), "\r\n", "\n"), " \n") + "\n"
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
		if isNotice(file) {
			continue
		}
		found, err := licencesOf(raw)
		assert.NoError(t, err, file)
		ids = append(ids, found...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	assert.NotEmpty(t, ids, "%s has no licence", m.Path)
	return ids, texts
}

// licencesOf returns the ids of the licences in a text. Less than three quarters of
// known text is an error: pkg.go.dev draws the line there, too
// (https://pkg.go.dev/license-policy).
func licencesOf(text []byte) ([]string, error) {
	coverage := licensecheck.Scan(text)
	if coverage.Percent < 75 {
		return nil, fmt.Errorf("%.0f%% of it are known licences, want 75%%", coverage.Percent)
	}
	var ids []string
	for _, match := range coverage.Match {
		if !match.IsURL {
			ids = append(ids, match.ID)
		}
	}
	return ids, nil
}

const thirdPartyHeader = `# Third-party licences

This project is under the [Apache License 2.0](../LICENSE). What it is built from is listed here, from the licence files of the
modules themselves: ` + "`go test ./test -run Golden -update`" + ` writes this page anew. A licence that is not on the test's
[list](../test/third_party_test.go) fails it.

## Linked into the programs and functions

Whoever hands on one of these programs hands on the [texts](#texts) as well. Of a module only the packages count that are linked, on
Linux, macOS or Windows.

| module | version | licence | linked into |
|---|---|---|---|
`

const usedHeader = `
## Only used: the CDK app, tests and tools

Nothing of this is part of a program that leaves the checkout.

| Go module | version | licence | used by |
|---|---|---|---|
`

func thirdPartyPage(t *testing.T, linked, others map[string]*module) string {
	var page strings.Builder
	page.WriteString(thirdPartyHeader)
	users := map[string][]string{}
	for _, path := range slices.Sorted(maps.Keys(linked)) {
		m := linked[path]
		ids, texts := m.licences(t)
		for _, id := range ids {
			assert.Contains(t, linkable, id, "the licence of %s", path)
		}
		for _, text := range texts {
			users[text] = append(users[text], path)
		}
		fmt.Fprintf(&page, "| %s | %s | %s | %s |\n", path, m.Version, strings.Join(ids, ", "), joined(m.Programs))
	}
	page.WriteString(usedHeader)
	for _, path := range slices.Sorted(maps.Keys(others)) {
		m := others[path]
		ids, _ := m.licences(t)
		for _, id := range ids {
			assert.Contains(t, usable, id, "the licence of %s", path)
		}
		fmt.Fprintf(&page, "| %s | %s | %s | %s |\n", path, m.Version, strings.Join(ids, ", "), joined(m.Programs))
	}
	page.WriteString("\n| npm package | version | licence |\n|---|---|---|\n")
	page.WriteString(npmRows(t))
	page.WriteString("\n| Python package, without those that it needs itself | version | licence |\n|---|---|---|\n")
	page.WriteString(pythonRows(t))
	page.WriteString("\n## Texts\n")
	for i, text := range slices.SortedFunc(maps.Keys(users), func(a, b string) int {
		return strings.Compare(users[a][0]+a, users[b][0]+b)
	}) {
		fmt.Fprintf(&page, "\n### Text %d\n\n%s\n\n```text\n%s```\n", i+1, strings.Join(users[text], ", "), text)
	}
	return page.String()
}

// npmRows are the packages of package-lock.json, which names the licence of each.
func npmRows(t *testing.T) string {
	var lock struct {
		Packages map[string]struct {
			Version, License string
			Peer             bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "package-lock.json")), &lock))
	rows := map[string]bool{}
	for path, pkg := range lock.Packages {
		if path == "" || pkg.Peer {
			continue // this project, and what the set-up leaves out
		}
		name := path[strings.LastIndex(path, "node_modules/")+len("node_modules/"):]
		licence := pkg.License
		if reason, accepted := acceptedTools[name]; accepted {
			before, _, _ := strings.Cut(reason, ":")
			assert.Equal(t, before, licence, "the licence of %s", name)
			licence = reason
		} else {
			assert.Contains(t, usable, licence, "the licence of %s", name)
		}
		rows[fmt.Sprintf("| %s | %s | %s |\n", name, pkg.Version, licence)] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(rows)), "")
}

// pythonRows are the packages that this project asks for by name, with the licences
// that the installed ones say they have.
func pythonRows(t *testing.T) string {
	form := regexp.MustCompile(`(?m)^([a-z-]+)(?:\[[a-z]+\])?==(\S+)$`)
	var rows []string
	for file, folder := range map[string]string{"requirements-uv.txt": ".venv", "requirements-dev.txt": ".venv", "requirements-checkov.txt": ".venv-checkov"} {
		found := form.FindAllStringSubmatch(read(t, file), -1)
		require.NotEmpty(t, found, file)
		for _, pkg := range found {
			name, version := pkg[1], pkg[2]
			raw, err := os.ReadFile(filepath.Join(sitePackages(t, folder), strings.ReplaceAll(name, "-", "_")+"-"+version+".dist-info", "METADATA"))
			require.NoError(t, err, "%s %s is not installed: make setup-test", name, version)
			licence := regexp.MustCompile(`(?m)^License(?:-Expression)?: (.+)$`).FindStringSubmatch(string(raw))
			require.NotNil(t, licence, "%s names no licence", name)
			id := strings.ReplaceAll(licence[1], "Apache License 2.0", "Apache-2.0")
			assert.Contains(t, usable, id, "the licence of %s", name)
			rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", name, version, id))
		}
	}
	slices.Sort(rows)
	return strings.Join(rows, "")
}

// sitePackages is where a virtual environment has its packages. It is not looked at
// itself: a package that is imported for the first time leaves its compiled modules in
// its folder there, and this test's result would be forgotten.
func sitePackages(t *testing.T, environment string) string {
	t.Helper()
	pythons, err := filepath.Glob(filepath.Join("..", environment, "lib", "python3*"))
	require.NoError(t, err)
	require.Len(t, pythons, 1, "%s is not installed: make setup-test", environment)
	return filepath.Join(pythons[0], "site-packages")
}

func joined(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), ", ") }

// TestLicencesThatNobodyKnowsAreRefused: the list is worth what its reader notices.
func TestLicencesThatNobodyKnowsAreRefused(t *testing.T) {
	_, err := licencesOf([]byte("You may use this on Tuesdays, and nobody else may."))
	assert.EqualError(t, err, "0% of it are known licences, want 75%")
	ids, err := licencesOf([]byte(read(t, "LICENSE")))
	require.NoError(t, err)
	assert.Equal(t, []string{"Apache-2.0"}, ids)
	assert.NotContains(t, linkable, "GPL-3.0")
	assert.NotContains(t, usable, "AGPL-3.0-or-later")
}
