package afpacket

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/filter"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Owners tells who opened a connection, given the five-tuple of its SYN; nil when nobody knows. Next asks one thing at a time, from a goroutine of its own
// for which it waits, and takes packets out of the rings meanwhile.
type Owners interface {
	Opening(syn flow.FiveTuple) *flow.Opening
}

// Options say what to capture. The zero value captures on all interfaces.
type Options struct {
	// Interfaces by name; none, or Any among them, is all.
	Interfaces []string
	// Filter is the user's; nil takes everything that the doc comment of the package names.
	Filter *filter.Filter
	// Prefixes and Ports (nil: DefaultPorts) choose among TCP segments when there is no Filter; All takes every one.
	Prefixes []netip.Prefix
	Ports    []uint16
	All      bool
	// Tunnels takes packets that may hold others: VXLAN, GENEVE, GTP-U, GRE, IP in IP, MPLS, PPPoE. The filter does not look into them.
	Tunnels bool
	// BufferBytes is how much memory the kernel may fill before it has to drop packets, over all interfaces; default 16 MiB.
	BufferBytes int
	// SnapLen is how much is kept of each packet; default some 256 KiB, which is more than segmentation offload makes, so that a handshake is whole. With larger
	// ones the reader may be away for less time before packets are lost.
	SnapLen int
	// Promiscuous asks the interfaces for packets to other stations, too. It has no effect on Any.
	Promiscuous bool
	// Owners is asked for every SYN; nil leaves Opening nil. Describe completes the process that it found.
	Owners   Owners
	Describe func(*flow.Process)
	// Frames keeps the packet of the segment in hand for Frame.
	Frames bool
	// Count ends the capture after so many packets that match the filters; 0 goes on.
	Count uint64
}

// patience is how long Next waits before it returns capture.ErrIdle, in milliseconds.
const patience = 50

// lookEvery is how often interfaces are looked for that may be gone.
const lookEvery = time.Second

// Source captures. One goroutine calls Next; the other methods may be called by any.
type Source struct {
	met  tuples // connections whose owner was asked for
	o    Options
	wake int // eventfd

	mu       sync.Mutex // guards all below; Next lets it go while it waits
	rings    []*ring
	turn     int   // the ring that is read
	aside    aside // comes before the rings
	closed   bool
	deadline time.Time // when what the kernel still holds is given up, once the source is closed
	released bool
	looked   time.Time // when the interfaces were looked for
	dec      *decode.Decoder
	attached chosen
	here     map[decode.LinkType]*filter.Filter // the user's filter, by link type, if it is evaluated here
	payload  []byte
	head     []byte // of the packet in hand, if Frames is set; nil if there is none
	inHand   *ring
	wire     int
	warnings []string

	packets, bytes, filtered, cut uint64
}

// Open begins to capture. It fails with a *PermissionError without CAP_NET_RAW, with an *InterfaceError for an interface that does not
// exist, and with what package filter says when the filter does not fit an interface.
func Open(o Options) (_ *Source, err error) {
	if o.Ports == nil {
		o.Ports = DefaultPorts
	}
	if o.BufferBytes <= 0 {
		o.BufferBytes = 16 << 20
	}
	if o.SnapLen <= 0 {
		o.SnapLen = largestPacket
	}
	names := o.Interfaces
	if len(names) == 0 || slices.Contains(names, Any) {
		names = []string{Any}
	}
	names = slices.Compact(slices.Sorted(slices.Values(names))) // twice, each packet would come twice
	s := &Source{o: o, wake: -1, dec: decode.New(decode.Options{}), here: make(map[decode.LinkType]*filter.Filter)}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	g := geometryFor(o.BufferBytes/len(names), o.SnapLen)
	for _, name := range names {
		r, err := openInterface(name, g)
		if err != nil {
			return nil, err
		}
		s.rings = append(s.rings, r)
	}
	if err := s.attach(); err != nil {
		return nil, err
	}
	for _, r := range s.rings {
		if err := r.start(o.Promiscuous); err != nil {
			return nil, &InterfaceError{r.name, err}
		}
	}
	return s, nil
}

func openInterface(name string, g geometry) (*ring, error) {
	if name == Any {
		return openRing(name, 0, true, g)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &InterfaceError{name, err}
	}
	defer unix.Close(fd)
	index, err := interfaceIndex(fd, name)
	if err != nil {
		return nil, &InterfaceError{name, err}
	}
	kind, err := hardwareType(fd, name)
	if err != nil {
		return nil, &InterfaceError{name, err}
	}
	r, err := openRing(name, index, !hasEthernetHeader(kind), g)
	var permission *PermissionError
	if err != nil && !errors.As(err, &permission) {
		return nil, &InterfaceError{name, err}
	}
	return r, err
}

