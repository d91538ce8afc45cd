package review

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/pmezard/go-difflib/difflib"
)

// Stack is a stack, and what a deploy does to it.
type Stack struct {
	Name, Account, Region string
	Result
}

const (
	maxValue       = 300 // characters of a value
	maxScriptLines = 400
	maxOpenRows    = 15 // of a table that is not folded
)

// Note is what a deploy changes, in GitLab's Markdown. What a reviewer must not miss comes first: what is replaced or removed, and
// who may do more than before.
func Note(environment string, stacks []Stack) string {
	parts := []string{"## What changes in " + environment, summary(stacks)}
	var alarms []string
	for _, s := range stacks {
		alarms = append(alarms, s.alarms()...)
	}
	if len(alarms) > 0 {
		parts = append(parts, "- "+strings.Join(alarms, "\n- "))
	}
	for _, s := range stacks {
		parts = append(parts, s.details()...)
	}
	return strings.Join(parts, "\n\n") + "\n"
}

// printable says whether a character shows as itself: no control, no mark that turns the direction of writing, nothing unassigned.
func printable(r rune) bool {
	return r != unicode.ReplacementChar && unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Zs)
}

func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if printable(r) || r == '\t' {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// line is one printable line of a text.
func line(text string) string { return visible(strings.Join(strings.Fields(text), " ")) }

// code is text of a template in Markdown: on one line, and as code, where nothing is markup. A pipe would end a table's cell even there.
func code(text string) string {
	text = line(text)
	if runes := []rune(text); len(runes) > maxValue {
		text = string(runes[:maxValue]) + "…"
	}
	return "`" + strings.NewReplacer("`", "'", "|", `\|`).Replace(text) + "`"
}

var assetHash = regexp.MustCompile(`\b([0-9a-f]{8})[0-9a-f]{56}\b`)

// shorten cuts the content hash of an asset: it is longer than it says something.
func shorten(text string) string { return assetHash.ReplaceAllString(text, "$1…") }

func shown(value any) string {
	if value == nil {
		return "nothing"
	}
	return code(shorten(text(value)))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func fold(title, body string) string {
	return "<details><summary>" + title + "</summary>\n\n" + body + "\n\n</details>"
}

// section leaves a long table folded, so that the next one is seen.
func section(title string, head []string, rows [][]string) []string {
	if len(rows) == 0 {
		return nil
	}
	row := func(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" }
	lines := []string{row(head), row(slices.Repeat([]string{"---"}, len(head)))}
	for _, cells := range rows {
		lines = append(lines, row(cells))
	}
	body := strings.Join(lines, "\n")
	if len(rows) > maxOpenRows {
		return []string{fold(fmt.Sprintf("<b>%s</b> (%d)", title, len(rows)), body)}
	}
	return []string{"**" + title + "**\n\n" + body}
}

func (s side) String() string {
	parts := make([]string, len(s.Values))
	for i, value := range s.Values {
		if s.Not {
			parts[i] = "all but "
		}
		parts[i] += shown(value)
	}
	return strings.Join(parts, "<br>")
}

func (s Stack) permissionRows() (rows [][]string) {
	for _, p := range s.permissions {
		effect := code(p.Effect)
		switch p.Effect {
		case "Deny":
			effect = "**Deny**"
		case "Allow":
			effect = p.Effect
		}
		var conditions []string
		for _, operator := range slices.Sorted(maps.Keys(p.Condition)) {
			keys := object(p.Condition[operator])
			for _, key := range slices.Sorted(maps.Keys(keys)) {
				conditions = append(conditions, code(operator+" "+key+" "+shorten(joined(list(keys[key]), ", "))))
			}
		}
		rows = append(rows, []string{p.sign, code(s.name(p.ID)), effect, p.Actions.String(), p.Resources.String(), p.Principals.String(), strings.Join(conditions, "<br>")})
	}
	return rows
}

// patch is the difference of two scripts by their lines.
func patch(before, after []any) []string {
	one, other := strings.Split(joined(before, "\n"), "\n"), strings.Split(joined(after, "\n"), "\n")
	var lines []string
	add := func(sign string, some []string) {
		for _, line := range some {
			lines = append(lines, sign+line)
		}
	}
	for _, hunk := range difflib.NewMatcher(one, other).GetGroupedOpCodes(3) {
		lines = append(lines, fmt.Sprintf("@@ -%d +%d @@", hunk[0].I1+1, hunk[0].J1+1))
		for _, edit := range hunk {
			if edit.Tag == 'e' {
				add(" ", one[edit.I1:edit.I2])
				continue
			}
			add("-", one[edit.I1:edit.I2])
			add("+", other[edit.J1:edit.J2])
		}
	}
	if len(lines) > maxScriptLines {
		lines = append(lines[:maxScriptLines:maxScriptLines], fmt.Sprintf("… and %d lines more", len(lines)-maxScriptLines))
	}
	return lines
}

var backticks = regexp.MustCompile("`+")

// fenced is lines in a block of code whose fence none of them can close. It keeps a script's indentation, and shows what would
// hide a change from its reader.
func fenced(lines []string) string {
	longest := 2
	shown := make([]string, len(lines))
	for i, l := range lines {
		for _, ticks := range backticks.FindAllString(l, -1) {
			longest = max(longest, len(ticks))
		}
		shown[i] = visible(l)
	}
	fence := strings.Repeat("`", longest+1)
	return fence + "diff\n" + strings.Join(shown, "\n") + "\n" + fence
}

func (v valueChange) line() string {
	where := code(strings.Join(v.path, "."))
	switch {
	case v.before == nil:
		return "- " + where + ": " + shown(v.after) + " is new"
	case v.after == nil:
		return "- " + where + ": " + shown(v.before) + " goes"
	}
	return "- " + where + ": " + shown(v.before) + " → " + shown(v.after)
}

var html = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// scripts are the changed scripts of a document, each as the difference of its lines.
func (c change) scripts() (blocks []string) {
	for _, v := range c.values {
		if !v.script {
			continue
		}
		lines := patch(list(v.before), list(v.after))
		begin := func(mark string) (n int) {
			for _, l := range lines {
				if strings.HasPrefix(l, mark) {
					n++
				}
			}
			return n
		}
		blocks = append(blocks, fold(fmt.Sprintf("<b>Script</b> <code>%s</code>, +%d −%d lines", html.Replace(line(cmp.Or(c.script, c.name))), begin("+"), begin("-")), fenced(lines)))
	}
	return blocks
}

func (c change) changed() []string {
	var lines []string
	for _, v := range c.values {
		if !v.script {
			lines = append(lines, v.line())
		}
	}
	for _, note := range c.notes {
		lines = append(lines, note.line()+" (a note in the template)")
	}
	if lines == nil {
		return nil
	}
	return []string{code(c.name) + " (" + line(c.kind) + ")\n" + strings.Join(lines, "\n")}
}

// precious comes first of all that is replaced or removed: what holds data, and the hosts.
var precious = []string{
	"AWS::EC2::Volume", "AWS::S3::Bucket", "AWS::SecretsManager::Secret", "AWS::KMS::Key", "AWS::Backup::BackupVault",
	"AWS::EC2::Instance", "AWS::SQS::Queue", "AWS::Logs::LogGroup",
}

func (c change) rank() int {
	if at := slices.Index(precious, c.kind); at >= 0 {
		return at
	}
	return len(precious)
}

func (c change) stays() bool { return strings.HasPrefix(c.kept, "Retain") }

func (c change) loss() string {
	if c.rank() < len(precious) {
		return ", with what is in it"
	}
	return ""
}

func (c change) old() string {
	switch {
	case c.stays():
		return " The old one stays, outside of the stack; the new one begins empty."
	case c.kept == "Snapshot":
		return " The old one is deleted after a snapshot; the new one begins empty."
	}
	return " The old one is deleted" + c.loss() + "."
}

func (c change) gone() string {
	switch {
	case c.stays():
		return " It stays, outside of the stack."
	case c.kept == "Snapshot":
		return " It is deleted after a snapshot."
	}
	return " It is deleted" + c.loss() + "."
}

func (c change) cause(name func(string) string) string {
	var own, others, causes []string
	for _, reason := range c.because {
		if reason.Replaced == "" {
			own = append(own, code(reason.Name))
		} else {
			others = append(others, code(reason.Name)+" refers to "+code(name(reason.Replaced))+", which is replaced")
		}
	}
	if own != nil {
		causes = append(causes, "because of "+strings.Join(own, ", "))
	}
	if others != nil {
		causes = append(causes, "because "+strings.Join(others, ", "))
	}
	return strings.Join(causes, ", and ")
}

// isLoose: what was kept when it is replaced, or its stack goes, is so no more.
func (v valueChange) isLoose() bool {
	return len(v.path) > 0 && (v.path[0] == "DeletionPolicy" || v.path[0] == "UpdateReplacePolicy") &&
		strings.HasPrefix(text(v.before), "Retain") && !strings.HasPrefix(text(v.after), "Retain")
}

func (s Stack) alarms() (alarms []string) {
	if s.isNew {
		return nil
	}
	which := func(c change) string { return code(c.name) + " (" + line(c.kind) + ") of " + s.Name }
	worst := slices.Clone(s.resources)
	slices.SortStableFunc(worst, func(a, b change) int { return cmp.Compare(a.rank(), b.rank()) })
	for _, c := range worst {
		switch c.fate {
		case replaced:
			alarms = append(alarms, fmt.Sprintf("**REPLACED:** %s, %s.%s", which(c), c.cause(s.name), c.old()))
		case maybeReplaced:
			alarms = append(alarms, fmt.Sprintf("**MAY BE REPLACED:** %s, %s.%s", which(c), c.cause(s.name), c.old()))
		case removed:
			alarms = append(alarms, fmt.Sprintf("**REMOVED:** %s.%s", which(c), c.gone()))
		}
	}
	for _, c := range s.resources {
		if slices.ContainsFunc(c.values, valueChange.isLoose) {
			alarms = append(alarms, "**NO LONGER KEPT** when it is replaced or its stack goes: "+which(c))
		}
	}
	more, opened := 0, 0
	for _, p := range s.permissions {
		if p.widens() {
			more++
		}
	}
	for _, r := range s.rules {
		if r.sign == "+" {
			opened++
		}
	}
	switch {
	case more > 0:
		alarms = append(alarms, fmt.Sprintf("**MORE PERMISSIONS** in %s: %s, see below", s.Name, count(more, "statement", "statements")))
	case len(s.permissions) > 0:
		alarms = append(alarms, fmt.Sprintf("Fewer permissions in %s: %s", s.Name, count(len(s.permissions), "statement", "statements")))
	}
	switch {
	case opened > 0:
		alarms = append(alarms, fmt.Sprintf("**MORE NETWORK ACCESS** in %s: %s, see below", s.Name, count(opened, "rule", "rules")))
	case len(s.rules) > 0:
		alarms = append(alarms, fmt.Sprintf("Less network access in %s: %s", s.Name, count(len(s.rules), "rule", "rules")))
	}
	return alarms
}

func (s Stack) details() []string {
	title := fmt.Sprintf("### %s\n\nAccount %s, %s.", s.Name, s.Account, s.Region)
	if s.empty() {
		return []string{title + " Nothing changes."}
	}
	if s.isNew {
		title += " It is not deployed yet: all of it is created."
	}
	parts := append([]string{title}, section("Permissions", []string{"", "at", "effect", "actions", "on", "who", "if"}, s.permissionRows())...)
	var rules, createdRows [][]string
	for _, r := range s.rules {
		rules = append(rules, []string{r.sign, code(r.Group), r.Direction, code(r.Ports), code(r.Peer)})
	}
	parts = append(parts, section("Network access", []string{"", "group", "way", "ports", "from or to"}, rules)...)
	var blocks, scripts []string
	for _, c := range s.resources {
		if c.fate == created {
			createdRows = append(createdRows, []string{code(c.name), line(c.kind)})
		}
		blocks, scripts = append(blocks, c.changed()...), append(scripts, c.scripts()...)
	}
	parts = append(parts, section("Created", []string{"resource", "type"}, createdRows)...)
	if blocks != nil {
		parts = append(append(parts, "**Changed**"), blocks...)
	}
	parts = append(parts, scripts...)
	if s.rest != nil {
		lines := make([]string, len(s.rest))
		for i, v := range s.rest {
			lines[i] = v.line()
		}
		parts = append(parts, fold("<b>Parameters, outputs and the rest of the template</b>", strings.Join(lines, "\n")))
	}
	return parts
}

func summary(stacks []Stack) string {
	of := map[fate]int{}
	changes := false
	for _, s := range stacks {
		changes = changes || !s.empty()
		for _, c := range s.resources {
			of[c.fate]++
		}
	}
	if !changes {
		return "Nothing changes."
	}
	parts := []string{count(of[replaced], "resource is", "resources are") + " replaced"}
	if n := of[maybeReplaced]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d may be", n))
	}
	parts = append(parts, fmt.Sprintf("%d removed", of[removed]), fmt.Sprintf("%d created", of[created]), fmt.Sprintf("%d changed", of[changed]+of[imported]))
	return strings.Join(parts, ", ") + "."
}
