package mutate

import (
	"context"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/test/inputs"
)

// find writes a file with that body of a function, and returns its flips and
// the files that they make.
func find(t *testing.T, source string) (flips, bodies []string) {
	t.Helper()
	root := t.TempDir()
	text := "package p\n" + source + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "p.go"), []byte(text), 0o644))
	mutants, err := Find(root, "", "p.go")
	require.NoError(t, err)
	for _, m := range mutants {
		flips = append(flips, m.Flip.String())
		body := string(m.Source([]byte(text)))
		bodies = append(bodies, body)
		_, err := parser.ParseFile(token.NewFileSet(), "p.go", body, 0)
		assert.NoError(t, err, "%s", m.Flip)
	}
	return flips, bodies
}

func TestFind_EachConditionIsFlippedOnce(t *testing.T) {
	for source, want := range map[string][]string{
		"func f() { if ok {} }":                           {"ok → !ok"},
		"func f() { if (ok) {} }":                         {"(ok) → !(ok)"},
		"func f() { if !ok {} }":                          {"!ok → ok"},
		"func f() { if !(a == b) {} }":                    {"a == b → a != b"},
		"func f() { if !(a && b) {} }":                    {"!(a && b) → (a && b)", "a && b → a || b", "a → !a", "b → !b"},
		"func f() { if x := g(); x {} }":                  {"x → !x"},
		"func f() { if ok(a < b) {} }":                    {"ok(a < b) → !ok(a < b)", "a < b → a >= b"},
		"func f() { for a >= b {} }":                      {"a >= b → a < b"},
		"func f() { for {}; for range n {} }":             nil,
		"func f() { for <-c {} }":                         {"<-c → !<-c"},
		"func f() { switch { case a, b > 1: default: } }": {"a → !a", "b > 1 → b <= 1"},
		"func f() { switch a { case b: } }":               nil,
		"func f() bool { return a != nil || b }":          {"a != nil || b → a != nil && b", "a != nil → a == nil", "b → !b"},
		"func f() bool { return ok }":                     nil,
		"var x = func() bool { return a <= 1 }":           {"a <= 1 → a > 1"},
		"func f() { if a + b == c<<1 {} }":                {"a + b == c<<1 → a + b != c<<1"},
		"func f() { if a ==\n\t\tb {} }":                  {"a == b → a != b"},
	} {
		got, _ := find(t, source)
		assert.Equal(t, want, got, "%s", source)
	}
}

// && binds more closely than ||: the other one in its place must not take
// operands over from its neighbours.
func TestFind_AFlippedOperatorKeepsItsOperands(t *testing.T) {
	_, bodies := find(t, "var x = a && b || c && d == e")
	assert.Contains(t, bodies, "package p\nvar x = ((a && b) && (c && d == e))\n")
	assert.Contains(t, bodies, "package p\nvar x = ((a) || (b)) || c && d == e\n")
	assert.Contains(t, bodies, "package p\nvar x = a && b || c && ((d) != (e))\n")
}

func TestFind_ANameOutlivesChangesElsewhere(t *testing.T) {
	root := t.TempDir()
	write := func(text string) []Mutant {
		require.NoError(t, os.MkdirAll(filepath.Join(root, "lambda", "p"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, "lambda", "p", "p.go"), []byte(text), 0o644))
		mutants, err := Find(root, filepath.Join("lambda", "p"), "p.go")
		require.NoError(t, err)
		return mutants
	}
	const function = "func (s *Store[K]) f() {\n\tif ok {\n\t}\n\tif ok {\n\t}\n}\n"
	before, after := write("package p\n"+function), write("package p\n\nvar y = 1 == 2\n\n"+function)
	require.Len(t, before, 2)
	require.Len(t, after, 3)
	assert.Equal(t, Flip{Package: "lambda/p", Function: "Store.f", Line: "if ok {", Original: "ok", Mutant: "!ok"}, before[0].Flip)
	assert.Equal(t, 1, before[1].Nth, "the second of two alike")
	assert.Equal(t, before[0].Flip, after[1].Flip)
	assert.Equal(t, before[1].Flip, after[2].Flip)
	assert.Equal(t, 3, before[0].LineNo)
	assert.Equal(t, 6, after[1].LineNo)
}

