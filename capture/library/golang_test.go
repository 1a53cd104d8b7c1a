package library

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// goProgram is a client of crypto/tls.
const goProgram = `package main

import (
	"crypto/tls"
	"os"
)

func main() {
	c, err := tls.Dial("tcp", os.Args[1], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		os.Exit(1)
	}
	c.Close()
}
`

func TestGoProgramsAreProbedHoweverTheyAreBuilt(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": goProgram, "go.mod": "module x\n", "cgo.go": "package main\n\n// int one(void) { return 1; }\nimport \"C\"\n\nvar _ = C.one()\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		cgo   bool
		flags []string
	}{
		{"stripped", false, []string{"-trimpath", "-ldflags", "-s -w"}},
		{"position-independent, stripped, with C code", true, []string{"-trimpath", "-buildmode", "pie", "-ldflags", "-s -w"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(dir, "program")
			cmd := exec.Command("go", append(append([]string{"build", "-o", out}, c.flags...), ".")...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if c.cgo {
				cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
			}
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			f, err := os.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := examine(f, "")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got.name, "Go 1.") || len(got.others) != len(goFunctions) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// emptyGoProgram is one that does nothing and is not stripped.
func emptyGoProgram(t *testing.T) *os.File {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": "package main\n\nfunc main() {}\n", "go.mod": "module x\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-o", "program", ".")
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	f, err := os.Open(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestAGoProgramWithoutTLSGetsNoProbes(t *testing.T) {
	if c, err := examine(emptyGoProgram(t), ""); err != errNothing {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestGoPrologue(t *testing.T) {
	if machine != 0x3e {
		testenv.Beyond(t, "the samples are amd64's")
	}
	for text, want := range map[string]bool{
		"493b6610 0f8600000000 554889e5":      true, // CMPQ SP, 16(R14)
		"4c8da42480feffff 4d3b6610 0f86":      true, // LEAQ -0x180(SP), R12; CMPQ R12, 16(R14)
		"4c8d6424f0 4d3b6610 0f8600000000":    true,
		"554889e5 4883ec10 90909090 90909090": false,
		"00493b66100f8600000000554889":        false,
		"493b66":                              false,
		"":                                    false,
	} {
		if got := goPrologue(code(t, text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

func TestGoIsJudgedByItsFlag(t *testing.T) {
	begin := func(insecure int64, flags bpf.LibraryFlags) bpf.LibraryEvent {
		return bpf.LibraryEvent{PID: 7, Strand: 8, Kind: bpf.LibraryHandshake, Random: ours, Value: insecure, Data: []byte("x.example"),
			Flags: bpf.LibraryRandomKnown | bpf.LibraryGo | flags}
	}
	for _, c := range []struct {
		name string
		e    bpf.LibraryEvent
		by   string
	}{
		{"InsecureSkipVerify", begin(1, bpf.LibraryValueKnown), "InsecureSkipVerify"},
		{"not set", begin(0, bpf.LibraryValueKnown), "InsecureSkipVerify is false"},
		{"InsecureSkipVerify and a callback", begin(1, bpf.LibraryValueKnown|bpf.LibraryCallback), ""},
		{"a callback beside", begin(0, bpf.LibraryValueKnown|bpf.LibraryCallback), "InsecureSkipVerify is false"},
		{"not readable", begin(0, 0), ""},
	} {
		l := told(t, false, c.e)
		if l.VerificationBy != c.by || l.ServerName != "x.example" || l.HostChecked != (c.by == "InsecureSkipVerify is false") {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
}
