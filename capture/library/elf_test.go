package library

import (
	"debug/elf"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// exporters are files with few and with many symbols: node has 75,000, whose names are several windows.
var exporters = []string{"/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "/usr/lib/x86_64-linux-gnu/libgnutls.so.30", "node"}

func TestExportedIsWhatTheStandardLibraryReads(t *testing.T) {
	for _, name := range exporters {
		t.Run(name, func(t *testing.T) {
			file, err := elf.Open(testenv.Tool(t, name))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			list, err := file.DynamicSymbols()
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]elf.Symbol{}
			for _, x := range list {
				ours := slices.ContainsFunc(prefixes[:], func(p string) bool { return strings.HasPrefix(x.Name, p) }) && len(x.Name) < longestName
				if ours && elf.ST_TYPE(x.Info) == elf.STT_FUNC && x.Section != elf.SHN_UNDEF && x.Value != 0 {
					want[x.Name] = elf.Symbol{Name: x.Name, Info: x.Info, Other: x.Other, Section: x.Section, Value: x.Value, Size: x.Size}
				}
			}
			got := exported(file)
			if len(want) == 0 || !maps.Equal(got, want) {
				t.Errorf("%d symbols, the standard library reads %d", len(got), len(want))
			}
		})
	}
}

func BenchmarkExported(b *testing.B) {
	file, err := elf.Open(testenv.Tool(b, "node"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	b.ReportAllocs()
	for b.Loop() {
		if len(exported(file)) == 0 {
			b.Fatal("nothing is exported")
		}
	}
}
