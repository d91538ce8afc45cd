package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Table is the cases in Markdown.
func Table(subjects []Subject) string {
	var out strings.Builder
	for _, s := range subjects {
		fmt.Fprintf(&out, "## %s\n\n| who | does | on | from | is | why |\n|---|---|---|---|---|---|\n", s.Subject)
		for _, c := range s.Cases {
			on := c.On
			for _, key := range slices.Sorted(maps.Keys(c.With)) {
				on += fmt.Sprintf(", %s `%s`", key[strings.LastIndex(key, ":")+1:], c.With[key])
			}
			is := c.Is
			if is == "allowed" {
				is = "**allowed**"
			}
			fmt.Fprintf(&out, "| %s | `%s` | %s | %s | %s | %s |\n", c.Who, c.Does, on, c.From, is, c.Why)
		}
		out.WriteString("\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}
