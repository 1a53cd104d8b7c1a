package live

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/afpacket"
	"github.com/dynwatch/dynwatch/capture/ebpf"
	"github.com/dynwatch/dynwatch/capture/filter"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/privilege"
	"github.com/dynwatch/dynwatch/internal/sockdiag"
)

// The kinds of source.
const (
	Auto   = "auto" // eBPF where the kernel and the rights allow it, else packets
	EBPF   = "ebpf"
	Packet = "packet"
)

// MaxLearned bounds the addresses that DNS answers add to the source's set.
const MaxLearned = 1024

// Ports are followed at any address: DAX's, in clear and with TLS.
var Ports = []uint16{8111, 9111}

// everywhere has the kernel follow every connection.
var everywhere = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// Options say what to watch.
type Options struct {
	Kind       string
	Interfaces []string // of the packet source
	Filter     *filter.Filter
	All        bool   // every TLS session, not only DynamoDB's
	Frames     bool   // Frame is wanted of the packet source
	Count      uint64 // ends the watching after so many segments; 0 goes on
	Ring       int    // bytes of eBPF's buffer; 0 is its own default
	Endpoints  *endpoint.Set
	// Describe completes a process.
	Describe func(*flow.Process)
	// Note takes what a person should know of the choice, without a full stop; nil drops it.
	Note func(string)
}

// Source is what a watch reads. A Watch of another than Open makes is for tests.
type Source interface {
	capture.Source
	capture.Framer
	SetPrefixes([]netip.Prefix) error
}

// Watch is an open source. Next, Follow and Look belong to one goroutine.
type Watch struct {
	Source
	// Kind is the word for the source that was taken, EBPF or Packet.
	Kind string

	all      bool // every connection is followed
	filtered bool // packets are chosen by a filter of the user's
	prefixes []netip.Prefix
	names    []string
	ports    []uint16 // of the packet source
	learned  map[netip.Addr]bool
}

// Open opens the source that is asked for. Its errors are those of packages ebpf and afpacket.
func Open(o Options) (*Watch, error) {
	note := o.Note
	if note == nil {
		note = func(string) {}
	}
	w := &Watch{}
	w.prefixes, w.names, w.ports = places(o.Endpoints)
	if o.Kind != Packet {
		prefixes := w.prefixes
		if o.All {
			prefixes = everywhere
		}
		src, err := ebpf.Open(ebpf.Options{
			Prefixes: prefixes, Ports: Ports, LookAtOthers: true, Names: w.names, DNS: true, Describe: o.Describe, Count: o.Count,
			BufferBytes: o.Ring,
		})
		switch {
		case err == nil:
			w.Source, w.Kind, w.prefixes, w.all = src, EBPF, prefixes, o.All
			return w, nil
		case o.Kind == EBPF:
			return nil, err
		}
		note(fmt.Sprintf("no eBPF here, packets instead: what other network namespaces send is not seen, nor what goes to unusual ports at addresses that nobody listed: %v", err))
	}
	p := afpacket.Options{Interfaces: o.Interfaces, Filter: o.Filter, Prefixes: w.prefixes, Ports: w.ports, All: o.All, Describe: o.Describe, Frames: o.Frames,
		Count: o.Count}
	if owners, err := sockdiag.Open(sockdiag.Options{}); err != nil {
		note(fmt.Sprintf("connections will have no owner: %v", err))
	} else {
		p.Owners = owners
	}
	src, err := afpacket.Open(p)
	if err != nil {
		return nil, err
	}
	w.Source, w.Kind, w.all, w.filtered = src, Packet, o.All, o.Filter != nil
	return w, nil
}

// places are the prefixes in which DynamoDB's endpoints live, and the operator's names for more of them; ports are those that packets are looked at by,
// whatever the address.
func places(set *endpoint.Set) (prefixes []netip.Prefix, names []string, ports []uint16) {
	ports = slices.Clone(afpacket.DefaultPorts)
	for _, p := range set.Ranges().List("DYNAMODB") {
		prefixes = append(prefixes, p.Prefix)
	}
	for _, e := range set.Endpoints() {
		if e.Prefix.IsValid() {
			prefixes = append(prefixes, e.Prefix)
			continue
		}
		if len(names) < bpf.MaxNames {
			names = append(names, e.Name)
		}
		if e.Port != 0 && !slices.Contains(ports, e.Port) {
			ports = append(ports, e.Port)
		}
	}
	return prefixes, names, ports
}