// SetPrefixes replaces the prefixes, without a gap.
func (s *Source) SetPrefixes(prefixes []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return io.ErrClosedPipe
	}
	s.o.Prefixes = slices.Clone(prefixes)
	return s.attach()
}

// SetPorts replaces the ports, without a gap.
func (s *Source) SetPorts(ports []uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return io.ErrClosedPipe
	}
	s.o.Ports = slices.Clone(ports)
	return s.attach()
}

// attach gives every ring its filter.
func (s *Source) attach() error {
	c := choose(&s.o)
	if c == s.attached {
		return nil
	}
	for _, r := range s.rings {
		if err := s.fit(r, c); err != nil {
			return &InterfaceError{r.name, err}
		}
		if c.here != "" && s.here[r.link] == nil {
			var err error
			if s.here[r.link], err = filter.Compile(c.here, filter.Options{Link: r.link}); err != nil {
				return &InterfaceError{r.name, err}
			}
		}
	}
	s.attached = c
	return nil
}

// fit gives a ring the longest filter that the kernel takes, of those that let all through that is asked for. If it takes none, the ring gets every
// packet, and the filter is evaluated here.
func (s *Source) fit(r *ring, c chosen) error {
	link := filter.LinkEthernet
	if r.cooked {
		link = filter.LinkRaw
	}
	forms := c.forms(link)
	o := filter.Options{Link: link, SnapLen: s.o.SnapLen}
	widest, err := filter.Compile(forms[len(forms)-1], o)
	if err != nil && s.o.Filter != nil {
		// The user's alone may still compile, but for tags in the frame; if not, its error is about what the user wrote.
		forms = nil
		widest, err = s.o.Filter.For(link)
	}
	if err != nil {
		return err
	}
	for i, form := range forms {
		f := widest
		if i < len(forms)-1 {
			if r.refused > 0 && len(form) >= r.refused {
				continue // compiling takes tens of milliseconds
			}
			if f, err = filter.Compile(form, o); err != nil {
				r.refused = len(form) // the addresses are all that the last one does not have
				continue
			}
		}
		program := withoutEcho(f.Program())
		err := attach(r.fd, program)
		if tooLong(err) && s.attached != (chosen{}) && attachShort(r.fd, withoutEcho(widest.Program())) == nil {
			err = attach(r.fd, program) // the one that was in use counted, too
		}
		switch {
		case err == nil:
			r.match = nil
			if f == widest && len(forms) > 1 {
				s.warn("the kernel has no room for a filter with all addresses (4096 instructions, net.core.optmem_max): all TCP is looked at")
			}
			return nil
		case !tooLong(err):
			return fmt.Errorf("attach filter of %d instructions: %w", len(program), err)
		}
		r.refused = len(form)
	}
	r.match = widest
	s.warn("the kernel has no room for the filter (4096 instructions, net.core.optmem_max): every packet is copied to be looked at")
	if err := attachShort(r.fd, withoutEcho(everything(s.o.SnapLen))); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// maxWarnings bounds what is kept for people to read.
const maxWarnings = 32

func (s *Source) warn(text string) {
	if len(s.warnings) < maxWarnings && !slices.Contains(s.warnings, text) {
		s.warnings = append(s.warnings, text)
	}
}

// Next fills seg with the next TCP segment or DNS datagram. Its payload is valid until the next call, also if Close is called meanwhile.
// After Close it gives what was received before, then io.EOF; it also does when Count is reached. An *InterfaceError says that there is no
// interface left.
//
// Packets of one interface come in order; those of several do not, by some milliseconds.
func (s *Source) Next(seg *flow.Segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	waited := false
	var began int64 // time of the first packet of this call
	for {
		if s.released || s.o.Count > 0 && s.packets-s.filtered >= s.o.Count {
			return io.EOF
		}
		r, f, ok := s.nextFrame()
		if !ok && s.closed {
			if !s.drained() {
				s.mu.Unlock()
				time.Sleep(time.Millisecond)
				s.mu.Lock()
				continue
			}
			s.release()
			return io.EOF
		}
		if !ok {
			if waited {
				return capture.ErrIdle
			}
			if err := s.wait(); err != nil {
				return err
			}
			waited = true
			continue
		}
		if s.take(r, f, seg) {
			return nil
		}
		// Packets that all lead to nothing are silence, too.
		if began == 0 {
			began = f.time
		}
		if f.time-began > patience*1e6 {
			return capture.ErrIdle
		}
	}
}

// drainFor is how long Close leaves the kernel to hand over the blocks that it is filling; it does so within retireAfter.
const drainFor = 100 * time.Millisecond

// drained reports whether all that was received has been read, or the time for it is over. The caller has found the rings empty.
func (s *Source) drained() bool {
	for _, r := range s.rings {
		r.statistics()
		if r.unread() > 0 && !r.gone && time.Now().Before(s.deadline) {
			return false
		}
	}
	return true
}

// nextFrame takes one that was set aside, or one from the ring whose turn it is, which ends when the ring is empty.
func (s *Source) nextFrame() (*ring, frame, bool) {
	if r, f, ok := s.aside.next(); ok {
		return r, f, true
	}
	for range s.rings {
		r := s.rings[s.turn]
		if f, ok := r.next(); ok {
			return r, f, true
		}
		s.turn = (s.turn + 1) % len(s.rings)
	}
	return nil, frame{}, false
}

// take decodes a frame and reports whether seg is to be given out.
func (s *Source) take(r *ring, f frame, seg *flow.Segment) bool {
	s.packets++
	s.bytes += uint64(f.wire)
	if len(f.data) < f.wire {
		s.cut++
	}
	if match := s.here[r.link]; f.refused || match != nil && !match.Match(f.data, f.wire) {
		s.filtered++
		return false
	}
	if s.dec.Decode(r.link, f.data, f.wire, f.time, seg) != decode.Segment {
		return false
	}
	seg.Packet, seg.Cookie, seg.Opening = s.packets, 0, nil
	if s.o.Frames {
		s.inHand, s.wire = r, f.wire
		n, ok := decode.HeadLength(f.data, seg.Payload)
		if s.head = s.head[:0]; ok {
			s.head = append(s.head, f.data[:n]...)
		}
	}
	// The ring's memory may be unmapped by Close while the caller still reads.
	s.payload = append(s.payload[:0], seg.Payload...)
	seg.Payload = s.payload
	if s.o.Owners != nil && seg.Proto == flow.TCP {
		switch syn := seg.Flags&(flow.SYN|flow.ACK) == flow.SYN; {
		case syn:
			s.met.add(seg.FiveTuple)
			s.own(seg, seg.FiveTuple, false)
		case seg.Length > 0 && s.met.add(fromClient(seg.FiveTuple)):
			s.own(seg, fromClient(seg.FiveTuple), true)
		}
	}
	return true
}

// Frame implements capture.Framer, if Options.Frames is set. Who calls Next may call it.
func (s *Source) Frame(seg *flow.Segment, f *capture.Frame) bool {
	if len(s.head) == 0 {
		return false
	}
	*f = capture.Frame{Link: s.inHand.link, Interface: s.inHand.name, Head: s.head, Payload: seg.Payload, Length: s.wire}
	return true
}

// fromClient turns a five-tuple so that the side with the lower port, the server for all that is known, is the destination.
func fromClient(t flow.FiveTuple) flow.FiveTuple {
	if t.SrcPort < t.DstPort {
		return t.Reverse()
	}
	return t
}

// own finds who opened a connection, whose five-tuple is syn; earlier says that it was open before it was met.
func (s *Source) own(seg *flow.Segment, syn flow.FiveTuple, earlier bool) {
	seg.Opening = s.ask(func() *flow.Opening {
		opening := s.o.Owners.Opening(syn)
		if opening != nil && s.o.Describe != nil {
			s.o.Describe(&opening.Process)
		}
		return opening
	})
	if seg.Opening == nil {
		return
	}
	seg.Opening.Earlier = earlier
	if seg.Opening.Time == 0 {
		seg.Opening.Time = seg.Time
	}
}

// maxMet bounds the connections that are remembered as met, twice over.
const maxMet = 16 << 10

// tuples is a bounded set of five-tuples that forgets the older half when it is full.
type tuples struct{ young, old map[flow.FiveTuple]struct{} }

// add reports whether t was not there.
func (s *tuples) add(t flow.FiveTuple) bool {
	if _, ok := s.young[t]; ok {
		return false
	}
	_, ok := s.old[t]
	if s.young == nil || len(s.young) >= maxMet {
		s.old, s.young = s.young, make(map[flow.FiveTuple]struct{})
	}
	s.young[t] = struct{}{}
	return !ok
}

// wait waits for packets, for Close, or until patience ends. It lets the lock go meanwhile.
func (s *Source) wait() error {
	fds := make([]unix.PollFd, 1, 8)
	fds[0] = unix.PollFd{Fd: int32(s.wake), Events: unix.POLLIN}
	for _, r := range s.rings {
		fds = append(fds, unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN | unix.POLLERR})
	}
	s.mu.Unlock()
	_, err := unix.Poll(fds, patience)
	s.mu.Lock()
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for packets: %w", err)
	}
	if s.released || err != nil {
		return nil
	}
	for i, r := range s.rings {
		if fds[i+1].Revents&unix.POLLERR != 0 {
			s.trouble(r)
		}
	}
	// Of an interface that was down the end is not told by an error.
	if now := time.Now(); now.Sub(s.looked) >= lookEvery {
		s.looked = now
		for _, r := range s.rings {
			s.look(r)
		}
	}
	if !slices.ContainsFunc(s.rings, func(r *ring) bool { return !r.gone }) {
		return &InterfaceError{s.rings[0].name, errors.New("it does not exist any more")}
	}
	return nil
}

