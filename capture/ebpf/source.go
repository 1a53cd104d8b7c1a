package ebpf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Options say what to watch. The zero value watches nothing.
type Options struct {
	// Prefixes whose connections are followed.
	Prefixes []netip.Prefix
	// Ports are followed at any address; at most bpf.MaxPorts.
	Ports []uint16
	// LookAtOthers looks at the first bytes of every other outbound connection, and follows those that bear a name of DynamoDB's.
	LookAtOthers bool
	// Names are server names that are followed beside DynamoDB's own when others are looked at; at most bpf.MaxNames.
	Names []string
	// DNS yields DNS answers, over UDP and TCP.
	DNS bool
	// CgroupPath is the root of the cgroup2 hierarchy; "" finds it in /proc/mounts.
	CgroupPath string
	// BufferBytes is the size of the ring buffer, rounded up to a power of two; 0 is bpf.DefaultRing.
	BufferBytes int
	// Describe completes what the kernel knows of a process. It is called once for each connection that is followed, before its first segment
	// is given out, by the goroutine that calls Next; nil leaves processes as they are.
	Describe func(*flow.Process)
	// Count ends the watching after so many segments; 0 goes on.
	Count uint64
}

const (
	// rest is how long the reader leaves the ring buffer alone after it has emptied it. Waking the reader is three quarters of what an
	// event costs the one who causes it; while the reader rests, nobody wakes it.
	rest = 3 * time.Millisecond
	// patience is how long Next waits for something to happen before it returns capture.ErrIdle.
	patience = 50 * time.Millisecond
)

// Source watches the host's sockets. One goroutine calls Next; the other methods may be called by any.
type Source struct {
	kernel *bpf.Socket
	count  uint64 // Options.Count
	head   []byte // of the packet that Frame made last
	event  bpf.Event
	conns  connections
	conn   *connection // of the event in hand; nil for a DNS answer that nobody's connect was seen for
	// pending are segments to be given out before the event in hand.
	pending []flow.Segment
	inHand  bool
	clock   clock
	timer   *time.Timer
	closing chan struct{}
	cgroup  string
	// warnings say what works less than fully here.
	warnings []string

	packets, bytes, bad, gaps atomic.Uint64

	// reading is held while the ring buffer is read, so that it is not given back under the reader.
	reading sync.Mutex
	// mu guards what follows; who needs both takes reading first.
	mu       sync.Mutex
	closed   bool
	released bool
	last     bpf.Counters // as of the release
}

// Open begins to watch. It fails with a *bpf.NotSupportedError, a *bpf.PermissionError, a *bpf.NotRootError or bpf.ErrNoCgroup2 where that is why.
func Open(o Options) (*Source, error) {
	kernel, err := bpf.Load(bpf.Config{Ports: o.Ports, LookAtOthers: o.LookAtOthers, Names: o.Names, DNS: o.DNS, Ring: o.BufferBytes})
	if err != nil {
		return nil, err
	}
	if err := kernel.SetPrefixes(o.Prefixes); err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	s := &Source{kernel: kernel, timer: time.NewTimer(0), closing: make(chan struct{}), cgroup: o.CgroupPath, count: o.Count, conns: newConnections(o.Describe)}
	s.clock.measured = s.clock.Sync()
	if err := kernel.Attach(o.CgroupPath); err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	// After attaching, so that no connection falls between.
	if err := kernel.FindEarlier(); err != nil {
		s.warnings = append(s.warnings, err.Error())
	}
	s.warnings = append(s.warnings, kernel.Limits...)
	return s, nil
}

// SetPrefixes replaces the set of prefixes, without a gap. Connections that are open stay what they are.
func (s *Source) SetPrefixes(prefixes []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return bpf.ErrClosed
	}
	return s.kernel.SetPrefixes(prefixes)
}

// Doubtful reports whether the kernel could not tell from the first bytes of a connection, that of the segment which Next gave last, if it is wanted, and
// nobody has decided it since. It is called by who calls Next.
func (s *Source) Doubtful() bool { return s.conn != nil && s.conn.doubtful }

// Decide tells what was found out about a doubtful connection, that of the segment which Next gave last: keep false has the kernel copy nothing more of it,
// true has it copied like one that bears a name of DynamoDB's. Connections that are never decided cost no more than their budget. It is called by who
// calls Next.
func (s *Source) Decide(keep bool) error {
	s.conn.doubtful = false
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return bpf.ErrClosed
	}
	return s.kernel.Decide(&s.event.Opener, keep)
}

// Next fills seg with the next segment. Its payload is valid until the next call. After Close it gives what was seen before, then io.EOF; so it
// does when Count is reached.
func (s *Source) Next(seg *flow.Segment) error {
	for {
		if s.count > 0 && s.packets.Load() >= s.count {
			return io.EOF
		}
		if n := len(s.pending); n > 0 {
			s.packets.Add(1)
			*seg = s.pending[0]
			s.pending = s.pending[:copy(s.pending, s.pending[1:])]
			return nil
		}
		if s.inHand {
			s.inHand = false
			s.segment(seg)
			return nil
		}
		if err := s.read(); err != nil {
			return err
		}
		s.announce()
		s.inHand = true
	}
}

// Pause takes the programs off their hooks and Resume puts them back: connections opened in between are not seen. They are for measuring
// what the source costs.
func (s *Source) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kernel.Detach()
}

// Resume undoes Pause.
func (s *Source) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return bpf.ErrClosed
	}
	return s.kernel.Attach(s.cgroup)
}

// read gets the next event.
func (s *Source) read() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	for {
		if s.isReleased() {
			return io.EOF
		}
		if s.kernel.Waiting() == 0 {
			s.gaps.Add(s.conns.settle())
			s.pause()
		}
		err := s.kernel.Read(&s.event, time.Now().Add(patience))
		switch {
		case err == nil:
			s.clock.follow(s.event.Time)
			return nil
		case errors.Is(err, bpf.ErrDeadline):
			return capture.ErrIdle
		case errors.Is(err, bpf.ErrFlushed):
			s.gaps.Add(s.conns.settleAll())
			if err := s.release(); err != nil {
				return err
			}
			return io.EOF
		case errors.Is(err, bpf.ErrMalformed):
			s.bad.Add(1)
		default:
			return fmt.Errorf("read the ring buffer: %w", err)
		}
	}
}

// pause leaves the ring buffer alone for a while.
func (s *Source) pause() {
	s.clock.expire()
	s.timer.Reset(rest)
	select {
	case <-s.timer.C:
	case <-s.closing:
	}
}

// Close ends the watching. Next then gives out what was seen before, and io.EOF at the end, which gives everything back; so does a second
// Close, for a caller that does not read on.
func (s *Source) Close() error {
	s.mu.Lock()
	again := s.closed
	var err error
	if !again {
		s.closed = true
		err = s.kernel.Detach()
		close(s.closing)
		err = errors.Join(err, s.kernel.Flush())
	}
	s.mu.Unlock()
	if again {
		s.reading.Lock()
		defer s.reading.Unlock()
		err = s.release()
	}
	return err
}

func (s *Source) isReleased() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.released
}

// release gives everything back. The caller holds reading.
func (s *Source) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return nil
	}
	s.released = true
	s.last, _ = s.kernel.Counters()
	return s.kernel.Close()
}
