package probe

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// maxTape bounds what a server may send in one connection, in bytes: the longest Certificate message that is read anywhere (crypto/tls:
// 256 KiB), and some for the rest.
const maxTape = 320 << 10

// errTooMuch ends a connection whose server does not stop sending.
var errTooMuch = errors.New("the server sent more than any handshake has")

// A taped connection keeps what passes through it.
type taped struct {
	net.Conn
	mu       sync.Mutex
	start    time.Time
	pieces   []piece // what passed, in order
	received int
	// tls is where the TLS layer begins in the stream of each side: behind the opening of a proxy's tunnel.
	tls [2]int
	// ended is set by the first end that was seen.
	ended          bool
	endBy          session.Side
	endRST         bool
	sent           [2]int
	endAt, readyAt time.Time
	// closed is called when the connection is; nil for nobody.
	closed func()
}

type piece struct {
	at   time.Time
	from session.Side
	data []byte
}

func newTaped(c net.Conn, start time.Time) *taped {
	return &taped{Conn: c, start: start, readyAt: time.Now()}
}

// Read takes at most what the tape has room for.
func (t *taped) Read(b []byte) (int, error) {
	t.mu.Lock()
	room := maxTape - t.received
	t.mu.Unlock()
	if room <= 0 {
		return 0, errTooMuch
	}
	n, err := t.Conn.Read(b[:min(len(b), room)])
	t.note(session.Server, b[:n])
	switch {
	case errors.Is(err, io.EOF):
		t.end(session.Server, false)
	case errors.Is(err, syscall.ECONNRESET):
		t.end(session.Server, true)
	}
	return n, err
}

func (t *taped) Write(b []byte) (int, error) {
	n, err := t.Conn.Write(b)
	t.note(session.Client, b[:n])
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		t.end(session.Server, true)
	}
	return n, err
}

func (t *taped) Close() error {
	t.end(session.Client, false)
	err := t.Conn.Close()
	if t.closed != nil {
		t.closed()
	}
	return err
}

func (t *taped) note(from session.Side, b []byte) {
	if len(b) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pieces = append(t.pieces, piece{time.Now(), from, append([]byte(nil), b...)})
	t.sent[from] += len(b)
	if from == session.Server {
		t.received += len(b)
	}
}

func (t *taped) end(by session.Side, rst bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.ended, t.endBy, t.endRST, t.endAt = true, by, rst, time.Now()
	}
}

// beginTLS marks that what comes next on either side is TLS.
func (t *taped) beginTLS() { t.tls = t.sent }

// segments gives the tape as the segments of a capture between two addresses: a three-way handshake, what passed, and the end.
func (t *taped) segments(client, server netip.AddrPort, put func(*flow.Segment)) {
	tuple := flow.FiveTuple{
		SrcIP: flow.IPFrom(client.Addr()), DstIP: flow.IPFrom(server.Addr()), SrcPort: client.Port(), DstPort: server.Port(), Proto: flow.TCP,
	}
	next := [2]uint32{}
	packet := uint64(0)
	send := func(at time.Time, from session.Side, flags flow.TCPFlags, payload []byte) {
		packet++
		s := flow.Segment{
			FiveTuple: tuple, Time: at.UnixNano(), Packet: packet, Seq: next[from], Flags: flags, Payload: payload, Length: len(payload),
		}
		if from == session.Server {
			s.FiveTuple = tuple.Reverse()
		}
		if packet > 1 {
			s.Flags |= flow.ACK
			s.Ack = next[from.Peer()]
		}
		next[from] += uint32(len(payload))
		if flags&(flow.SYN|flow.FIN) != 0 {
			next[from]++
		}
		put(&s)
	}
	send(t.start, session.Client, flow.SYN, nil)
	send(t.readyAt, session.Server, flow.SYN, nil)
	send(t.readyAt, session.Client, 0, nil)
	last := t.readyAt
	for _, p := range t.pieces {
		send(p.at, p.from, flow.PSH, p.data)
		send(p.at, p.from.Peer(), 0, nil)
		last = p.at
	}
	switch {
	case !t.ended:
	case t.endRST:
		send(t.endAt, t.endBy, flow.RST, nil)
		last = t.endAt
	default:
		send(t.endAt, t.endBy, flow.FIN, nil)
		send(t.endAt, t.endBy.Peer(), flow.FIN, nil)
		last = t.endAt
	}
	t.endAt = last
}
