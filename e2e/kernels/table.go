package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
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
	fmt.Fprintf(w, "skipped: %s\n%s\n", strings.Join(r.report.Skipped, ", "), r.report.Doctor)
}

// table has a line for each kernel and a column for each group of checks, in Markdown.
func table(results []*result) string {
	var groups []string
	for _, r := range results {
		for _, c := range r.checks() {
			// Where that fails, nothing else is run.
			if g := group(c.Name); g != "set up" && !slices.Contains(groups, g) {
				groups = append(groups, g)
			}
		}
	}
	var b strings.Builder
	row := func(cells ...string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	row(append([]string{"kernel", "lockdown", "tried on", "boots without a report"}, groups...)...)
	row(slices.Repeat([]string{"---"}, 4+len(groups))...)
	for _, r := range results {
		name := r.kernel.name + " " + r.kernel.arch
		if r.report != nil {
			name = r.report.Release
		}
		cells := []string{name, r.mode, r.date, fmt.Sprint(len(r.crashes))}
		for _, g := range groups {
			cells = append(cells, r.cell(g))
		}
		row(cells...)
	}
	return b.String()
}

// group is what checks of one column have in common: "ebpf" of "ebpf: TLS 1.2".
func group(check string) string {
	name, _, _ := strings.Cut(check, ": ")
	return name
}

func (r *result) checks() []report.Check {
	if r.report == nil {
		return nil
	}
	return r.report.Checks
}

// cell is the outcome of a group of checks in a few words.
func (r *result) cell(of string) string {
	cell := "not run"
	var failed []string
	for _, c := range r.checks() {
		switch {
		case group(c.Name) != of:
		case c.Failed != "":
			failed = append(failed, c.Name)
		case c.Name == of && c.Detail != "":
			cell = c.Detail
		default:
			cell = "ok"
		}
	}
	if len(failed) > 0 {
		return "**failed** (" + strings.Join(failed, "; ") + ")"
	}
	return cell
}

const (
	docs      = "docs/kernels.md"
	ceilings  = "bpf/testdata/verifier.txt"
	objects   = "bpf/*.o"
	tableFrom = "<!-- table: written by make test-kernels -->\n"
	tableTo   = "<!-- end of table -->\n"
)

// kept is what is known of one kernel in one mode, in a file of its own, so that the table can be made after booting a few.
type kept struct {
	Kernel, Arch, Mode, Date string
	// Programs is a digest of those that were booted.
	Programs string
	Crashes  []string
	Report   *report.Report
}

// programs is a digest of the compiled programs: what was seen of others says nothing of these.
func programs() (string, error) {
	paths, err := filepath.Glob(objects)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// file is where a result is kept.
func (r *result) file(dir string) string {
	return filepath.Join(dir, "results", strings.ReplaceAll(r.name(), " ", "-"))
}

func (r *result) keep(dir string) error {
	b, err := json.Marshal(kept{r.kernel.name, r.kernel.arch, r.mode, r.date, r.programs, r.crashes, r.report})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.file(dir)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.file(dir), b, 0o644)
}

// recall gives the last results of all kernels with these programs, in the order of the kernels. Those that were not booted with them have none.
func recall(dir string, kernels []kernel) ([]*result, error) {
	these, err := programs()
	if err != nil {
		return nil, err
	}
	var results []*result
	for _, k := range kernels {
		for _, m := range modes {
			r := &result{kernel: k, mode: m.name, date: "not with these programs"}
			results = append(results, r)
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
			if was.Programs == these {
				r.date, r.crashes, r.report = was.Date, was.Crashes, was.Report
			}
		}
	}
	return results, nil
}

// update puts the last results of all kernels where they are read.
func update(dir string, kernels []kernel) error {
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
	if err := os.WriteFile(docs, []byte(before+tableFrom+"\n"+table(results)+"\n"+tableTo+after), 0o644); err != nil {
		return err
	}
	return writeCeilings(results)
}

// writeCeilings replaces the lines of the kernels that were measured: without lockdown, by a run with -update.
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
