package filter

import (
	"testing"

	"golang.org/x/net/bpf"
)

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
