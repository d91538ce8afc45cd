package preflight

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gitlab-codedeploy/internal/config"
)

// Finding is something that is wrong, or that could not be asked.
type Finding struct {
	Account Account
	Place   config.Place
	// Got, Want and Remedy are set for what is wrong: "got …, want …", and what to do.
	Got, Want, Remedy string
	// Warning is set for what works, and should not stay so: it stops nothing.
	Warning bool
	// Unchecked says why it could not be asked; "" for what is wrong.
	Unchecked string
	// MissingRight is set when what could not be asked lacks a right, and nothing else.
	MissingRight bool
}

func (f Finding) String() string {
	if f.Unchecked != "" {
		return fmt.Sprintf("%s: could not be checked: %s", f.Place, f.Unchecked)
	}
	place := f.Place.String()
	if f.Warning {
		place += ": warning"
	}
	return fmt.Sprintf("%s: got %s, want %s\n    remedy: %s", place, f.Got, f.Want, f.Remedy)
}

// Report is what a run found.
type Report struct {
	Findings []Finding // in the order of the file
	Checks   int
	Calls    int64
	Answered int64 // calls that AWS answered, be it with a refusal
	Took     time.Duration
}

// Stops says whether the deploy would fail, or nobody can know: AWS has answered nothing.
func (r Report) Stops() bool {
	wrong, _, _ := r.count()
	return wrong > 0 || r.silent()
}

func (r Report) silent() bool { return r.Calls > 0 && r.Answered == 0 }

func (r Report) count() (wrong, warnings, unchecked int) {
	for _, f := range r.Findings {
		switch {
		case f.Unchecked != "":
			unchecked++
		case f.Warning:
			warnings++
		default:
			wrong++
		}
	}
	return wrong, warnings, unchecked
}

// Print writes the findings and, last, what they mean.
func (r Report) Print(out io.Writer) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(out, f); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "preflight: %s, in %s and %.1f s: %s\n",
		counted(r.Checks, "check"), counted(int(r.Calls), "call"), r.Took.Seconds(), r.verdict())
	return err
}

func (r Report) verdict() string {
	wrong, warnings, unchecked := r.count()
	if r.silent() {
		return "AWS answered none of them, so nothing is known"
	}
	verdict := "nothing is wrong"
	switch {
	case wrong > 0:
		verdict = fmt.Sprintf("%d to be fixed first", wrong)
	case unchecked > 0:
		verdict = "nothing wrong was found"
	}
	if warnings > 0 {
		verdict += ", " + counted(warnings, "warning")
	}
	if unchecked > 0 {
		verdict += fmt.Sprintf(", %d could not be asked about", unchecked)
	}
	if wrong == 0 && warnings+unchecked > 0 {
		verdict += ", which does not stop a deploy"
	}
	return verdict
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// wrong is a finding about the value behind a pointer into the configuration.
func (a *asking) wrong(value any, got, want, remedy string) Finding {
	return Finding{Account: a.account, Place: a.source.Place(value), Got: got, Want: want, Remedy: remedy}
}

// warning is a finding about a value with which everything works.
func (a *asking) warning(value any, got, want, remedy string) Finding {
	f := a.wrong(value, got, want, remedy)
	f.Warning = true
	return f
}

// unchecked is a finding about a value that AWS did not tell about: action is the right that the call needs.
func (a *asking) unchecked(value any, action string, err error) Finding {
	f := Finding{Account: a.account, Place: a.source.Place(value), MissingRight: lacksRight(err)}
	if f.MissingRight {
		f.Unchecked = fmt.Sprintf("it needs %s in account %s (%s)", action, a.accountID(), said(err))
	} else {
		f.Unchecked = fmt.Sprintf("%s in account %s: %s", action, a.accountID(), said(err))
	}
	return f
}

// unknown is a finding about a value that AWS told about, and that says too little.
func (a *asking) unknown(value any, format string, args ...any) Finding {
	return Finding{Account: a.account, Place: a.source.Place(value), Unchecked: fmt.Sprintf(format, args...)}
}

func (a *asking) accountID() string {
	if a.account == A {
		return a.config.GitLab.Account
	}
	return a.config.Deploy.Account
}

// A long answer would hide what stands above it.
const longest = 300

// harmless is a text of AWS's as a terminal may have it: one line, nothing that controls it (C0, C1, escape sequences,
// the marks that turn the direction of writing), and no longer than an eye takes in.
func harmless(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == utf8.RuneError }), " ")
	if utf8.RuneCountInString(text) > longest {
		text = string([]rune(text)[:longest]) + "…"
	}
	return text
}

// quote is harmless, and shows where a value begins and ends.
func quote[T ~string](text T) string { return strconv.Quote(harmless(string(text))) }
