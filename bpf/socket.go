package bpf

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// DefaultRing is the size of the ring buffer in bytes. A TLS session fills some 8 KB of it: it holds what 1,000 new connections to DynamoDB
// bring, so that at 5,000 a second the reader may be kept from the processor for 200 ms.
const DefaultRing = 8 << 20

// Bounds of a Config.
const (
	MaxPorts = 16   // as in maps.bpf.h
	MaxNames = 1024 // as in maps.bpf.h
	maxRing  = 1 << 30
)

// Config says what the programs follow. The zero value follows the set of prefixes alone, which is empty until SetPrefixes.
type Config struct {
	// Cgroup is the root of the cgroup2 hierarchy; "" finds it.
	Cgroup string
	// Ports are followed at any address; at most MaxPorts.
	Ports []uint16
	// LookAtOthers looks at the first bytes of every other outbound connection for a name of DynamoDB's.
	LookAtOthers bool
	// Names are server names that are followed beside DynamoDB's own, when others are looked at; at most MaxNames.
	Names []string
	// DNS follows DNS answers, over UDP and TCP.
	DNS bool
	// Ring is the size of the ring buffer in bytes, rounded up to a power of two; 0 is DefaultRing.
	Ring int
}

// Socket is the loaded connect and packet programs. SetPrefixes, Decide, Counters and Flush may be called by any goroutine, Read by one, and
// FindEarlier by none beside it.
type Socket struct {
	connect connectLoaded
	packet  packetObjects
	reader  *ringbuf.Reader
	record  ringbuf.Record
	links   []link.Link // kept: a link that the collector finds is detached

	prefixes      sync.Mutex // one swap at a time
	innerPrefixes *ebpf.MapSpec
	wanted        prefixSet // what is in place; guarded by prefixes
	ports         [MaxPorts]uint16
	uses          [portPlaces]uint8 // what port_uses held at first
	cgroup        string            // as of Attach
	limited       error             // why memory that may be locked is limited, nil if it is not
	earlier       []Event           // to be read before what is in the ring

	// Limits says what works less than fully on this kernel.
	Limits []string
}

// connectLoaded is what the connect object becomes in the kernel.
type connectLoaded struct {
	connectObjects
	PortUsesMap *ebpf.Map `ebpf:".data.ports"` // the map that the variable port_uses is in
}

func (c *connectLoaded) Close() error {
	return errors.Join(c.connectObjects.Close(), c.PortUsesMap.Close())
}

// needs is what the programs ask of the kernel.
const needs = "Linux 5.10 with CONFIG_CGROUP_BPF"

// Load loads the programs. Nothing is watched until Attach.
func Load(c Config) (*Socket, error) {
	connect, err := loadConnect()
	if err != nil {
		return nil, err
	}
	packet, err := loadPacket()
	if err != nil {
		return nil, err
	}
	s := &Socket{innerPrefixes: connect.Maps["prefixes"].InnerMap.Copy()}
	if err := c.apply(s, connect, packet); err != nil {
		return nil, err
	}
	s.limited = raiseMemlock()
	if err := s.load(connect, packet); err != nil {
		s.Close()
		return nil, withMemlock(err, s.limited)
	}
	for _, name := range c.Names {
		if err := s.packet.Names.Put(hashName(name), packetReasonBY_NAME); err != nil {
			s.Close()
			return nil, fmt.Errorf("name %s: %w", name, err)
		}
	}
	if err := s.SetPrefixes(nil); err != nil {
		s.Close()
		return nil, err
	}
	if s.reader, err = ringbuf.NewReader(s.connect.Events); err != nil {
		s.Close()
		return nil, explain("read the ring buffer", needs, err)
	}
	return s, nil
}

// apply checks the configuration and puts it into the objects.
func (c *Config) apply(s *Socket, connect, packet *ebpf.CollectionSpec) error {
	if len(c.Ports) > MaxPorts {
		return fmt.Errorf("%d ports: at most %d can be followed", len(c.Ports), MaxPorts)
	}
	if len(c.Names) > MaxNames {
		return fmt.Errorf("%d names: at most %d can be looked for", len(c.Names), MaxNames)
	}
	for i, p := range c.Ports {
		if p == 0 {
			return errors.New("port 0 cannot be followed")
		}
		s.ports[i] = p
	}
	ring := DefaultRing
	if c.Ring > 0 {
		for ring = os.Getpagesize(); ring < c.Ring && ring < maxRing; ring *= 2 {
		}
	}
	connect.Maps["events"].MaxEntries = uint32(ring)
	packet.Maps["events"].MaxEntries = uint32(ring)
	if c.DNS {
		s.uses[placeOfPort(0)], s.uses[placeOfPort(53)] = useDNS, useDNS
	}
	return errors.Join(
		connect.Variables["port_uses"].Set(s.uses),
		connect.Variables["ports"].Set(s.ports),
		connect.Variables["look_at_others"].Set(c.LookAtOthers),
		connect.Variables["dns"].Set(c.DNS),
		packet.Variables["look_at_others"].Set(c.LookAtOthers),
		packet.Variables["has_names"].Set(len(c.Names) > 0),
	)
}

// Of port_uses, as in maps.bpf.h.
const (
	portPlaces  = 4096
	useFollowed = 1 << 0
	useDNS      = 1 << 1
)

// placeOfPort is a port's place in the kernel's table of what ports are used for.
func placeOfPort(port uint16) uint16 { return bigEndian(port) % portPlaces }

