package awstest

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/metrics.txt")

// MetricLines compares the lines that a function writes for CloudWatch with
// those on record: what happened, a blank, and the line. The tests of the alarms
// read the record, so that an alarm's filter meets what the function really
// writes.
func MetricLines(t *testing.T, got map[string]string) {
	t.Helper()
	var text strings.Builder
	for _, happened := range slices.Sorted(maps.Keys(got)) {
		text.WriteString(happened + " " + strings.TrimSuffix(got[happened], "\n") + "\n")
	}
	path := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("make it with -update: %v", err)
	}
	if text.String() != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s\nrewrite it with -update, and look at the alarms", path, text.String(), want)
	}
}
