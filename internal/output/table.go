package output

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Table prints rows under a header in aligned columns, safe for a terminal. Empty cells are shown as "-". The last column is not padded.
func Table(w io.Writer, header []string, rows [][]string) error {
	wide := make([]int, len(header))
	shown := make([][]string, 0, len(rows)+1)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			if cells[i] = clean(c); c == "" {
				cells[i] = "-"
			}
			wide[i] = max(wide[i], utf8.RuneCountInString(cells[i]))
		}
		shown = append(shown, cells)
	}
	for _, cells := range shown {
		var b strings.Builder
		for i, c := range cells {
			b.WriteString(c)
			if i < len(cells)-1 {
				spaces(&b, wide[i]-utf8.RuneCountInString(c)+2)
			}
		}
		b.WriteByte('\n')
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	return nil
}

// CSV prints rows under a header as RFC 4180 has it. Characters that do not print are escaped, and a cell that a spreadsheet would take for
// a formula begins with an apostrophe: names come from whoever talks to the host.
func CSV(w io.Writer, header []string, rows [][]string) error {
	out := csv.NewWriter(w)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = escape(c, 1<<16, unicode.IsPrint)
			if strings.IndexAny(cells[i], "=+-@") == 0 {
				cells[i] = "'" + cells[i]
			}
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// Line prints v as one line of JSON, with what drives a terminal escaped. A []byte is a line already.
func Line(w io.Writer, v any) error {
	b, raw := v.([]byte)
	if !raw {
		var err error
		if b, err = line(v); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(&lineWriter{w: w}, "%s\n", b)
	return err
}
