package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/e2e/kernels/report"
)

// print says what happened, for a person who waits.
func (r *result) print(w io.Writer) {
	if r.report == nil {
		fmt.Fprintf(w, "FAILED %s: %d boots, none gave a report\n", r.name(), len(r.crashes))
		return
	}
	fmt.Fprintf(w, "%s %s, lockdown %s, boot %d, %v\n", r.report.Release, r.kernel.arch, r.report.Lockdown, len(r.crashes)+1, r.took.Round(time.Second))
	for _, c := range r.report.Checks {
		if c.Failed != "" {
			fmt.Fprintf(w, "  FAILED  %s: %s\n", c.Name, strings.ReplaceAll(strings.TrimSpace(c.Failed), "\n", "\n          "))
		} else {
			fmt.Fprintf(w, "  ok      %s: %s\n", c.Name, c.Detail)
		}
	}
	fmt.Fprintf(w, "%s\n", r.report.Doctor)
}

// table has a column for each kernel and a line for each check, in Markdown.
func table(results []*result) string {
	var names []string
	for _, r := range results {
		if r.report == nil {
			continue
		}
		for _, c := range r.report.Checks {
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	var b strings.Builder
	row := func(name string, cell func(*result) string) {
		b.WriteString("| " + name + " |")
		for _, r := range results {
			b.WriteString(" " + cell(r) + " |")
		}
		b.WriteString("\n")
	}
	row("kernel", func(r *result) string {
		if r.report == nil {
			return r.kernel.name
		}
		return r.report.Release
	})
	row("---", func(*result) string { return "---" })
	row("architecture", func(r *result) string { return r.kernel.arch })
	row("lockdown", func(r *result) string { return r.mode })
	row("tried on", func(r *result) string { return r.date })
	row("boots that the emulator ended", func(r *result) string { return fmt.Sprint(len(r.crashes)) })
	for _, name := range names {
		row(name, func(r *result) string { return r.cell(name) })
	}
	return b.String()
}

// cell is a check's outcome in a few words.
func (r *result) cell(name string) string {
	if r.report == nil {
		return "no report"
	}
	for _, c := range r.report.Checks {
		switch {
		case c.Name != name:
		case c.Failed != "":
			return "**failed**"
		case strings.HasSuffix(name, "doctor"), strings.Contains(name, "tests of"), strings.Contains(name, "memory limit"):
			return c.Detail
		case strings.Contains(name, "verifier"):
			number, _, _ := strings.Cut(c.Detail, " ")
			return "ok, " + number
		default:
			return "ok"
		}
	}
	return "not run"
}

const (
	docs      = "docs/kernels.md"
	ceilings  = "bpf/testdata/verifier.txt"
	tableFrom = "<!-- table: written by make test-kernels -->\n"
	tableTo   = "<!-- end of table -->\n"
)

// kept is what is known of one kernel in one mode, in a file of its own, so that the table can be made after booting a few.
type kept struct {
	Kernel, Arch, Mode, Date string
	Crashes                  []string
	Report                   *report.Report
}

// file is where a result is kept.
func (r *result) file(dir string) string {
	return filepath.Join(dir, "results", strings.ReplaceAll(r.name(), " ", "-"))
}

func (r *result) keep(dir string) error {
	b, err := json.Marshal(kept{r.kernel.name, r.kernel.arch, r.mode, r.date, r.crashes, r.report})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.file(dir)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.file(dir), b, 0o644)
}

// recall gives the last results of all kernels, in the order of the kernels.
func recall(dir string, kernels []kernel) ([]*result, error) {
	var results []*result
	for _, k := range kernels {
		for _, m := range modes {
			r := &result{kernel: k, mode: m.name}
			b, err := os.ReadFile(r.file(dir))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			var was kept
			if err := json.Unmarshal(b, &was); err != nil {
				return nil, err
			}
			r.date, r.crashes, r.report = was.Date, was.Crashes, was.Report
			results = append(results, r)
		}
	}
	return results, nil
}

// write puts the last results of all kernels where they are read.
func write(dir string, kernels []kernel) error {
	results, err := recall(dir, kernels)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(docs)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableFrom)
	_, after, ok2 := strings.Cut(rest, tableTo)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table", docs)
	}
	var tables strings.Builder
	for _, arch := range []string{"amd64", "arm64"} {
		of := slices.DeleteFunc(slices.Clone(results), func(r *result) bool { return r.kernel.arch != arch })
		if len(of) > 0 {
			tables.WriteString("\n" + table(of))
		}
	}
	if err := os.WriteFile(docs, []byte(before+tableFrom+tables.String()+"\n"+tableTo+after), 0o644); err != nil {
		return err
	}
	return writeCeilings(results)
}

// writeCeilings replaces the lines of the kernels that were booted without lockdown.
func writeCeilings(results []*result) error {
	text, err := os.ReadFile(ceilings)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n")+"\n", "\n")
	heading, lines := lines[0], lines[1:]
	for _, r := range results {
		if r.report == nil || r.mode != "none" || r.report.Ceilings == "" {
			continue
		}
		version, _, _ := strings.Cut(r.report.Ceilings, "\t")
		lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" || strings.HasPrefix(l, version+"\t") })
		lines = append(lines, strings.SplitAfter(r.report.Ceilings, "\n")...)
	}
	slices.SortFunc(lines, func(a, b string) int { // by kernel and name, as the test of bpf has them
		x, y := strings.Split(a+"\t\t", "\t"), strings.Split(b+"\t\t", "\t")
		return cmp.Or(strings.Compare(x[0], y[0]), strings.Compare(x[2], y[2]))
	})
	return os.WriteFile(ceilings, []byte(heading+strings.Join(lines, "")), 0o644)
}
