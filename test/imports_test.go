package test

import (
	"cmp"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/inputs"
)

const ownModule = "gitlab-codedeploy"

// layers are the folders of packages, and which packages of this module each of them may import. A package that is in none of
// them fails.
var layers = map[string][]string{
	"main":       {"stacks", "constructs", "internal/config", "internal/gobuild"},
	"stacks":     {"constructs", "internal/config"},
	"constructs": {"internal/gobuild"}, // it only compiles
	"lambda":     {"lambda", "internal/trust", "internal/order", "internal/httpbody"},
	"cmd":        {"internal"},
	"internal":   {"internal"},
	"test":       {""},
}

// The libraries of others that some must not need, themselves or by what they import.
var (
	cdkLibraries = []string{"github.com/aws/aws-cdk-go", "github.com/aws/constructs-go", "github.com/aws/jsii-runtime-go", "github.com/cdklabs"}
	banned       = map[string][]string{
		"main":             {"github.com/aws/aws-sdk-go-v2", "github.com/cdklabs/cdk-nag-go"},
		"stacks":           {"github.com/aws/aws-sdk-go-v2"},
		"constructs":       {"github.com/aws/aws-sdk-go-v2"},
		"lambda":           cdkLibraries,
		"cmd":              cdkLibraries,
		"internal":         cdkLibraries,
		"internal/trust":   {"github.com/aws"},
		"internal/config":  {"github.com/aws"},
		"internal/appspec": {"github.com/aws", ownModule + "/internal/config"},
		"internal/bundle":  {"github.com/aws", ownModule + "/"},
		"internal/upload":  {ownModule + "/internal/config"},
		"cmd/artifact":     {"github.com/aws/aws-sdk-go-v2/service/codedeploy", ownModule + "/internal/config"},
	}
)

// importer is a package with what it imports, and all that those import, too.
type importer struct {
	path          string // from the module on; "main" for its own
	imports, deps []string
}

func (p importer) layer() string {
	layer, _, _ := strings.Cut(p.path, "/")
	return layer
}

// forTests says whether a package is there for tests alone, as net/http/httptest is.
func forTests(path string) bool {
	return strings.HasPrefix(path, ownModule+"/test/") || path == ownModule+"/test" ||
		strings.HasPrefix(path, ownModule) && strings.HasSuffix(path, "test") || strings.HasPrefix(path, "github.com/stretchr/testify")
}

// misplaced are the imports of packages that point the wrong way.
func misplaced(packages []importer) []string {
	var faults []string
	for _, p := range packages {
		allowed, known := layers[p.layer()]
		if !known {
			faults = append(faults, p.path+" is in no layer")
		}
		own := ownModule + "/" + p.path
		for _, imported := range p.imports {
			path, ours := strings.CutPrefix(imported, ownModule+"/")
			if ours && !slices.ContainsFunc(allowed, func(a string) bool { return a == "" || path == a || strings.HasPrefix(path, a+"/") }) {
				faults = append(faults, p.path+" imports "+imported)
			}
			if forTests(imported) && !forTests(own) {
				faults = append(faults, p.path+" imports "+imported+", which is for tests")
			}
		}
		for _, dep := range p.deps {
			for who, prefixes := range banned {
				if (p.path == who || strings.HasPrefix(p.path, who+"/")) && dep != own &&
					slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(dep, prefix) }) {
					faults = append(faults, p.path+" needs "+dep)
				}
			}
		}
	}
	return faults
}

// TestImportsPointOneWay keeps main → stacks → {constructs, internal/config}, cmd → internal → AWS SDK,
// lambda → {internal/trust, internal/order, internal/httpbody, AWS SDK}, and all that runs free of the CDK and of what is for tests.
func TestImportsPointOneWay(t *testing.T) {
	require.NoError(t, inputs.Are(".."))
	list := exec.Command("go", "list", "-f", `{{.ImportPath}}|{{join .Imports " "}}|{{join .Deps " "}}`, "./...")
	list.Dir = ".."
	out, err := list.Output()
	require.NoError(t, err)
	var packages []importer
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(strings.TrimSpace(line), "|")
		require.Len(t, parts, 3, line)
		path := cmp.Or(strings.TrimPrefix(strings.TrimPrefix(parts[0], ownModule), "/"), "main")
		packages = append(packages, importer{path, strings.Fields(parts[1]), strings.Fields(parts[2])})
	}
	require.Greater(t, len(packages), 50)
	assert.Empty(t, misplaced(packages))
}

func TestImportsThatPointTheOtherWayAreFound(t *testing.T) {
	for want, p := range map[string]importer{
		"internal/remote imports gitlab-codedeploy/cmd/ops":                              {path: "internal/remote", imports: []string{ownModule + "/cmd/ops"}},
		"lambda/deploy imports gitlab-codedeploy/internal/config":                        {path: "lambda/deploy", imports: []string{ownModule + "/internal/config"}},
		"cmd/ops imports gitlab-codedeploy/cmd/artifact":                                 {path: "cmd/ops", imports: []string{ownModule + "/cmd/artifact"}},
		"stacks imports gitlab-codedeploy/lambda/deploy":                                 {path: "stacks", imports: []string{ownModule + "/lambda/deploy"}},
		"internal/doctor imports gitlab-codedeploy/internal/awstest, which is for tests": {path: "internal/doctor", imports: []string{ownModule + "/internal/awstest"}},
		"internal/doctor needs github.com/aws/aws-cdk-go/awscdk/v2":                      {path: "internal/doctor", deps: []string{"github.com/aws/aws-cdk-go/awscdk/v2"}},
		"constructs needs github.com/aws/aws-sdk-go-v2/aws":                              {path: "constructs", deps: []string{"github.com/aws/aws-sdk-go-v2/aws"}},
		"internal/bundle needs gitlab-codedeploy/internal/plain":                         {path: "internal/bundle", deps: []string{ownModule + "/internal/plain"}},
		"utils/strings is in no layer":                                                   {path: "utils/strings"},
		"lambda/trigger imports github.com/stretchr/testify/require, which is for tests": {path: "lambda/trigger", imports: []string{"github.com/stretchr/testify/require"}},
		"cmd/artifact needs github.com/aws/aws-sdk-go-v2/service/codedeploy":             {path: "cmd/artifact", deps: []string{"github.com/aws/aws-sdk-go-v2/service/codedeploy"}},
		"internal/config/load needs github.com/aws/aws-sdk-go-v2/aws":                    {path: "internal/config/load", deps: []string{"github.com/aws/aws-sdk-go-v2/aws"}},
		"main needs github.com/cdklabs/cdk-nag-go/cdknag/v2":                             {path: "main", deps: []string{"github.com/cdklabs/cdk-nag-go/cdknag/v2"}},
		"internal/trust/signer needs github.com/aws/aws-lambda-go/lambda":                {path: "internal/trust/signer", deps: []string{"github.com/aws/aws-lambda-go/lambda"}},
		"lambda/internal/again imports gitlab-codedeploy/test/faults/cloud":              {path: "lambda/internal/again", imports: []string{ownModule + "/test/faults/cloud"}},
	} {
		assert.Contains(t, misplaced([]importer{p}), want)
	}
}
