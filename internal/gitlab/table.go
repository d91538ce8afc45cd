package gitlab

import (
	"fmt"
	"strings"
)

// readTable calls row with the fields of each line of a table that is neither
// blank nor a comment. Fields are divided by tabs; none is empty. A problem is
// returned with the line's number.
func readTable(name, text string, columns int, row func(fields []string) error) error {
	if !strings.HasSuffix(text, "\n") {
		return fmt.Errorf("%s: the last line is open", name)
	}
	number := 0
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		number++
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != columns {
			return fmt.Errorf("%s:%d: got %d fields, want %d", name, number, len(fields), columns)
		}
		for i, field := range fields {
			if field == "" || field != strings.TrimSpace(field) {
				return fmt.Errorf("%s:%d: field %d: got %q, want a text without blanks at its ends", name, number, i+1, field)
			}
			// The table stands in a shell script and in a document of Systems Manager.
			if strings.ContainsAny(field, "'\"`$\\{}") {
				return fmt.Errorf("%s:%d: field %d: got %q, want no quotes, $, backslashes or braces", name, number, i+1, field)
			}
		}
		if err := row(fields); err != nil {
			return fmt.Errorf("%s:%d: %w", name, number, err)
		}
	}
	return nil
}
