package bpf

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
)

var update = flag.Bool("update", false, "write the verifier's counts on this kernel, and a tenth, to testdata/verifier.txt")

const ceilings = "testdata/verifier.txt"

// TestVerifierDoesNoMoreWorkThanBefore loads every program as the loader does, with all that it can be asked for and with the least, and holds what
// the verifier says it processed to ceilings. The kernel refuses a program beyond a million; load time grows with the count long before.
func TestVerifierDoesNoMoreWorkThanBefore(t *testing.T) {
	kernel := kernelVersion(t)
	counts := map[string]int{}
	fields, err := readKernelFields()
	if err != nil {
		t.Fatal(err)
	}
	if confidential() {
		fields = kernelFields{}
	}
	all := Config{Ports: []uint16{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, LookAtOthers: true, Names: []string{"a.example"}, DNS: true}
	for _, c := range []struct {
		name   string
		config Config
		fields kernelFields
	}{
		{"all", all, fields},
		{"all, kernel memory not read", all, kernelFields{}},
		{"prefixes only", Config{}, fields},
	} {
		for program, n := range processed(t, c.config, c.fields) {
			counts[program+" ("+c.name+")"] = n
		}
	}
	if !confidential() { // which refuses them
		maps.Copy(counts, processedLibrary(t))
	}
	if len(counts) < 3*4 {
		t.Fatalf("only %d counts: %v", len(counts), counts)
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%6d  %s", counts[name], name)
	}
	table := readCeilings(t)
	if *update {
		table[kernel] = map[string]int{}
		for name, n := range counts {
			table[kernel][name] = (n + n/10 + 99) / 100 * 100
		}
		writeCeilings(t, table)
	}
	limits, ok := table[kernel]
	if !ok { // the kernels differ: of one that was never measured no more is asked than of the worst that was
		limits = map[string]int{}
		for _, other := range table {
			for name, n := range other {
				limits[name] = max(limits[name], n)
			}
		}
	}
	for name, n := range counts {
		switch limit, ok := limits[name]; {
		case !ok:
			t.Errorf("%s has no ceiling on %s; %s", name, kernel, howToRaise)
		case n > limit:
			t.Errorf("%s: the verifier processed %d instructions on %s, more than its ceiling of %d: does every caller need what was added? %s",
				name, n, kernel, limit, howToRaise)
		}
	}
	for name := range table[kernel] {
		if _, ok := counts[name]; !ok && !confidential() {
			t.Errorf("%s has a ceiling on %s and is not there; %s", name, kernel, howToRaise)
		}
	}
}

const howToRaise = "if that is meant, `go test ./bpf -run Verifier -update` as root, and `make test-kernels KERNELS=-update` for the other kernels; the commit says why"

// processed loads all programs with a configuration and gives the verifier's counts. The iterator is left out where there is none.
func processed(t *testing.T, c Config, f kernelFields) map[string]int {
	t.Helper()
	raiseMemlock() // what it could not do shows below
	s := &Socket{}
	load := func(load func() (*ebpf.CollectionSpec, error)) *ebpf.CollectionSpec {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	connect, packet, earlier := load(loadConnect), load(loadPacket), load(loadEarlier)
	earlier.Maps["events"].MaxEntries = DefaultRing
	if err := errors.Join(c.apply(s, connect, packet), f.apply(connect, packet), earlier.Variables["ports"].Set(s.ports)); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for name, spec := range map[string]*ebpf.CollectionSpec{"connect": connect, "packet": packet, "earlier": earlier} {
		loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
		err = explain("load "+name, needs, err)
		skipWithoutRights(t, err)
		if v, _ := features.LinuxVersionCode(); name == "earlier" && err != nil && (v < 5<<16|12<<8 || confidential()) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer loaded.Close()
		for program, p := range loaded.Programs {
			counts[program] = processedBy(t, program, p.VerifierLog)
		}
	}
	return counts
}

// processedLibrary is processed for the probes of TLS libraries, with every offset known.
func processedLibrary(t *testing.T) map[string]int {
	t.Helper()
	spec, err := loadLibrary()
	if err != nil {
		t.Fatal(err)
	}
	if err := (SSLOffsets{8, 16, 24, 32, 40, 48, 56, 64, GnuTLSOffsets{8, 1 << 20, 1 << 20}, S2NOffsets{11, 12, 13, 14, 15, 16}}).apply(spec); err != nil {
		t.Fatal(err)
	}
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	err = explain("load library", needsLibrary, err)
	skipWithoutRights(t, err)
	if err != nil {
		t.Fatal(err)
	}
	defer loaded.Close()
	counts := map[string]int{}
	for program, p := range loaded.Programs {
		counts[program+" (every offset)"] = processedBy(t, program, p.VerifierLog)
	}
	return counts
}

// processedBy reads "processed 1234 insns (limit 1000000) …" from a verifier's log.
func processedBy(t *testing.T, program, log string) int {
	t.Helper()
	for line := range strings.Lines(log) {
		if rest, ok := strings.CutPrefix(line, "processed "); ok {
			number, _, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(number)
			if err != nil || n == 0 {
				t.Fatalf("%s: %q", program, line)
			}
			return n
		}
	}
	t.Fatalf("%s: the verifier's log has no count: %q", program, log)
	return 0
}

// kernelVersion is such as "amd64 6.1": the verifier changes with every one.
func kernelVersion(t *testing.T) string {
	v, err := features.LinuxVersionCode()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d.%d", runtime.GOARCH, v>>16, v>>8&0xff)
}

// readCeilings reads lines of a kernel, a ceiling and a name, with tabs between them.
func readCeilings(t *testing.T) map[string]map[string]int {
	t.Helper()
	f, err := os.Open(ceilings)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := map[string]map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		field := strings.Split(lines.Text(), "\t")
		if len(field) != 3 {
			t.Fatalf("%s: %q", ceilings, lines.Text())
		}
		n, err := strconv.Atoi(field[1])
		if err != nil {
			t.Fatalf("%s: %q: %v", ceilings, lines.Text(), err)
		}
		if table[field[0]] == nil {
			table[field[0]] = map[string]int{}
		}
		table[field[0]][field[2]] = n
	}
	return table
}

func writeCeilings(t *testing.T, table map[string]map[string]int) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# The most instructions that the verifier may process, by kernel. Written by go test ./bpf -run Verifier -update.\n")
	for _, kernel := range slices.Sorted(maps.Keys(table)) {
		for _, name := range slices.Sorted(maps.Keys(table[kernel])) {
			fmt.Fprintf(&b, "%s\t%d\t%s\n", kernel, table[kernel][name], name)
		}
	}
	if err := os.MkdirAll(filepath.Dir(ceilings), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ceilings, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