func TestSample_IsTheSameForTheSameSeed(t *testing.T) {
	all := make([]Mutant, 50)
	for i := range all {
		all[i].LineNo = i
	}
	first := Sample(all, 10, 1)
	assert.Len(t, first, 10)
	assert.IsIncreasing(t, []int{first[0].LineNo, first[1].LineNo, first[9].LineNo})
	assert.Equal(t, first, Sample(all, 10, 1))
	assert.NotEqual(t, first, Sample(all, 10, 2))
	assert.Equal(t, all, Sample(all, 0, 1), "0 is all")
	assert.Equal(t, all, Sample(all, 51, 1), "no more than there are")
}

// The packages in testdata have conditions that their own tests notice, that
// another package's tests notice, that only a built program shows, that make
// a loop endless, that do not compile, and that nothing notices.
//
//fault:tests a condition of a function is flipped | `make mutate` tells whether a test notices
func TestRun_TellsNoticedFromSurvivingMutants(t *testing.T) {
	require.NoError(t, inputs.Are("../..", "go.mod", "test/mutate/testdata"))
	before := sources(t)
	list := []Acceptance{
		{Flip: untested("a", "!a"), Reason: "an example"},
		{Flip: untested("b", "!B"), Reason: "of a condition that was there once"},
		{Flip: Flip{Package: "test/mutate/testdata/gone"}, Reason: "of a package that was there once"},
		{Flip: Flip{Package: "lambda/trigger"}, Reason: "of a package that is not looked through"},
		{Flip: Flip{Package: "test/mutate/testdata/half", Function: "Positive", Line: "if n > 0 {", Original: "n > 0", Mutant: "n <= 0"}, Reason: "of one that a test notices by now"},
	}
	report := run(t, t.Context(), list)
	got := map[string]Outcome{}
	for _, p := range report.Played {
		got[p.Function+": "+p.Flip.String()] = p.Outcome
	}
	assert.Equal(t, map[string]Outcome{
		"Positive: n > 0 → n <= 0":                    Noticed,
		"Down: n > 0 → n <= 0":                        Noticed, // by its time-out
		"Elsewhere: ok → !ok":                         Noticed, // by package user
		"Untested: a && b → a || b":                   Survived,
		"Untested: a → !a":                            Survived,
		"Untested: b → !b":                            Survived,
		"Names: 1 == 1 → 1 != 1":                      Refused,
		"Names: 1 == 2 → 1 != 2":                      Refused,
		"main: len(os.Args) == 1 → len(os.Args) != 1": Noticed, // in the program that the test builds
	}, got)
	assert.Equal(t, before, sources(t), "no file of the tree is touched")

	problems := strings.Join(report.Problems(), "\n")
	assert.Equal(t, 6, len(report.Problems()), problems)
	for _, want := range []string{
		"half.go:30: no test notices a && b → a || b",
		"half.go:30: no test notices b → !b",
		"n > 0 → n <= 0 is accepted, but does not survive",
		`not there: test/mutate/testdata/half, Untested: b → !B (line "if a && b {")`,
		"not there: test/mutate/testdata/gone",
		"got 4 of 7 mutants noticed, want 95 of 100",
	} {
		assert.Contains(t, problems, want)
	}
	var printed strings.Builder
	require.NoError(t, report.Print(&printed))
	assert.Contains(t, printed.String(), "half.go:30  Untested  a → !a\n    accepted: an example\n")
	assert.Contains(t, printed.String(), "noticed 4 of 7 (57.1 %); 2 did not compile; 9 conditions in all, seed 7;")

	// What is printed of the others is what the list takes.
	_, entries, _ := strings.Cut(printed.String(), "- package")
	entry, _, _ := strings.Cut("- package"+entries, "\ntest/mutate")
	parsed, err := parseAccepted([]byte(strings.Replace(entry, `reason: ""`, "reason: none", 1)))
	require.NoError(t, err)
	assert.Equal(t, []Acceptance{{Flip: untested("a && b", "a || b"), Reason: "none"}}, parsed)
}

func untested(original, mutant string) Flip {
	return Flip{Package: "test/mutate/testdata/half", Function: "Untested", Line: "if a && b {", Original: original, Mutant: mutant}
}