// How says in words how the host is watched.
func (w *Watch) How() string {
	switch {
	case w.Kind == Packet && w.filtered:
		return "by its packets: those that match the filter"
	case w.Kind == Packet && w.all:
		return "by its packets: every TCP connection"
	case w.Kind == Packet:
		var ports []string
		for _, p := range slices.Sorted(slices.Values(w.ports)) {
			ports = append(ports, strconv.Itoa(int(p)))
		}
		return fmt.Sprintf("by its packets: %d prefixes, and ports %s of all addresses", len(w.prefixes), strings.Join(ports, ", "))
	case w.all:
		return "by eBPF: every connection"
	}
	return fmt.Sprintf("by eBPF: %d prefixes, and the first bytes of all other connections", len(w.prefixes))
}

// decider is a source that copies little of a connection until it is told what it is.
type decider interface {
	Doubtful() bool
	Decide(keep bool) error
}

// Judge has the source copy all, or nothing more, of the connection of the segment that Next gave last, if its first bytes did not tell the kernel whether it is
// DynamoDB's and the analysis knows by now.
func (w *Watch) Judge(seg *flow.Segment, by interface {
	Judged(t *flow.FiveTuple, cookie uint64) (ours, known bool)
}) {
	d, ok := w.Source.(decider)
	if !ok || !d.Doubtful() {
		return
	}
	if ours, known := by.Judged(&seg.FiveTuple, seg.Cookie); known {
		_ = d.Decide(ours) // else no more than its budget is copied, and a budget that is too small is counted
	}
}

// Learned is how many addresses are followed because DNS answers gave them.
func (w *Watch) Learned() int { return len(w.learned) }

// Follow has connections to these addresses followed from now on, so that even one without a name is seen. Addresses beyond MaxLearned
// are left out. Where the source does not take them, the next answer tries again.
func (w *Watch) Follow(addrs []netip.Addr) error {
	var added []netip.Addr
	for _, addr := range addrs {
		known := slices.ContainsFunc(w.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
		if known || w.learned[addr] || len(w.learned) >= MaxLearned {
			continue
		}
		if w.learned == nil {
			w.learned = make(map[netip.Addr]bool)
		}
		w.learned[addr] = true
		added = append(added, addr)
	}
	if len(added) == 0 {
		return nil
	}
	err := w.apply()
	if err != nil {
		for _, addr := range added {
			delete(w.learned, addr)
		}
	}
	return err
}

// Retarget has the places of another set followed from now on, beside the addresses that were learned. Names of the operator's are looked for
// as when the source was opened: the error says so where they differ.
func (w *Watch) Retarget(set *endpoint.Set) error {
	prefixes, names, ports := places(set)
	if p, ok := w.Source.(interface{ SetPorts([]uint16) error }); ok && !slices.Equal(ports, w.ports) {
		if err := p.SetPorts(ports); err != nil {
			return err
		}
		w.ports = ports
	}
	if !w.all {
		before := w.prefixes
		w.prefixes = prefixes
		if err := w.apply(); err != nil {
			w.prefixes = before // which the source still follows
			return err
		}
	}
	if w.Kind == EBPF && !slices.Equal(names, w.names) {
		return errors.New("names of endpoints are looked for from the next start on")
	}
	return nil
}

// apply gives the source the whole set.
func (w *Watch) apply() error {
	all := slices.Clone(w.prefixes)
	for addr := range w.learned {
		all = append(all, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return w.SetPrefixes(all)
}

// ProbeRights are what library probes need for as long as they are attached: to attach to libraries that come later, and to open those of other
// mount namespaces. CAP_SYS_ADMIN stands for what of it the process does not have, or where the kernel does not take less.
func ProbeRights() privilege.Set {
	want := privilege.SetOf(unix.CAP_PERFMON, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH, unix.CAP_BPF)
	have, err := privilege.Effective()
	if err == nil && !(have.Has(unix.CAP_PERFMON) && have.Has(unix.CAP_BPF)) || bpf.UprobesNeedAdmin() {
		want |= privilege.SetOf(unix.CAP_SYS_ADMIN)
	}
	return want
}

// DropRights gives up every capability that an open source does not need, but for those in also.
func (w *Watch) DropRights(also privilege.Set) (kept privilege.Set, err error) {
	// What remains: to change the address set, and to read other users' /proc entries.
	keep := privilege.SetOf(unix.CAP_BPF, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH)
	if w.Kind == Packet {
		// To ask for sockets of other network namespaces, those must be entered.
		keep = privilege.SetOf(unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_ADMIN)
	}
	return privilege.Drop(keep | also)
}
