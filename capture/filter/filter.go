package filter

import (
	"math"
	"sync"

	"golang.org/x/net/bpf"
)

// DefaultSnapLen is what a matching program returns unless Options say otherwise: tcpdump's default, larger than any packet.
const DefaultSnapLen = 262144

// Options say what an expression is compiled for.
type Options struct {
	// Link is the link type of the packets, a LINKTYPE or DLT value.
	Link uint32
	// SnapLen is the number of bytes that the kernel shall pass on of a matching packet; 0 means DefaultSnapLen. Match ignores it.
	SnapLen int
}

// Filter is an expression compiled for one link type. It may be used by several goroutines at once.
type Filter struct {
	link    uint32
	program []bpf.RawInstruction
	code    []instruction
	shared  *shared
}

// shared is what the Filters of one expression have in common.
type shared struct {
	expr    string
	syntax  node // nil for the empty expression
	snapLen uint32

	mu     sync.Mutex
	byLink map[uint32]compiled // guarded by mu; has link types that linkFor knows only
}

type compiled struct {
	filter *Filter
	err    error
}

// Compile reads an expression and compiles it for o.Link. An empty expression matches every packet.
//
// A wrong expression, or one that asks for what frames of the link type do not have (such as VLAN tags on raw IP), gives a
// *SyntaxError; a link type that has no compiler gives an error that wraps ErrLinkType.
func Compile(expr string, o Options) (*Filter, error) {
	syntax, err := parse(expr)
	if err != nil {
		return nil, err
	}
	s := &shared{expr: expr, syntax: syntax, snapLen: DefaultSnapLen, byLink: make(map[uint32]compiled)}
	if o.SnapLen > 0 {
		s.snapLen = uint32(min(o.SnapLen, math.MaxInt32))
	}
	return s.compile(o.Link)
}

// For returns the same expression compiled for another link type: a capture file may hold several. It is compiled on first use and
// kept. Errors are as for Compile.
func (f *Filter) For(link uint32) (*Filter, error) {
	if link == f.link {
		return f, nil
	}
	return f.shared.compile(link)
}

func (s *shared) compile(link uint32) (*Filter, error) {
	info, err := linkFor(link)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.byLink[link]; ok {
		return c.filter, c.err
	}
	var c compiled
	if c.filter, c.err = s.generate(info); c.err == nil {
		c.filter.link = link
	}
	s.byLink[link] = c
	return c.filter, c.err
}

func (s *shared) generate(link linkInfo) (*Filter, error) {
	g := newGenerator(s.expr, link)
	c := condition(conditionConst(true))
	if s.syntax != nil {
		var err error
		if c, err = g.condition(s.syntax); err != nil {
			return nil, err
		}
	}
	graph := newGraph(g.values, c)
	graph.optimize()
	program, err := graph.assemble(s.expr, s.snapLen)
	if err != nil {
		return nil, err
	}
	code, err := decode(program)
	if err != nil {
		return nil, err
	}
	return &Filter{program: program, code: code, shared: s}, nil
}

// Match tells whether a packet matches. frame is what was captured of it, from the link header on, wireLen its length on the wire,
// which "len", "less" and "greater" look at; a wireLen below len(frame) counts as len(frame). frame is not kept. Match does not
// allocate.
func (f *Filter) Match(frame []byte, wireLen int) bool {
	return run(f.code, frame, uint32(min(max(wireLen, len(frame)), math.MaxUint32))) != 0
}

// Program returns a copy of the classic BPF program, as SO_ATTACH_FILTER takes it. A packet socket without link headers
// (SOCK_DGRAM) needs a filter for LinkRaw.
//
// The kernel knows % and ^ since Linux 3.7. It takes the outer VLAN tag out of a frame before a socket filter sees it, so that "vlan",
// which looks for tags in the frame as a file has them, finds none there.
func (f *Filter) Program() []bpf.RawInstruction {
	return append([]bpf.RawInstruction(nil), f.program...)
}

// Link is the link type that the Filter was compiled for.
func (f *Filter) Link() uint32 { return f.link }

// String is the expression.
func (f *Filter) String() string { return f.shared.expr }
