package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requirements are the rows of docs/requirements.md, by number from 1. A row
// keeps its number: the names of tests carry it.
var requirements = []string{
	"Account A has one VPC: a private subnet for GitLab, and public subnets in two zones, because a load balancer needs two.",
	"The private subnet reaches the internet through one NAT gateway with a fixed address, so that hosts can install packages. Nothing reaches them that way.",
	"AWS's own services are reached inside the network: three interface endpoints for Systems Manager, and one for S3 whose id account B admits.",
	"Security groups let through what is drawn and nothing else: the load balancer to GitLab on port 80, the private subnet to the endpoints on 443.",
	"The GitLab server is private: no public address, no key pair, no SSH. Session Manager is the only way in, and nothing replaces the server or its data by accident.",
	"The load balancer ends TLS with a certificate of ACM, redirects HTTP, checks GitLab's sign-in page, and admits only the configured ranges.",
	"One command says whether Session Manager reaches the hosts, and what is wrong when it does not.",
	"GitLab is upgraded stop by stop, from 13.10.2 to 15.4.6. No stop is left out, none is entered with unfinished migrations, and an interrupted upgrade is resumed.",
	"Account B has the artifact bucket. It takes uploads through account A's endpoint, and refuses all others.",
	"GitLab's data can be moved from an old server: a complete backup with its secrets goes to S3, and is restored on the very same version and edition only.",
	"The runner has a host of its own, with Docker and GitLab Runner of the server's version.",
	"After a restore the tokens that register runners are replaced, all in one transaction.",
	"The runner is registered, and its jobs upload an artifact that CodeDeploy can open, together with the deployment group that it is for.",
	"Each uploaded artifact starts one blue/green deployment in the deployment group that it names: none is lost, none is repeated, the newest comes last.",
	"A push goes all the way to its deployment, on a laptop without an AWS account, by one command. So do the operator's commands.",
}

var (
	// testRows reads the rows at the beginning of a test's name: TestS5_S9_…,
	// TestGolden_S1toS14, TestConfigS6….
	testRows   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)(?:Golden_?|Config)?((?:S\d+(?:_|to)?)*)\w*)\(`)
	rowOrRange = regexp.MustCompile(`S(\d+)(?:toS(\d+))?`)
)

// TestGolden_theDocsListTheTestsOfEveryRequirement compares docs/requirements.md
// with the names of the tests.
func TestGolden_theDocsListTheTestsOfEveryRequirement(t *testing.T) {
	page := requirementsDocument(t, testsByRow(t))
	compareGolden(t, "../docs/requirements.md", page)
}

// proof is a test, and the file that it is in.
type proof struct {
	file, name string
	// general means that it is about a range of rows, as TestS1toS14_… is.
	general bool
}

// testsByRow returns the tests of each requirement, by file and in its order.
func testsByRow(t *testing.T) map[int][]proof {
	t.Helper()
	found := map[int][]proof{}
	// Not the folder above them: what other steps write into it would change the result.
	for _, root := range []string{"../cmd", "../constructs", "../internal", "../lambda", "../stacks", "../test"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, "_test.go") {
				return nil
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range testRows.FindAllStringSubmatch(string(raw), -1) {
				for _, row := range rowsOf(t, match[2]) {
					found[row] = append(found[row], proof{filepath.ToSlash(path), match[1], strings.Contains(match[2], "to")})
				}
			}
			return nil
		}))
	}
	return found
}

// rowsOf returns the numbers of "S5_S9_" or "S1toS14".
func rowsOf(t *testing.T, text string) []int {
	t.Helper()
	var rows []int
	for _, match := range rowOrRange.FindAllStringSubmatch(text, -1) {
		first, err := strconv.Atoi(match[1])
		require.NoError(t, err)
		last := first
		if match[2] != "" {
			last, err = strconv.Atoi(match[2])
			require.NoError(t, err)
		}
		for row := first; row <= last; row++ {
			rows = append(rows, row)
		}
	}
	return rows
}

// requirementsDocument returns docs/requirements.md. A row without a test of its own
// fails the test, and so does a test of a row that is not there.
func requirementsDocument(t *testing.T, tests map[int][]proof) string {
	t.Helper()
	for row, proofs := range tests {
		assert.True(t, row >= 1 && row <= len(requirements), "%s proves row S%d, which does not exist", proofs[0].name, row)
	}
	var table, lists strings.Builder
	for i, text := range requirements {
		row := i + 1
		assert.True(t, slices.ContainsFunc(tests[row], func(p proof) bool { return !p.general }), "no test's name begins with S%d", row)
		byFile := map[string][]string{}
		var files []string
		for _, p := range tests[row] {
			if byFile[p.file] == nil {
				files = append(files, p.file)
			}
			byFile[p.file] = append(byFile[p.file], p.name)
		}
		slices.Sort(files)
		fmt.Fprintf(&table, "| S%d | %s | [%s](#s%d) |\n", row, text, counted(len(tests[row]), "test"), row)
		fmt.Fprintf(&lists, "\n### S%d\n\n", row)
		for _, file := range files {
			fmt.Fprintf(&lists, "- [%s](%s)\n", strings.TrimPrefix(file, "../"), file)
			for _, name := range byFile[file] {
				fmt.Fprintf(&lists, "  - `%s`\n", name)
			}
		}
	}
	return `# Requirements

What this project has to do, a row each, and the tests that prove it. Made from the names of the tests, which begin with the
rows that they prove: ` + "`go test ./test -run Golden -update`" + ` writes it anew. ` + "`make test`" + ` runs all of them. The texts are in
[test/requirements_doc_test.go](../test/requirements_doc_test.go).

Account A is GitLab's; account B has the artifacts, the functions and CodeDeploy.

| row | what must hold | proven by |
|---|---|---|
` + table.String() + "\n## The tests\n" + lists.String()
}

// counted returns "1 test" or "2 tests".
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
