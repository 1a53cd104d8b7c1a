package filter

import (
	"testing"

	"golang.org/x/net/bpf"
)

// compilePlain compiles without the optimizer; nil where the program is too large that way.
func compilePlain(t testing.TB, expr string, link uint32) []bpf.RawInstruction {
	t.Helper()
	syntax, err := parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	info, err := linkFor(link)
	if err != nil {
		t.Fatal(err)
	}
	g := newGenerator(expr, info)
	var c condition = conditionConst(true)
	if syntax != nil {
		if c, err = g.condition(syntax); err != nil {
			t.Fatal(err)
		}
	}
	program, err := newGraph(g.values, c).assemble(expr, DefaultSnapLen)
	if err != nil {
		return nil
	}
	return program
}

// judges are the machines that must agree with Match on every frame, whole or cut.
type judges struct {
	f     *Filter
	net   *bpf.VM
	plain []bpf.RawInstruction
}

func newJudges(t testing.TB, f *Filter) judges {
	return judges{f, netVM(t, f), compilePlain(t, f.String(), f.Link())}
}

// agree reports a frame on which golang.org/x/net/bpf's machine, or the program as it was before the optimizer, gives another answer.
func (j judges) agree(t testing.TB, frame []byte) {
	t.Helper()
	got := j.f.Match(frame, len(frame))
	if n, err := j.net.Run(frame); err != nil || n != 0 != got {
		t.Fatalf("%q on % x: Match %v, x/net/bpf %d %v\n%s", j.f, frame, got, n, err, j.f.Dump())
	}
	if j.plain != nil && (runPlain(j.plain, frame) != 0) != got {
		t.Fatalf("%q on % x: Match %v, before the optimizer %v\n%s", j.f, frame, got, !got, j.f.Dump())
	}
}

func TestMachinesAgree(t *testing.T) {
	byLink := make(map[string][][]byte)
	shrunk, plainSize := 0, 0
	for _, o := range readExpressions(t) {
		f, err := Compile(o.expr, Options{Link: linkNames[o.link]})
		if err != nil {
			continue
		}
		if byLink[o.link] == nil {
			whole := frames(t, o.link)
			for i := range whole {
				if i%4 == 0 {
					byLink[o.link] = append(byLink[o.link], whole[i])
				}
			}
			byLink[o.link] = append(byLink[o.link], truncated(whole[:10])...)
		}
		j := newJudges(t, f)
		for _, frame := range byLink[o.link] {
			j.agree(t, frame)
		}
		shrunk += len(f.program)
		plainSize += len(j.plain)
	}
	t.Logf("%d instructions, %d before the optimizer", shrunk, plainSize)
}

func TestProgramsAreAboutAsSmallAsLibpcaps(t *testing.T) {
	_, golden := readGolden(t, goldenFile)
	ours, theirs := 0, 0
	for _, o := range golden {
		f, err := Compile(o.expr, Options{Link: linkNames[o.link]})
		if err != nil || o.refusal != "" || o.link == "NULL" || o.link == "LOOP" {
			continue // the loopbacks test more address families here
		}
		ours += len(f.program)
		theirs += len(o.program)
		if len(f.program) > 2*len(o.program)+4 {
			t.Errorf("%s %q: %d instructions, libpcap %d", o.link, o.expr, len(f.program), len(o.program))
		}
	}
	t.Logf("%d instructions, libpcap %d", ours, theirs)
	if ours*10 > theirs*11 {
		t.Errorf("%d instructions, libpcap %d", ours, theirs)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	https, dns6 := benchFrames()
	for _, bm := range benchmarks {
		f, err := Compile(bm.expr, Options{Link: LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { f.Match(https, 1500); f.Match(dns6, 1500) }); n != 0 {
			t.Errorf("%q: %v allocations", bm.expr, n)
		}
	}
}