// trouble finds out what an interface has: it is down, and may come back, or it is gone.
func (s *Source) trouble(r *ring) {
	code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR) // reading it clears it
	if err != nil || code == 0 {
		return
	}
	if s.look(r); !r.gone {
		s.warn("interface " + r.name + ": " + unix.Errno(code).Error())
	}
}

// look finds out whether the interface of a ring still exists.
func (s *Source) look(r *ring) {
	if r.gone || r.bound() {
		return
	}
	r.gone = true
	s.warn("interface " + r.name + " does not exist any more")
}

// Close ends the capture. Next then gives out what was received before, and io.EOF at the end, which releases everything; so does a second
// Close, for a caller that does not read on.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.release()
		return nil
	}
	s.closed = true
	// Wake Next. The counter of an eventfd takes this write always.
	one := [8]byte{1}
	if _, err := unix.Write(s.wake, one[:]); err != nil {
		return fmt.Errorf("wake: %w", err)
	}
	s.deadline = time.Now().Add(drainFor)
	for _, r := range s.rings {
		if err := attachShort(r.fd, nothing); err != nil {
			s.release() // rather than never to come to an end
			return &InterfaceError{r.name, fmt.Errorf("end the capture: %w", err)}
		}
	}
	return nil
}

func (s *Source) release() {
	if s.released {
		return
	}
	s.released = true
	for _, r := range s.rings {
		r.statistics()
		r.close()
	}
	if s.wake >= 0 {
		unix.Close(s.wake)
	}
}

