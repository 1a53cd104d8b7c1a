package filter

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite testdata/libpcap*.txt* with the tcpdump of this machine")

// The golden files hold libpcap's programs, as its optimizer leaves them (what tcpdump runs) and as they were before (tcpdump -O).
const (
	goldenFile      = "testdata/libpcap.txt"
	unoptimizedFile = "testdata/libpcap-unoptimized.txt.gz"
)

// linkNames are libpcap's names (tcpdump -y) of the link types.
var linkNames = map[string]uint32{
	"EN10MB": LinkEthernet, "RAW": LinkDLTRaw, "LINUX_SLL": LinkLinuxSLL, "LINUX_SLL2": LinkLinuxSLL2, "NULL": LinkNull,
	"LOOP": LinkLoop, "PPP": LinkPPP, "IPV4": LinkIPv4, "IPV6": LinkIPv6,
}

// oracle is what libpcap makes of one expression: a program, or a refusal.
type oracle struct {
	link, expr string
	program    []bpf.RawInstruction
	refusal    string
}

// rejectsAll is libpcap's refusal of an expression that can match nothing. Here that is no error: a file with several link types
// may well have one on which "ip6" is impossible.
const rejectsAll = "expression rejects all packets"

func readExpressions(t testing.TB) []oracle {
	text, err := os.ReadFile("testdata/expressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []oracle
	var links []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '@':
			links = strings.Fields(line[1:])
		default:
			for _, link := range links {
				all = append(all, oracle{link: link, expr: line})
			}
		}
	}
	return all
}

// askTcpdump compiles with libpcap.
func askTcpdump(t testing.TB, o oracle, flags ...string) oracle {
	t.Helper()
	cmd := testenv.Command(t, "tcpdump", append(flags, "-y", o.link, "-ddd", "--", o.expr)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		_, o.refusal, _ = strings.Cut(strings.TrimSpace(stderr.String()), "tcpdump: ")
		if _, ok := errors.AsType[*exec.ExitError](err); !ok || o.refusal == "" {
			t.Fatalf("tcpdump -y %s -ddd %q: %v %s", o.link, o.expr, err, stderr.String())
		}
		return o
	}
	o.program, o.refusal = nil, ""
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines[1:] {
		o.program = append(o.program, parseInstruction(t, line))
	}
	return o
}

func parseInstruction(t testing.TB, s string) (in bpf.RawInstruction) {
	if _, err := fmt.Sscan(s, &in.Op, &in.Jt, &in.Jf, &in.K); err != nil {
		t.Fatalf("instruction %q: %v", s, err)
	}
	return in
}

// line is the golden form: link, expression, and the program or refusal, between tabs.
func (o oracle) line() string {
	text := "refused: " + o.refusal
	if o.refusal == "" {
		parts := make([]string, len(o.program))
		for i, in := range o.program {
			parts[i] = fmt.Sprintf("%d %d %d %d", in.Op, in.Jt, in.Jf, in.K)
		}
		text = strings.Join(parts, "; ")
	}
	return o.link + "\t" + o.expr + "\t" + text
}

func tcpdumpVersion(t *testing.T) string {
	t.Helper()
	out, err := testenv.Command(t, "tcpdump", "--version").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "libpcap" {
			return "libpcap " + fields[2]
		}
	}
	t.Fatalf("tcpdump --version: %v: %s", err, out)
	return ""
}

func readGolden(t testing.TB, name string) (version string, all []oracle) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err == nil && strings.HasSuffix(name, ".gz") {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(text)); err == nil {
			text, err = io.ReadAll(z)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if v, ok := strings.CutPrefix(line, "# version: "); ok {
			version = v
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			t.Fatalf("%s: %q", name, line)
		}
		o := oracle{link: fields[0], expr: fields[1]}
		if refusal, ok := strings.CutPrefix(fields[2], "refused: "); ok {
			o.refusal = refusal
		} else {
			for part := range strings.SplitSeq(fields[2], "; ") {
				o.program = append(o.program, parseInstruction(t, part))
			}
		}
		all = append(all, o)
	}
	return version, all
}

func writeGolden(t testing.TB, name, version string, all []oracle) {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "# What libpcap makes of expressions.txt: the output of tcpdump -y LINK -ddd, on one line each.\n"+
		"# Made by: go test ./capture/filter -run TestGoldenIsLibpcaps -update\n# version: %s\n", version)
	for _, o := range all {
		b.WriteString(o.line() + "\n")
	}
	if strings.HasSuffix(name, ".gz") {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(b.Bytes()) // to memory
		z.Close()
		b = packed
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGoldenIsLibpcaps regenerates the golden file, or compares it with what this machine's libpcap says. A
// difference is an error if that is the same version.
func TestGoldenIsLibpcaps(t *testing.T) {
	version := tcpdumpVersion(t)
	if *update {
		var optimized, plain []oracle
		for _, o := range readExpressions(t) {
			optimized = append(optimized, askTcpdump(t, o))
			plain = append(plain, askTcpdump(t, o, "-O"))
		}
		writeGolden(t, goldenFile, version, optimized)
		writeGolden(t, unoptimizedFile, version, plain)
		return
	}
	testenv.Slow(t, "runs tcpdump some hundred times")
	goldenVersion, golden := readGolden(t, goldenFile)
	differ := t.Errorf
	if goldenVersion != version {
		differ = t.Logf
		t.Logf("the golden file is of %s, this machine has %s: differences are none of ours", goldenVersion, version)
	}
	for _, o := range golden {
		if o.link != "EN10MB" {
			continue // enough to notice a libpcap that compiles otherwise
		}
		if now := askTcpdump(t, oracle{link: o.link, expr: o.expr}); now.line() != o.line() {
			differ("golden %s\nnow    %s", o.line(), now.line())
		}
	}
}

func TestGoldenHasEveryExpression(t *testing.T) {
	want := readExpressions(t)
	for _, name := range []string{goldenFile, unoptimizedFile} {
		_, golden := readGolden(t, name)
		if len(golden) != len(want) {
			t.Fatalf("%s: %d programs, %d expressions: run with -update", name, len(golden), len(want))
		}
		for i, o := range golden {
			if o.link != want[i].link || o.expr != want[i].expr {
				t.Fatalf("%s: %s %q where %s %q is expected: run with -update", name, o.link, o.expr, want[i].link, want[i].expr)
			}
		}
	}
}
