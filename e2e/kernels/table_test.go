package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/e2e/kernels/report"
)

func TestATableHasAColumnForEachGroupOfChecks(t *testing.T) {
	booted := &result{kernel: kernel{name: "6.1", arch: "amd64"}, mode: "none", date: "2026-01-02", crashes: []string{"no report"}, report: &report.Report{
		Release: "6.1.0-amd64",
		Checks: []report.Check{
			{Name: "set up"},
			{Name: "doctor", Detail: "nothing is missing"},
			{Name: "ebpf: TLS 1.2", Detail: "pid 1"},
			{Name: "ebpf: loss", Detail: "none"},
			{Name: "packet: TLS 1.2", Failed: "no session"},
			{Name: "packet: loss", Detail: "none"},
		},
	}}
	dead := &result{kernel: kernel{name: "7.3", arch: "arm64"}, mode: "confidentiality", date: "2026-01-02", crashes: []string{"a", "b", "c"}}
	want := `| kernel | lockdown | tried on | boots without a report | doctor | ebpf | packet |
| --- | --- | --- | --- | --- | --- | --- |
| 6.1.0-amd64 | none | 2026-01-02 | 1 | nothing is missing | ok | **failed** (packet: TLS 1.2) |
| 7.3 arm64 | confidentiality | 2026-01-02 | 3 | not run | not run | not run |
`
	if got := table([]*result{booted, dead}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestUpdateTakesOnlyWhatWasSeenOfThesePrograms writes into a copy of what it writes.
func TestUpdateTakesOnlyWhatWasSeenOfThesePrograms(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	k := kernel{name: "6.1", arch: "amd64"}
	keep := func(mode, ceilings string) {
		t.Helper()
		these, err := programs()
		if err != nil {
			t.Fatal(err)
		}
		r := &result{kernel: k, mode: mode, programs: these, date: "2026-01-02", report: &report.Report{Release: "6.1.0-" + mode, Ceilings: ceilings}}
		if err := r.keep("kernels"); err != nil {
			t.Fatal(err)
		}
	}
	write("bpf/connect_bpfel.o", "older")
	keep("confidentiality", "amd64 6.1\t7\ta program\n")
	write("bpf/connect_bpfel.o", "these")
	keep("none", "amd64 6.1\t300\tb (all)\namd64 6.1\t200\ta (all)\n")
	write(ceilings, "# heading\namd64 5.10\t900\ta (all)\namd64 6.1\t100\ta (all)\namd64 6.1\t100\tc (all)\namd64 6.18\t400\ta (all)\n")
	write(docs, "before\n"+tableFrom+"old\n"+tableTo+"after\n")
	if err := update("kernels", []kernel{k}); err != nil {
		t.Fatal(err)
	}
	if got, want := read(ceilings), "# heading\namd64 5.10\t900\ta (all)\namd64 6.1\t200\ta (all)\namd64 6.1\t300\tb (all)\namd64 6.18\t400\ta (all)\n"; got != want {
		t.Errorf("ceilings\n%s, want\n%s", got, want)
	}
	got := read(docs)
	if !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "after\n") || strings.Contains(got, "old") {
		t.Errorf("%q", got)
	}
	for _, row := range []string{"| 6.1.0-none | none | 2026-01-02 | 0 |", "| 6.1 amd64 | confidentiality | not with these programs | 0 |"} {
		if !strings.Contains(got, row) {
			t.Errorf("%q is not in %s", row, got)
		}
	}
}