// Stats says what was captured and lost so far.
//
// Loss has packet.ring_full (packets that found no room), packet.queue_freezes (how often that began; no packets), packet.cut_by_snap_length,
// packet.unread_at_end (received and not read before the release; 0 until then), and what package decode refused.
func (s *Source) Stats() capture.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := capture.Stats{Packets: s.packets, Bytes: s.bytes, Filtered: s.filtered, Warnings: slices.Clone(s.warnings)}
	d := &s.dec.Stats
	out.Loss = map[string]uint64{
		"packet.ring_full": 0, "packet.queue_freezes": 0, "packet.cut_by_snap_length": s.cut, "packet.unread_at_end": 0,
		"decode.truncated": d.Frames[decode.Truncated], "decode.malformed": d.Frames[decode.Malformed],
		"decode.too_deep": d.Frames[decode.TooDeep], "decode.unsupported_link": d.Frames[decode.UnsupportedLink],
		"decode.unknown_ethertypes":    d.UnknownEtherTypes,
		"decode.fragments_lost":        d.DatagramsExpired + d.DatagramsEvicted + uint64(s.dec.PendingDatagrams()),
		"decode.fragments_conflicting": d.FragmentsConflicting,
	}
	if s.released {
		out.Loss["packet.unread_at_end"] += uint64(s.aside.len())
	}
	for _, r := range s.rings {
		if !s.released {
			r.statistics()
		} else {
			out.Loss["packet.unread_at_end"] += r.unread()
		}
		out.Loss["packet.ring_full"] += r.drops
		out.Loss["packet.queue_freezes"] += r.freezes
	}
	return out
}
