package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Options bound the work. Zero fields take the defaults.
type Options struct {
	// ProcRoot is a proc file system of the initial PID namespace; default /proc.
	ProcRoot string
	// FilesPerSecond is how many open files of processes may be looked at; default 50,000, some 5 % of a processor.
	FilesPerSecond int
	// VisitsPerSecond is how often another network namespace may be entered; default 2,000.
	VisitsPerSecond int
	// MaxNamespaces bounds the namespaces that are known; default 1,024.
	MaxNamespaces int
	// Now is the clock; default time.Now.
	Now func() time.Time
}

const (
	// firstFiles are those of each process that are looked at before more are of any, memberFiles those of processes in the socket's cgroup.
	firstFiles  = 1024
	memberFiles = 8192
	// maxMembers is up to how many processes a cgroup says something, and maxYoung how many processes begin every search through all.
	maxMembers = 256
	maxYoung   = 64
	// maxRecent bounds the processes, maxAddresses the addresses and maxDevices the interfaces of a namespace, that are remembered.
	maxRecent    = 32
	maxAddresses = 256
	maxDevices   = 64
	// maxHomes bounds the namespaces that are asked for one connection, where several have its address.
	maxHomes = 16
	// relist is how soon the namespaces may be listed again, and relistKnown how soon because of an address that one of them has, for another
	// may have it by now.
	relist      = time.Second
	relistKnown = 10 * time.Second
	// readAgain is in how many namespaces, when they are listed, addresses are read anew that were read before.
	readAgain = 128
)

// Stats are a Finder's counters.
type Stats struct {
	// Lookups counts calls of Opening. NoSocket of them found none on this host, NoProcess a socket but no process that holds it.
	Lookups, NoSocket, NoProcess uint64
	// Limited counts look-ups that a budget cut short.
	Limited uint64
	// Failed counts errors of the kernel's, Refused those for lack of rights to enter a namespace.
	Failed, Refused uint64
	// Files and Visits count the work: links read, namespaces entered. Listings counts readings of all processes' namespaces.
	Files, Visits, Listings uint64
}

// Finder finds owners. It may be used by several goroutines; they take turns.
type Finder struct {
	o   Options
	own uint64 // inode of the network namespace that Open was called in

	mu         sync.Mutex // guards all below
	closed     bool
	fd         int // netlink socket in the own namespace
	sequence   uint32
	visitor    *visitor
	namespaces []namespace
	listed     time.Time
	// readings are of each namespace, by its inode; homes are the namespaces that have an address.
	readings map[uint64]reading
	homes    map[netip.Addr][]namespace
	recent   []int // processes that owned a socket lately, the latest first
	stopped  int   // the process at which the last search through all ran out of budget, 0 if it did not
	deep     place // the one at which the last search ran out of budget for files beyond the first
	cgroups  []string
	first    int // firstFiles, but for tests
	files    budget
	visits   budget
	// limited: a budget cut the present look-up short.
	limited bool
	stats   Stats
}

// budget is a token bucket that holds a second's worth.
type budget struct {
	perSecond int
	left      float64
	at        time.Time
}

// refill adds what time has brought and returns what there is.
func (b *budget) refill(now time.Time) int {
	if b.at.IsZero() {
		b.left = float64(b.perSecond)
	} else if d := now.Sub(b.at); d > 0 {
		b.left = min(b.left+d.Seconds()*float64(b.perSecond), float64(b.perSecond))
	}
	b.at = now
	return int(b.left)
}

