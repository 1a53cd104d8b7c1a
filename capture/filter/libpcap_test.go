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
	cmd := exec.Command("tcpdump", append(flags, "-y", o.link, "-ddd", "--", o.expr)...)
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

func tcpdumpVersion() (string, error) {
	out, err := exec.Command("tcpdump", "--version").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "libpcap" {
			return "libpcap " + fields[2], nil
		}
	}
	return "", err
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

// TestGoldenIsLibpcaps regenerates the golden file, or compares with what this machine's libpcap says if it is the same version.
func TestGoldenIsLibpcaps(t *testing.T) {
	version, err := tcpdumpVersion()
	if err != nil || version == "" {
		t.Skip("no tcpdump on this machine")
	}
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
	if testing.Short() {
		t.Skip("runs tcpdump some hundred times")
	}
	goldenVersion, golden := readGolden(t, goldenFile)
	if goldenVersion != version {
		t.Skipf("golden file is of %s, this machine has %s", goldenVersion, version)
	}
	for _, o := range golden {
		if o.link != "EN10MB" {
			continue // enough to notice a libpcap that compiles otherwise
		}
		if now := askTcpdump(t, oracle{link: o.link, expr: o.expr}); now.line() != o.line() {
			t.Errorf("golden %s\nnow    %s", o.line(), now.line())
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

// compileOracle compiles what libpcap compiled; nil where both refused.
func compileOracle(t *testing.T, o oracle) *Filter {
	t.Helper()
	f, err := Compile(o.expr, Options{Link: linkNames[o.link]})
	switch {
	case err != nil && o.refusal == "":
		t.Errorf("%s %q: %v", o.link, o.expr, err)
		return nil
	case err == nil && o.refusal == rejectsAll:
		return f
	case err == nil && o.refusal != "":
		t.Errorf("%s %q: libpcap refuses it: %s", o.link, o.expr, o.refusal)
		return nil
	}
	return f
}

// matches runs libpcap's program.
func (o oracle) matches(frame []byte) bool { return o.refusal == "" && runPlain(o.program, frame) != 0 }

// runPlain is classic BPF as written down in the kernel's Documentation/networking/filter.rst, straight from the raw form and for all
// instructions that libpcap makes: the judge of both programs, independent of the machine of this package.
func runPlain(program []bpf.RawInstruction, p []byte) uint32 {
	var (
		a, x uint32
		m    [16]uint32
	)
	load := func(size uint16, off uint64) (n uint32, ok bool) {
		bytes := map[uint16]uint64{sizeB: 1, sizeH: 2, sizeW: 4}[size]
		if off+bytes > uint64(len(p)) {
			return 0, false
		}
		for _, b := range p[off : off+bytes] {
			n = n<<8 | uint32(b)
		}
		return n, true
	}
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		operand, ok := in.K, true
		if in.Op&sourceX != 0 {
			operand = x
		}
		switch in.Op & 7 {
		case classLD, classLDX:
			var n uint32
			switch in.Op & 0xe0 {
			case modeIMM:
				n = in.K
			case modeABS:
				n, ok = load(in.Op&0x18, uint64(in.K))
			case modeIND:
				n, ok = load(in.Op&0x18, uint64(in.K)+uint64(x))
			case modeMEM:
				n = m[in.K]
			case modeLEN:
				n = uint32(len(p))
			case modeMSH:
				n, ok = load(sizeB, uint64(in.K))
				n = n & 0xf * 4
			default:
				panic(in)
			}
			if in.Op&7 == classLD {
				a = n
			} else {
				x = n
			}
		case classST:
			m[in.K] = a
		case 3: // STX
			m[in.K] = x
		case classALU:
			if in.Op&0xf0 == 0x80 {
				a = -a
				break
			}
			a, ok = alu(aluOp(in.Op&0xf0), a, operand)
		case classJMP:
			switch {
			case in.Op&0xf0 == jumpAlways:
				pc += int(in.K)
			case holds(testOp(in.Op&0xf0), a, operand):
				pc += int(in.Jt)
			default:
				pc += int(in.Jf)
			}
		case classRET:
			return in.K
		case classMISC:
			if in.Op&0xf8 == miscTXA {
				a = x
			} else {
				x = a
			}
		}
		if !ok {
			return 0
		}
	}
	panic("program without an end")
}

// TestMatchesWhatLibpcapMatches runs every expression over the frames that were built for it.
//
// On whole frames Match and libpcap agree. On frames that end inside a header the order of loads shows, and libpcap's optimizer
// changes that order; there Match agrees with libpcap's program either before or after it.
func TestMatchesWhatLibpcapMatches(t *testing.T) {
	_, golden := readGolden(t, goldenFile)
	_, unoptimized := readGolden(t, unoptimizedFile)
	whole, cut := make(map[string][][]byte), make(map[string][][]byte)
	compared, matched, differ := 0, 0, 0
	for i, o := range golden {
		if whole[o.link] == nil {
			whole[o.link] = frames(t, o.link)
			cut[o.link] = truncated(whole[o.link])
		}
		f := compileOracle(t, o)
		if f == nil {
			continue
		}
		for _, frame := range whole[o.link] {
			got, want := f.Match(frame, len(frame)), o.matches(frame)
			if compared++; want {
				matched++
			}
			if got != want {
				t.Errorf("%s %q on % x:\nMatch %v, libpcap %v\n%s", o.link, o.expr, frame, got, want, f.Dump())
				break
			}
		}
		for _, frame := range cut[o.link] {
			got, after := f.Match(frame, len(frame)), o.matches(frame)
			if compared++; got == after {
				continue
			}
			differ++
			if before := unoptimized[i].matches(frame); got != before {
				t.Errorf("%s %q on the beginning % x:\nMatch %v, libpcap %v and %v\n%s", o.link, o.expr, frame, got, before, after, f.Dump())
				break
			}
		}
	}
	t.Logf("%d expressions, %d comparisons, %d matches of whole frames, %d differences to libpcap's optimizer on cut frames",
		len(golden), compared, matched, differ)
	if matched == 0 {
		t.Error("nothing matched")
	}
}

// TestEveryExpressionMatchesSomething keeps the built frames honest: an expression that matches all or none of them tests little.
func TestEveryExpressionMatchesSomething(t *testing.T) {
	_, golden := readGolden(t, goldenFile)
	all := frames(t, "EN10MB")
	never := 0
	for _, o := range golden {
		if o.link != "EN10MB" || o.refusal != "" {
			continue
		}
		n := 0
		for _, frame := range all {
			if o.matches(frame) {
				n++
			}
		}
		if n == 0 {
			never++
			t.Logf("no frame for %q", o.expr)
		}
	}
	if never > 20 {
		t.Errorf("%d expressions match no built frame", never)
	}
}

// TestMatchesWhatLibpcapMatchesInTheCorpus is the same with real captures.
func TestMatchesWhatLibpcapMatchesInTheCorpus(t *testing.T) {
	_, golden := readGolden(t, goldenFile)
	type pair struct {
		o oracle
		f *Filter
	}
	byLink := make(map[uint32][]pair)
	for _, o := range golden {
		if o.refusal == "" {
			if f := compileOracle(t, o); f != nil {
				byLink[f.Link()] = append(byLink[f.Link()], pair{o, f})
			}
		}
	}
	byLink[LinkRaw] = byLink[LinkDLTRaw]
	compared, reported := 0, 0
	corpus(t, 12, func(link uint32, frame []byte, _ int) {
		libpcaps := frame
		if link == LinkNull && len(frame) > 4 && frame[0] == 30 {
			libpcaps = append([]byte{10}, frame[1:]...) // macOS's number for IPv6, which libpcap on Linux does not know
		}
		for _, p := range byLink[link] {
			compared++
			if got, want := p.f.Match(frame, len(frame)), p.o.matches(libpcaps); got != want && reported < 10 {
				reported++
				t.Errorf("%s %q on % x:\nMatch %v, libpcap %v", p.o.link, p.o.expr, frame, got, want)
			}
		}
	})
	t.Logf("%d comparisons", compared)
}
