// Package table prints tables for people. What is in a cell may come from elsewhere: it is made harmless for a
// terminal, and its width is counted as a terminal shows it, wide characters too.
package table

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"gitlab-codedeploy/internal/plain"
)

// Table is a head and its rows. Columns are two blanks apart.
type Table struct {
	Head  []string
	Rows  [][]string
	Right []int // the columns of numbers, from 0
	Width int   // of the longest cell; 0 means 60
}

// Print writes the table, and nothing when there are no rows.
func (t Table) Print(w io.Writer) error {
	if len(t.Rows) == 0 {
		return nil
	}
	width := t.Width
	if width == 0 {
		width = 60
	}
	out := table.NewWriter()
	out.SetStyle(table.Style{Box: table.BoxStyle{PaddingRight: "  "}})
	out.SuppressTrailingSpaces()
	out.AppendHeader(row(t.Head, width))
	for _, cells := range t.Rows {
		out.AppendRow(row(cells, width))
	}
	var columns []table.ColumnConfig
	for _, column := range t.Right {
		columns = append(columns, table.ColumnConfig{Number: column + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	out.SetColumnConfigs(columns)
	_, err := io.WriteString(w, out.Render()+"\n")
	return err
}

func row(cells []string, width int) table.Row {
	var printed table.Row
	for _, cell := range cells {
		printed = append(printed, text.Snip(plain.Line(cell, 10*width), width, "…"))
	}
	return printed
}