// Open makes a Finder for the host, with the caller's network namespace as its own.
func Open(o Options) (*Finder, error) {
	if o.ProcRoot == "" {
		o.ProcRoot = "/proc"
	}
	if o.FilesPerSecond <= 0 {
		o.FilesPerSecond = 50_000
	}
	if o.VisitsPerSecond <= 0 {
		o.VisitsPerSecond = 2000
	}
	if o.MaxNamespaces <= 0 {
		o.MaxNamespaces = 1024
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	f := &Finder{o: o, readings: make(map[uint64]reading), homes: make(map[netip.Addr][]namespace),
		files: budget{perSecond: o.FilesPerSecond}, visits: budget{perSecond: o.VisitsPerSecond}}
	var err error
	if f.own, err = namespaceOf("/proc/thread-self/ns/net"); err != nil {
		return nil, fmt.Errorf("own network namespace: %w", err)
	}
	if f.fd, err = openNetlink(); err != nil {
		return nil, err
	}
	f.cgroups, f.first = cgroupMounts(), firstFiles
	// A kernel without the inet_diag module says so now rather than at the first connection.
	if _, err := query(f.fd, Tuple(netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:1")), anyDevice, 0); err != nil && !errors.Is(err, ErrNoSocket) {
		unix.Close(f.fd)
		return nil, err
	}
	return f, nil
}

// Opening returns who opened the connection of a SYN: user, cgroup and network namespace of the socket that sent it, and the process that
// holds it, if one was found (PID is 0 else). It is nil when no socket of this host is known to have sent it. Each call
// returns an Opening of its own.
func (f *Finder) Opening(syn flow.FiveTuple) *flow.Opening {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.stats.Lookups++
	f.limited = false
	defer func() {
		if f.limited {
			f.stats.Limited++
		}
	}()
	s, ns, ok := f.socket(syn)
	if !ok {
		f.stats.NoSocket++
		return nil
	}
	p := flow.Process{UID: s.UID, UIDKnown: true, CgroupID: s.CgroupID, NetNS: ns}
	if pid := f.holder(s); pid != 0 {
		if comm, start, err := nameAndStart(f.o.ProcRoot, pid); err == nil {
			p.PID, p.Comm, p.StartTime = pid, comm, start
		}
	}
	if p.PID == 0 {
		f.stats.NoProcess++
	}
	return &flow.Opening{Process: p}
}

// socket finds a socket and the inode of its namespace.
func (f *Finder) socket(t flow.FiveTuple) (Socket, uint64, bool) {
	f.sequence++
	s, err := query(f.fd, t, anyDevice, f.sequence)
	if err == nil {
		return s, f.own, s.Inode != 0 // TIME_WAIT has no file any more
	}
	if !errors.Is(err, ErrNoSocket) {
		f.stats.Failed++
	}
	now := f.o.Now()
	local := t.SrcIP.Addr()
	if local.IsLoopback() {
		// Each namespace has these for itself: what another has of them is another socket.
		s, err := f.queryOwn(t, []uint32{loopbackDevice})
		return s, f.own, err == nil && s.Inode != 0
	}
	for {
		s, ns, answered := f.ask(f.homes[local], t, now)
		if s.Inode != 0 {
			return s, ns, true
		}
		age := now.Sub(f.listed)
		if age < relist || answered && age < relistKnown {
			return Socket{}, 0, false
		}
		f.list(now)
	}
}

// ask asks in namespaces that have the address, and reports whether each of them answered.
func (f *Finder) ask(homes []namespace, t flow.FiveTuple, now time.Time) (s Socket, ns uint64, answered bool) {
	answered = len(homes) > 0
	for _, home := range homes {
		var err error
		devices := f.readings[home.inode].devices
		if home.inode == f.own {
			s, err = f.queryOwn(t, devices)
		} else {
			err = f.visit(home, now, func() (err error) {
				s, err = queryHere(t, devices)
				return err
			})
		}
		if err == nil && s.Inode != 0 {
			return s, home.inode, true
		}
		answered = answered && (err == nil || errors.Is(err, ErrNoSocket))
		if errors.Is(err, errSpent) {
			break
		}
	}
	return Socket{}, 0, answered
}

// queryOwn asks in the own namespace for a socket that is bound to one of the interfaces.
func (f *Finder) queryOwn(t flow.FiveTuple, devices []uint32) (Socket, error) {
	s, err := queryDevices(f.fd, t, devices, f.sequence+1)
	f.sequence += uint32(len(devices))
	if err != nil && !errors.Is(err, ErrNoSocket) {
		f.stats.Failed++
	}
	return s, err
}

// list finds the namespaces, and reads which addresses they have. A packet from the outside, from an address that none of them has, is
// then no reason to enter any. New ones are read first, then those that were read longest ago, for a container gets its addresses after
// its namespace.
func (f *Finder) list(now time.Time) {
	f.listed = now
	f.stats.Listings++
	f.namespaces = findNamespaces(f.o.ProcRoot, listPids(f.o.ProcRoot), f.own, f.o.MaxNamespaces)
	readings := make(map[uint64]reading, len(f.namespaces)+1)
	for _, ns := range f.namespaces {
		readings[ns.inode] = f.readings[ns.inode]
	}
	own := f.readings[f.own]
	if own.read() != nil {
		f.stats.Failed++
	}
	readings[f.own] = own
	f.readings = readings
	oldest := slices.Clone(f.namespaces)
	slices.SortStableFunc(oldest, func(a, b namespace) int { return readings[a.inode].at.Compare(readings[b.inode].at) })
	again := 0
	for _, ns := range oldest {
		r := readings[ns.inode]
		if !r.at.IsZero() {
			again++
		}
		if again > readAgain {
			break
		}
		if errors.Is(f.visit(ns, now, r.read), errSpent) {
			break
		}
		r.at = now // also after an error: others come first the next time
		readings[ns.inode] = r
	}
	clear(f.homes)
	for _, ns := range append([]namespace{{inode: f.own}}, f.namespaces...) {
		for _, a := range readings[ns.inode].addresses {
			if len(f.homes[a]) < maxHomes {
				f.homes[a] = append(f.homes[a], ns)
			}
		}
	}
}

// errSpent: the budget for visits is spent.
var errSpent = errors.New("no more visits in this second")

// visit calls do in another namespace, and counts what failed.
func (f *Finder) visit(ns namespace, now time.Time, do func() error) error {
	if f.visits.refill(now) < 1 {
		f.limited = true
		return errSpent
	}
	f.visits.left--
	f.stats.Visits++
	if f.visitor == nil {
		f.visitor = newVisitor()
	}
	job := visit{path: filepath.Join(f.o.ProcRoot, strconv.Itoa(ns.pid), "ns/net"), inode: ns.inode, do: do, answer: make(chan visited, 1)}
	f.visitor.jobs <- job
	v := <-job.answer
	if v.astray {
		close(f.visitor.jobs)
		f.visitor = nil
	}
	switch {
	case v.err == nil, errors.Is(v.err, ErrNoSocket), errors.Is(v.err, errGone):
	case errors.Is(v.err, unix.EPERM) || errors.Is(v.err, unix.EACCES):
		f.stats.Refused++
	default:
		f.stats.Failed++
	}
	return v.err
}

// Stats returns the counters so far.
func (f *Finder) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

// Close releases the sockets and ends the thread. It may be called twice; Opening returns nil afterwards.
func (f *Finder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.visitor != nil {
		close(f.visitor.jobs)
	}
	return unix.Close(f.fd)
}
