// Package platforms checks the operator's program for the systems that nobody runs its
// tests on.
package platforms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/passes/assign"
	"golang.org/x/tools/go/analysis/passes/atomic"
	"golang.org/x/tools/go/analysis/passes/bools"
	"golang.org/x/tools/go/analysis/passes/buildtag"
	"golang.org/x/tools/go/analysis/passes/composite"
	"golang.org/x/tools/go/analysis/passes/copylock"
	"golang.org/x/tools/go/analysis/passes/errorsas"
	"golang.org/x/tools/go/analysis/passes/httpresponse"
	"golang.org/x/tools/go/analysis/passes/ifaceassert"
	"golang.org/x/tools/go/analysis/passes/loopclosure"
	"golang.org/x/tools/go/analysis/passes/nilfunc"
	"golang.org/x/tools/go/analysis/passes/printf"
	"golang.org/x/tools/go/analysis/passes/shift"
	"golang.org/x/tools/go/analysis/passes/sigchanyzer"
	"golang.org/x/tools/go/analysis/passes/stdmethods"
	"golang.org/x/tools/go/analysis/passes/stringintconv"
	"golang.org/x/tools/go/analysis/passes/structtag"
	"golang.org/x/tools/go/analysis/passes/unmarshal"
	"golang.org/x/tools/go/analysis/passes/unusedresult"
	"golang.org/x/tools/go/packages"

	"gitlab-codedeploy/test/inputs"
)

const module = "gitlab-codedeploy"

// vet are the analyses of go vet that look at what a program does. go vet itself would
// compile all of the SDK for each system, for minutes: here the code of others is only
// declared, and the project's own is checked whole.
// https://pkg.go.dev/cmd/vet
var vet = []*analysis.Analyzer{
	assign.Analyzer, atomic.Analyzer, bools.Analyzer, buildtag.Analyzer, composite.Analyzer, copylock.Analyzer,
	errorsas.Analyzer, httpresponse.Analyzer, ifaceassert.Analyzer, loopclosure.Analyzer, nilfunc.Analyzer, printf.Analyzer,
	shift.Analyzer, sigchanyzer.Analyzer, stdmethods.Analyzer, stringintconv.Analyzer, structtag.Analyzer, unmarshal.Analyzer,
	unusedresult.Analyzer,
}

func TestTheOperatorsProgramCompilesAndVetsEverywhere(t *testing.T) {
	require.NoError(t, inputs.Are("../.."))
	for _, platform := range []string{"darwin/arm64", "darwin/amd64", "windows/amd64"} {
		t.Run(platform, func(t *testing.T) {
			assert.Empty(t, problems(t, platform, "../..", "./cmd/ops"))
		})
	}
}

// What does not compile or vet is seen.
func TestMistakesOfOneSystemAreSeen(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":           "module gitlab-codedeploy\n",
		"main.go":          "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(signal()) }\n",
		"unix.go":          "//go:build unix\n\npackage main\n\nimport \"syscall\"\n\nfunc signal() syscall.Signal { return syscall.SIGUSR1 }\n",
		"other_windows.go": "package main\n\nimport \"syscall\"\n\nfunc signal() syscall.Signal { return syscall.SIGUSR1 }\n",
	} {
		require.NoError(t, os.WriteFile(dir+"/"+name, []byte(text), 0o600))
	}
	assert.Empty(t, problems(t, "darwin/arm64", dir, "."))
	assert.Contains(t, strings.Join(problems(t, "windows/amd64", dir, "."), "\n"), "undefined: syscall.SIGUSR1")

	vets := "package main\n\nimport \"fmt\"\n\nfunc signal() string { return fmt.Sprintf(\"%d\", \"x\") }\n"
	require.NoError(t, os.WriteFile(dir+"/other_windows.go", []byte(vets), 0o600))
	assert.Contains(t, strings.Join(problems(t, "windows/amd64", dir, "."), "\n"), "fmt.Sprintf format %d has arg \"x\" of wrong type string")
}

// problems are what is wrong with a program and the packages of this module below it, on a platform.
func problems(t *testing.T, platform, dir, program string) []string {
	t.Helper()
	system, processor, _ := strings.Cut(platform, "/")
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.LoadAllSyntax | packages.NeedModule, Dir: dir, Env: append(os.Environ(), "GOOS="+system, "GOARCH="+processor, "CGO_ENABLED=0"),
		ParseFile: parse,
	}, program)
	require.NoError(t, err)
	var found []string
	var own []*packages.Package
	packages.Visit(loaded, nil, func(p *packages.Package) {
		p.IllTyped = false
		if p.PkgPath != module && !strings.HasPrefix(p.PkgPath, module+"/") {
			p.Errors = nil // for bodies that are missing
			return
		}
		own = append(own, p)
		for _, problem := range p.Errors {
			found = append(found, problem.Error())
		}
	})
	require.NotEmpty(t, own)
	if len(found) > 0 {
		return found // analyses want code that compiles
	}
	graph, err := checker.Analyze(vet, own, nil)
	require.NoError(t, err)
	for action := range graph.All() {
		if !action.IsRoot {
			continue
		}
		require.NoError(t, action.Err)
		for _, diagnostic := range action.Diagnostics {
			found = append(found, action.Package.Fset.Position(diagnostic.Pos).String()+": "+diagnostic.Message)
		}
	}
	return found
}

// parse leaves the bodies of others' functions out: their declarations are enough to check what calls them.
func parse(set *token.FileSet, name string, text []byte) (*ast.File, error) {
	file, err := parser.ParseFile(set, name, text, parser.AllErrors|parser.ParseComments|parser.SkipObjectResolution)
	if file != nil && (strings.Contains(name, "@") || strings.Contains(name, "/src/")) {
		for _, declaration := range file.Decls {
			if f, is := declaration.(*ast.FuncDecl); is {
				f.Body = nil
			}
		}
	}
	return file, err
}
