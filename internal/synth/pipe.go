package synth

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// errBothWait is what Read returns when the other end waits as well: nobody will ever speak again.
var errBothWait = errors.New("both ends wait for the other")

// pipe joins two ends of a connection in memory. Writes are buffered without limit, and only one end runs at a time: the other gets its
// turn when this one waits for bytes or closes. So what is said, and in which order, does not depend on the scheduler; with net.Pipe two
// ends that write at the same time, as in a HelloRetryRequest, wait for each other for ever.
type pipe struct {
	mu      sync.Mutex
	changed sync.Cond
	turn    int
	waiting [2]bool
	closed  [2]bool
	buf     [2][]byte // what the end of that index has to read
}

// newPipe returns two ends; the first has the first turn, the second must begin by reading.
func newPipe() (first, second net.Conn) {
	p := new(pipe)
	p.changed.L = &p.mu
	return &pipeEnd{p: p, me: 0}, &pipeEnd{p: p, me: 1}
}

type pipeEnd struct {
	p  *pipe
	me int
}

func (e *pipeEnd) Read(b []byte) (int, error) {
	p, other := e.p, 1-e.me
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed[e.me]:
			return 0, io.ErrClosedPipe
		case p.turn == e.me && len(p.buf[e.me]) > 0:
			n := copy(b, p.buf[e.me])
			p.buf[e.me] = p.buf[e.me][n:]
			return n, nil
		case p.closed[other]:
			if len(p.buf[e.me]) == 0 {
				return 0, io.EOF
			}
			p.turn = e.me
			continue
		case p.turn == e.me && p.waiting[other] && len(p.buf[other]) == 0:
			return 0, errBothWait
		case p.turn == e.me:
			p.turn = other
			p.changed.Broadcast()
		}
		p.waiting[e.me] = true
		p.changed.Wait()
		p.waiting[e.me] = false
	}
}

func (e *pipeEnd) Write(b []byte) (int, error) {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	if e.p.closed[0] || e.p.closed[1] {
		return 0, io.ErrClosedPipe
	}
	e.p.buf[1-e.me] = append(e.p.buf[1-e.me], b...)
	return len(b), nil
}

func (e *pipeEnd) Close() error {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	e.p.closed[e.me] = true
	e.p.turn = 1 - e.me
	e.p.changed.Broadcast()
	return nil
}

func (e *pipeEnd) LocalAddr() net.Addr              { return pipeAddr{} }
func (e *pipeEnd) RemoteAddr() net.Addr             { return pipeAddr{} }
func (e *pipeEnd) SetDeadline(time.Time) error      { return nil }
func (e *pipeEnd) SetReadDeadline(time.Time) error  { return nil }
func (e *pipeEnd) SetWriteDeadline(time.Time) error { return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "synth" }
func (pipeAddr) String() string  { return "synth" }