func run(t *testing.T, ctx context.Context, list []Acceptance) Report {
	t.Helper()
	report, err := Run(ctx, Options{
		Root:     moduleRoot(t),
		Packages: []string{"./test/mutate/testdata/half", "./test/mutate/testdata/user", "./test/mutate/testdata/program"},
		Seed:     7, Workers: 2, Patience: time.Second, Accepted: list, Progress: io.Discard,
	})
	require.NoError(t, err)
	return report
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	return root
}

func sources(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	files, err := filepath.Glob("testdata/*/*")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[file] = string(text)
	}
	return texts
}

func TestRun_StopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	_, err := Run(ctx, Options{
		Root: moduleRoot(t), Packages: []string{"./test/mutate/testdata/half"}, Patience: time.Hour,
		Progress: writer(func(line string) {
			if strings.Contains(line, " 2 of ") { // while the first is played
				cancel()
			}
		}),
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Less(t, time.Since(began), time.Minute)
}

func TestRun_FlipsOnlyWhatIsAskedFor(t *testing.T) {
	o := Options{Root: moduleRoot(t), Packages: []string{"./test/mutate/testdata/half", "./test/mutate/testdata/program"}, Only: "test/mutate/testdata/pro"}
	mutants, suites, _, err := prepare(t.Context(), o)
	require.NoError(t, err)
	assert.Len(t, mutants, 1)
	assert.Len(t, suites, 2, "all tests may notice it")
	o.Only = "lambda/"
	_, _, _, err = prepare(t.Context(), o)
	assert.ErrorContains(t, err, "has no condition in a file lambda/…")
}

type writer func(string)

func (w writer) Write(p []byte) (int, error) { w(string(p)); return len(p), nil }

// What a test leaves behind would run beside the next mutants' tests.
func TestRun_EndsWhatTheTestsHaveStarted(t *testing.T) {
	b, err := newBench(t.TempDir(), t.TempDir(), nil)
	require.NoError(t, err)
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	ended := make(chan error, 1)
	go func() { // ends when nobody has the pipe open for writing any more
		file, err := os.Open(pipe)
		if err == nil {
			_ = file.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = io.ReadAll(file)
		}
		ended <- err
	}()
	out, err := b.run(t.Context(), t.TempDir(), time.Minute, "/bin/sh", "-c", `exec 3>"$0"; sleep 1000 >/dev/null 2>&1 & echo started`, pipe)
	require.NoError(t, err)
	assert.Equal(t, "started\n", string(out))
	assert.NoError(t, <-ended)
}

// Only tests that pass without a mutant can notice one.
func TestRun_RefusesTestsThatFailAsTheyAre(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example\n",
		"p.go":      "package p\n\nvar x = 1 == 2\n",
		"p_test.go": "package p\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { t.Fatal(\"as it is\") }\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	_, err := Run(t.Context(), Options{Root: root, Packages: []string{"."}, Progress: io.Discard})
	require.ErrorIs(t, err, errFails)
	assert.ErrorContains(t, err, "as it is")
}

func TestAccepted_MistakesAreNamed(t *testing.T) {
	const entry = "- package: lambda/p\n  function: f\n  line: if ok {\n  original: ok\n  mutant: \"!ok\"\n"
	for name, tt := range map[string]struct{ text, want string }{
		"no reason":   {entry, "lambda/p, f: ok → !ok (line \"if ok {\") has no reason"},
		"twice":       {entry + "  reason: a\n" + entry + "  reason: b\n", "is there twice"},
		"unknown key": {entry + "  reason: a\n  lines: 3\n", `unknown field "lines"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseAccepted([]byte(tt.text))
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// TestAccepted_EachIsStillThere is the part of `make mutate` that takes no time.
//
//fault:tests a condition whose flip nobody has to notice is changed | its reason has to be given again
func TestAccepted_EachIsStillThere(t *testing.T) {
	require.NoError(t, inputs.Are("../..", "go.mod", "lambda"))
	list, err := Accepted()
	require.NoError(t, err)
	_, _, gone, err := prepare(t.Context(), Options{Root: moduleRoot(t), Packages: []string{"./lambda/..."}, Accepted: list})
	require.NoError(t, err)
	assert.Empty(t, gone, "accepted.yaml: remove what is gone, correct what has changed")
	for _, entry := range list {
		assert.True(t, strings.HasPrefix(entry.Package, "lambda/"), entry.place())
	}
}