// followEveryPort makes the kernel ask the sockets of all ports whether they are followed. One port alone could not be written without a race
// with the kernel, which adds others meanwhile.
func (s *Socket) followEveryPort() error {
	uses := s.uses
	for i := range uses {
		uses[i] |= useFollowed
	}
	return s.connect.PortUses.Set(uses)
}

func (s *Socket) load(connect, packet *ebpf.CollectionSpec) error {
	fields, err := readKernelFields()
	if err != nil {
		s.limit("start times of processes and network namespaces are not read in the kernel", err)
	}
	err = s.loadWith(connect.Copy(), packet.Copy(), fields)
	if err != nil && fields != (kernelFields{}) {
		// Lockdown in confidentiality mode, for one, refuses programs that read kernel memory.
		refused := err
		if err = s.loadWith(connect, packet, kernelFields{}); err == nil {
			s.limit("start times of processes and network namespaces are not read in the kernel", refused)
		}
	}
	return err
}

func (s *Socket) loadWith(connect, packet *ebpf.CollectionSpec, f kernelFields) error {
	if err := f.apply(connect, packet); err != nil {
		return err
	}
	if err := connect.LoadAndAssign(&s.connect, nil); err != nil {
		return explain("load the connect programs", needs, err)
	}
	err := packet.LoadAndAssign(&s.packet, &ebpf.CollectionOptions{MapReplacements: s.shared()})
	if err != nil {
		err = errors.Join(explain("load the packet programs", needs, err), s.connect.Close())
		s.connect = connectLoaded{}
	}
	return err
}

// shared are the maps that every object uses.
func (s *Socket) shared() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		"conns": s.connect.Conns, "events": s.connect.Events, "counters": s.connect.Counters, "prefixes": s.connect.Prefixes,
		"openers": s.connect.Openers, "displaced": s.connect.Displaced, ".data.ports": s.connect.PortUsesMap,
	}
}

func (s *Socket) limit(what string, err error) {
	s.Limits = append(s.Limits, fmt.Sprintf("%s: %v", what, brief(err)))
}

// hashName is FNV-1a of a name as look.bpf.h folds it.
func hashName(name string) uint64 {
	b := []byte(strings.TrimSuffix(name, "."))
	for i := range b {
		b[i] |= 0x20
	}
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// Attach begins to watch, at the root of the cgroup2 hierarchy.
func (s *Socket) Attach(cgroup string) error {
	var err error
	if cgroup == "" {
		if cgroup, err = FindCgroup(); err != nil {
			return err
		}
	} else if err = CheckCgroup(cgroup); err != nil {
		return err
	}
	s.cgroup = cgroup
	// Packets first: a connection that is noted is then seen from its first packet on.
	for _, a := range []struct {
		name string
		prog *ebpf.Program
		at   ebpf.AttachType
	}{
		{"cgroup_skb/egress", s.packet.DynwatchEgress, ebpf.AttachCGroupInetEgress},
		{"cgroup_skb/ingress", s.packet.DynwatchIngress, ebpf.AttachCGroupInetIngress},
		{"cgroup/connect4", s.connect.DynwatchConnect4, ebpf.AttachCGroupInet4Connect},
		{"cgroup/connect6", s.connect.DynwatchConnect6, ebpf.AttachCGroupInet6Connect},
	} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: a.at, Program: a.prog})
		if err != nil {
			return errors.Join(explain("attach "+a.name+" to "+cgroup, needs, err), s.Detach())
		}
		s.links = append(s.links, l)
	}
	return nil
}

// Detach ends the watching; what is in the ring buffer can still be read. It may be called twice.
func (s *Socket) Detach() error {
	var errs []error
	for i := len(s.links) - 1; i >= 0; i-- {
		errs = append(errs, s.links[i].Close())
	}
	s.links = nil
	return errors.Join(errs...)
}

// Decide tells what user space found out about the doubtful connection of an opener: false has nothing more of it copied, true has it copied like
// one that bears a name of DynamoDB's. It takes effect with the connection's next packet, and has none on what the socket is connected to later.
func (s *Socket) Decide(o *Opener, keep bool) error {
	v := packetVerdictVERDICT_DROP
	if keep {
		v = packetVerdictVERDICT_KEEP
	}
	return s.packet.Verdicts.Put(packetConnection{Cookie: o.Cookie, ConnectNs: o.Connected}, v)
}

// Errors of Read, from package ringbuf and os.
var (
	ErrFlushed  = ringbuf.ErrFlushed
	ErrDeadline = os.ErrDeadlineExceeded
	ErrClosed   = ringbuf.ErrClosed
	// ErrMalformed: an event does not have the form that dynwatch.h gives it. Reading can go on.
	ErrMalformed = errors.New("malformed event")
)

// Read fills e with the next event, waiting until deadline for one. ErrDeadline: there was none. ErrFlushed: Flush was called, and all
// that was there has been read.
func (s *Socket) Read(e *Event, deadline time.Time) error {
	if len(s.earlier) > 0 {
		*e, s.earlier = s.earlier[0], s.earlier[1:]
		return nil
	}
	s.reader.SetDeadline(deadline)
	if err := s.reader.ReadInto(&s.record); err != nil {
		return err
	}
	return e.decode(s.record.RawSample)
}

// Waiting is how many bytes wait in the ring buffer.
func (s *Socket) Waiting() int { return s.reader.AvailableBytes() }

// Flush makes Read give ErrFlushed once it has read what is there.
func (s *Socket) Flush() error { return s.reader.Flush() }

// Close gives everything back. It may be called twice, and after a failed Load; no other method may be called after it.
func (s *Socket) Close() error {
	errs := []error{s.Detach()}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	errs = append(errs, s.packet.Close(), s.connect.Close())
	return errors.Join(errs...)
}
