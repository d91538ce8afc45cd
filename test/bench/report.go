package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is what a run has found.
type Report struct {
	Machine string
	Rows    []Row
	Calls   []Call
	Notes   []string
}

// Row compares one quantity. Less of it is better.
type Row struct {
	Name   string
	Unit   Unit
	Series Series
	Target *Target // nil when the row only informs
}

// Call is an operation of AWS's, and how often one deployment asks for it.
type Call struct {
	Operation string
	Cold      int // with a new process
	Warm      int
	Buys      string // what the call is good for
}

// Series holds what was measured in turns. There is no reference to some rows.
type Series struct{ Ours, Reference []float64 }

func (s *Series) add(ours, reference float64) {
	s.Ours = append(s.Ours, ours)
	s.Reference = append(s.Reference, reference)
}

// ratios are those of the pairs, in ascending order; above 1 ours is better.
func (s Series) ratios() []float64 {
	var ratios []float64
	for i := range min(len(s.Ours), len(s.Reference)) {
		ratios = append(ratios, s.Reference[i]/s.Ours[i])
	}
	slices.Sort(ratios)
	return ratios
}

// Target is what a row should reach: a ratio of at least Times, or a median of
// at most Most.
type Target struct{ Times, Most float64 }

func (t Target) met(s Series) bool {
	if t.Times > 0 {
		return median(s.ratios()) >= t.Times
	}
	return median(s.Ours) <= t.Most
}

// Unit is how a quantity is written.
type Unit int

// Megabytes are 10⁶ bytes.
const (
	Seconds   Unit = iota // kept in seconds
	Megabytes             // kept in bytes
	Count
)

func (u Unit) text(v float64) string {
	switch {
	case u == Count:
		return fmt.Sprintf("%g", v)
	case u == Megabytes:
		return digits(v/1e6) + " MB"
	case v < 1:
		return digits(v*1e3) + " ms"
	}
	return digits(v) + " s"
}

// digits writes three of them, as more would be noise.
func digits(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Print writes the tables.
func (r Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n", r.Machine)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BENCHMARK\tOURS\tREFERENCE\tRATIO\tLOWEST–HIGHEST\tN\tTARGET\t")
	for _, row := range r.Rows {
		reference, ratio, spread := "-", "-", "-"
		if ratios := row.Series.ratios(); len(ratios) > 0 {
			reference = row.Unit.text(median(row.Series.Reference))
			ratio = digits(median(ratios)) + "×"
			spread = digits(ratios[0]) + "–" + digits(ratios[len(ratios)-1])
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", row.Name, row.Unit.text(median(row.Series.Ours)),
			reference, ratio, spread, len(row.Series.Ours), row.verdict())
	}
	if len(r.Calls) > 0 {
		fmt.Fprintln(t, "\t\t\t\t\t\t\t")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Calls) > 0 {
		fmt.Fprintln(t, "CALL\tCOLD\tWARM\tWHAT IT BUYS")
		for _, call := range r.Calls {
			fmt.Fprintf(t, "%s\t%d\t%d\t%s\n", call.Operation, call.Cold, call.Warm, cmp.Or(call.Buys, "(nobody has said)"))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n%s", note)
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (r Row) verdict() string {
	if r.Target == nil {
		return "-"
	}
	verdict := "MISSED"
	if r.Target.met(r.Series) {
		verdict = "met"
	}
	if r.Target.Times > 0 {
		return fmt.Sprintf("≥ %g×: %s", r.Target.Times, verdict)
	}
	return fmt.Sprintf("≤ %s: %s", strings.Replace(r.Unit.text(r.Target.Most), ".0 ", " ", 1), verdict)
}
