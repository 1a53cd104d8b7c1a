package traffic

import (
	"bufio"
	"io"
	"math/rand/v2"
	"time"
)

// firstPacket is when every file begins.
var firstPacket = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC).UnixNano()

// Of 10,000 segments with payload so many are missing from the file, sent twice, or captured behind a later one.
const (
	lostOf        = 10
	retransmitted = 30
	reordered     = 50
)

// ending is how a flow ends.
type ending uint8

const (
	byFIN ending = iota
	byRST
	never
)

// talk is a script under way: one flow.
type talk struct {
	script *script
	// repeat is how often the script's loop is still to be played again.
	repeat int
	end    ending

	client, server end
	seq            [2]uint32 // next of client and server
	started        bool
	pos            int
	// rtt is the round trip, wait how long the client thinks at a time, in nanoseconds.
	rtt, wait int64
	// clock is the client's timestamp less the capture's time in milliseconds; the server's is the same plus one.
	clock uint32
	id    uint16
}

// step returns the step that is due, nil when the flow is over.
func (f *talk) step() *step {
	if f.pos < len(f.script.steps) {
		return &f.script.steps[f.pos]
	}
	var tail []step
	if f.script.proto == tcp {
		switch f.end {
		case byFIN:
			tail = closing
		case byRST:
			tail = reset
		}
	}
	if i := f.pos - len(f.script.steps); i < len(tail) {
		return &tail[i]
	}
	return nil
}

// advance moves on to the next step.
func (f *talk) advance() {
	f.pos++
	if f.repeat > 0 && f.pos == f.script.to {
		f.repeat--
		f.pos = f.script.from
	}
}

// header makes the header of a step that is sent now, and counts its bytes as sent.
func (f *talk) header(st *step, now int64) header {
	from := 1
	src, dst := f.server, f.client
	if st.fromClient {
		from, src, dst = 0, f.client, f.server
	}
	ms := uint32(now / 1e6)
	h := header{proto: f.script.proto, src: src, dst: dst, seq: f.seq[from], val: ms + f.clock, ecr: ms - uint32(f.rtt/2e6) + f.clock, id: f.id}
	if st.flags&ack != 0 {
		h.ack = f.seq[1-from]
	}
	f.id++
	if st.flags == syn && f.pos > 0 {
		h.seq-- // the SYN once more
		return h
	}
	f.seq[from] += uint32(len(st.payload))
	if st.flags&(syn|fin) != 0 {
		f.seq[from]++
	}
	return h
}

// late is a packet that is written some time after its turn.
type late struct {
	h  header
	st *step
}

// event is something that happens at a time: the next step of a flow, or a late packet.
type event struct {
	at     int64
	serial uint64 // of equal times the first made comes first
	flow   *talk
	late   *late
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.serial < o.serial }

// player writes the packets of many flows in the order of time.
type player struct {
	w      *bufio.Writer
	buf    []byte
	rnd    *rand.Rand
	events []event // a binary heap, the earliest first
	serial uint64
	open   int
	m      *Manifest
}

func newPlayer(w io.Writer, rnd *rand.Rand, m *Manifest) *player {
	p := &player{w: bufio.NewWriterSize(w, 1<<20), rnd: rnd, m: m}
	p.buf = appendFileHeader(nil)
	return p
}

// play plays flows, which are asked for in the order of their starts: next gives the flow and its first packet's time, or nil.
func (p *player) play(next func() (*talk, int64)) error {
	if err := p.write(); err != nil {
		return err
	}
	coming, start := next()
	for coming != nil || len(p.events) > 0 {
		if coming != nil && (len(p.events) == 0 || start <= p.events[0].at) {
			p.push(event{at: start, flow: coming})
			coming, start = next()
			continue
		}
		e := p.pop()
		if e.late != nil {
			if err := p.packet(e.at, &e.late.h, e.late.st); err != nil {
				return err
			}
			continue
		}
		if err := p.step(e.flow, e.at); err != nil {
			return err
		}
	}
	return p.w.Flush()
}

// step plays the step of f that is due, and puts f's next one in line.
func (p *player) step(f *talk, now int64) error {
	st := f.step()
	h := f.header(st, now)
	if !f.started {
		f.started = true
		if f.script.proto == tcp {
			p.open++
			p.m.MaxOpen = max(p.m.MaxOpen, p.open)
		}
	}
	write := true
	if f.script.proto == tcp && len(st.payload) > 0 {
		switch luck := p.rnd.IntN(10_000); {
		case luck < lostOf:
			if write = st.keep; !write {
				p.m.Lost++
			}
		case luck < lostOf+retransmitted:
			p.m.Retransmitted++
			p.push(event{at: now + f.rtt + 200e6, late: &late{h, st}})
		case luck < lostOf+retransmitted+reordered:
			write = false
			p.m.Reordered++
			p.push(event{at: now + 100e3, late: &late{h, st}})
		}
	}
	if write {
		if err := p.packet(now, &h, st); err != nil {
			return err
		}
	}
	f.advance()
	following := f.step()
	if following == nil {
		if f.script.proto == tcp {
			p.open--
		}
		return nil
	}
	// 12 us are what a full segment takes at 1 Gbit/s.
	pause := 12e3 + p.rnd.Int64N(8e3)
	switch following.pace {
	case turn:
		pause = f.rtt/2 + p.rnd.Int64N(f.rtt/8+1)
	case think:
		pause = f.rtt + p.rnd.Int64N(2*f.wait+1)
	}
	p.push(event{at: now + pause, flow: f})
	return nil
}

// packet writes one packet.
func (p *player) packet(at int64, h *header, st *step) error {
	p.buf = appendRecordHeader(p.buf[:0], at, 0)
	p.buf = appendFrame(p.buf, h, st)
	n := len(p.buf) - recordHeader
	appendRecordHeader(p.buf[:0], at, n)
	p.m.Packets++
	p.m.Wire += int64(n)
	if h.proto == tcp && (h.src.port == 443 || h.dst.port == 443) {
		p.m.TCPPort443++
	}
	return p.write()
}

func (p *player) write() error {
	p.m.Bytes += int64(len(p.buf))
	_, err := p.w.Write(p.buf)
	return err
}

func (p *player) push(e event) {
	p.serial++
	e.serial = p.serial
	p.events = append(p.events, e)
	i := len(p.events) - 1
	for i > 0 && p.events[i].before(&p.events[(i-1)/2]) {
		p.events[i], p.events[(i-1)/2] = p.events[(i-1)/2], p.events[i]
		i = (i - 1) / 2
	}
}

func (p *player) pop() event {
	top := p.events[0]
	last := len(p.events) - 1
	p.events[0] = p.events[last]
	p.events[last] = event{}
	p.events = p.events[:last]
	for i := 0; ; {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < last && p.events[child].before(&p.events[least]) {
				least = child
			}
		}
		if least == i {
			return top
		}
		p.events[i], p.events[least] = p.events[least], p.events[i]
		i = least
	}
}
