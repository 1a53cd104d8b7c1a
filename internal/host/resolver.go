package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Options say where things are. Zero fields take the defaults.
type Options struct {
	// Root is put before the default of every path below: "/host" where the host's file system is mounted there. Default "/".
	Root string
	// ProcRoot is a proc file system of the initial PID namespace; default /proc.
	ProcRoot string
	// CgroupRoot is the mount point of cgroup version 2; by default the one that the hooks are attached to, see bpf.FindCgroup.
	CgroupRoot string
	// Passwd is the file with the names of users; default /etc/passwd.
	Passwd string
	// PodLogs and ContainerLogs are the kubelet's directories; default /var/log/pods and /var/log/containers.
	PodLogs, ContainerLogs string
	// MaxProcesses, MaxPods and MaxCgroups bound what is remembered; default 1024 each. What had to make room is read again when it is asked for
	// again, unless the process is gone.
	MaxProcesses, MaxPods, MaxCgroups int
	// Patience is how long a process's memory and program may take to be read; default 250 ms.
	Patience time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// maxCmdline bounds a command line as it is told, in bytes.
const maxCmdline = 512

// maxReaders bounds the goroutines that may be left behind in reads that do not return, maxReadersOf those for processes of one user. Who may use several
// users' ids (subuid(5)) may have them all: then nobody's command lines are known for so long, but names and cgroups are.
const (
	maxReaders   = 4
	maxReadersOf = 2
)

const (
	// fresh is how long details are used as they are, if the name fits; others are compared with what is there now.
	fresh = time.Second
	// stale is when they are read anew: a process may be given another title or cgroup.
	stale = time.Minute
)

// errReused: the pid belongs to a process that started at another time.
var errReused = errors.New("the pid belongs to another process by now")

// Stats are a Resolver's counters.
type Stats struct {
	// Lookups counts calls; Gone of them found the process ended, Reused its pid given to another, Slow gave up waiting and did without the
	// command line; the rest of the failures is Unreadable (no right to read /proc, or something else in its place).
	Lookups, Gone, Reused, Slow, Unreadable uint64
	// Late counts look-ups of a pod or container that the kubelet's directories did not know.
	Late uint64
	// Read counts processes read from /proc, Scans readings of one of the kubelet's directories, Skipped the entries that were beyond
	// what is read of one.
	Read, Scans, Skipped uint64
	// Evicted counts processes, pods and cgroups that made room for others.
	Evicted uint64
}

// Resolver completes processes. It may be used by several goroutines.
type Resolver struct {
	o Options
	// load reads a process, finish what of it may take for ever; tests put in others.
	load   func(processKey) (*details, error)
	finish func(pid int, dir procDir, d *details)
	// foreign is why numbers of processes may mean others in ProcRoot than to the kernel, "" where they do not.
	foreign string

	mu        sync.Mutex
	processes *lru[processKey, remembered] // guarded by mu, as all below
	reading   map[processKey]uint32        // whose processes readers are at work on
	cgroups   *lru[uint64, Identity]
	pods      *pods
	users     users
	stats     Stats
}

// remembered is a process and when it was last looked at.
type remembered struct {
	*details
	at time.Time
}

type processKey struct {
	pid   int
	start uint64 // in ticks
}

// New returns a Resolver. Nothing is read before the first Lookup but the list of mounts.
func New(o Options) *Resolver {
	if o.Root == "" {
		o.Root = "/"
	}
	path := func(p *string, name string) {
		if *p == "" {
			*p = filepath.Join(o.Root, name)
		}
	}
	path(&o.ProcRoot, "proc")
	path(&o.Passwd, "etc/passwd")
	path(&o.PodLogs, "var/log/pods")
	path(&o.ContainerLogs, "var/log/containers")
	if o.CgroupRoot == "" {
		o.CgroupRoot = findCgroup()
	}
	for _, n := range []*int{&o.MaxProcesses, &o.MaxPods, &o.MaxCgroups} {
		if *n <= 0 {
			*n = 1024
		}
	}
	if o.Patience <= 0 {
		o.Patience = 250 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Resolver{
		o: o, reading: make(map[processKey]uint32),
		processes: newLRU[processKey, remembered](o.MaxProcesses),
		cgroups:   newLRU[uint64, Identity](o.MaxCgroups),
		pods:      newPods(o.PodLogs, o.ContainerLogs, o.MaxPods),
		users:     users{path: o.Passwd},
	}
	r.load = r.loadProcess
	_, r.foreign = PIDNamespace(o.ProcRoot)
	r.finish = func(pid int, dir procDir, d *details) { d.readProgram(o.ProcRoot, pid, dir) }
	return r
}

// Foreign returns why processes cannot be looked up by the kernel's numbers, "" if they can. Then what they are is known only as far as the kernel's events
// tell, and of none is it said that it has exited.
func (r *Resolver) Foreign() string { return r.foreign }

// findCgroup returns where cgroup version 2 is mounted, "" if nowhere. Where no mount is the host's root, cgroups below one of a part are found all the same.
func findCgroup() string {
	if dir, err := bpf.FindCgroup(); err == nil {
		return dir
	}
	b, err := os.ReadFile("/proc/self/mounts")
	if dirs := bpf.Cgroup2Mounts(string(b)); err == nil && len(dirs) > 0 {
		return dirs[0]
	}
	return ""
}

// Lookup fills the fields of p that are not known yet. It returns false when a later call for the same process may tell more: the
// kubelet had not yet made the directories of its pod, or the command line took too long to be read.
//
// When the process is gone, or its pid belongs to another by now, and nothing was remembered of it, Exited is set, what p held stays, and
// only what its cgroup and user id tell is added. Where a process that lives may look as if it were gone, Exited is not set: see Foreign; other users'
// processes may be hidden, too (hidepid, proc(5)). Of one that has ended and whose parent did not yet ask how, it is what /proc still tells. Parents is shared with other look-ups and must not be changed.
func (r *Resolver) Lookup(p *flow.Process) (complete bool) {
	d, err := r.details(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Now()
	r.stats.Lookups++
	complete = true
	switch {
	case err == nil && d != nil:
		p.Exited = p.Exited || d.exited
		if d.partial {
			r.stats.Slow++
			complete = false
		}
	case err == nil: // no process to look up
	case r.foreign != "":
		r.stats.Unreadable++
	case errors.Is(err, errReused):
		r.stats.Reused++
		p.Exited = true
	case isGone(err) && !r.hidden(p.PID):
		r.stats.Gone++
		p.Exited = true
	default:
		r.stats.Unreadable++
	}
	// Asked for even where the process tells: the cgroup may be gone when its next process is. What this one tells is not remembered for it: CgroupID is the
	// socket's, whose process may have been put into another cgroup, or have the socket from one that is in another.
	id := r.cgroup(p.CgroupID)
	if d != nil {
		d.fill(p)
		if d.identity != (Identity{}) {
			id = d.identity
		}
	}
	id.fill(p)
	if p.UIDKnown && p.User == "" {
		p.User = r.users.name(p.UID, now)
	}
	if id.PodUID != "" && p.Pod == "" {
		name, late := r.pods.find(id.PodUID, id.ContainerID, now)
		p.Namespace, p.Pod, p.ContainerName = name.namespace, name.pod, name.container
		if late {
			r.stats.Late++
			complete = false
		}
	}
	return complete
}

// fill adds what /proc told.
func (d *details) fill(p *flow.Process) {
	// io_uring's threads connect for their process, but are not called like it.
	if p.Comm == "" || strings.HasPrefix(p.Comm, "iou-sqp-") || strings.HasPrefix(p.Comm, "iou-wrk-") {
		p.Comm = flow.Printable(d.stat.comm)
	}
	if p.StartTime == 0 {
		p.StartTime = d.stat.start * tick
	}
	if !p.UIDKnown && d.uidKnown {
		p.UID, p.UIDKnown = d.uid, true
	}
	if p.NetNS == 0 {
		p.NetNS = d.netNS
	}
	if p.Exe == "" {
		p.Exe = d.exe
	}
	if p.Cmdline == "" {
		p.Cmdline = d.cmdline
	}
	if p.Parents == nil {
		p.Parents = d.parents
	}
	if p.SDK == "" {
		p.SDK, p.SDKBy = d.sdk, d.sdkBy
	}
}

// fill adds what the cgroup told.
func (id *Identity) fill(p *flow.Process) {
	if p.ContainerID == "" {
		p.ContainerID = id.ContainerID
	}
	if p.ContainerName == "" {
		p.ContainerName = id.ContainerName
	}
	if p.Runtime == "" {
		p.Runtime = id.Runtime
	}
	if p.Unit == "" {
		p.Unit = id.Unit
	}
	if p.PodUID == "" {
		p.PodUID = id.PodUID
	}
}

// details returns what is remembered of a process, or reads it. The error says why there is none.
func (r *Resolver) details(p *flow.Process) (*details, error) {
	if p.PID <= 0 {
		return nil, nil
	}
	key := processKey{p.PID, p.StartTime / tick}
	if key.start == 0 && r.foreign != "" {
		return nil, errReused // nothing would tell it from another with that number
	}
	var old remembered
	if key.start != 0 {
		r.mu.Lock()
		old, _ = r.processes.get(key)
		r.mu.Unlock()
		// A name that differs is another thread's, or that of the program which the process became since.
		same := old.details != nil && (p.Comm == "" || p.Comm == flow.Printable(old.stat.comm))
		if same && r.o.Now().Sub(old.at) < fresh {
			return old.details, nil
		}
	}
	d, err := r.load(key)
	if err != nil {
		if old.details != nil {
			return old.details, nil // gone since, but known
		}
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := remembered{d, r.o.Now()}
	if key.start != 0 && key.start != d.stat.start {
		r.processes.put(key, now)
	}
	r.processes.put(processKey{p.PID, d.stat.start}, now)
	return d, nil
}

// loadProcess reads a process, or finds that what is remembered of it still holds.
func (r *Resolver) loadProcess(key processKey) (*details, error) {
	dir, err := openProcDir(r.o.ProcRoot, key.pid)
	if err != nil {
		return nil, err
	}
	d, old, err := r.look(key, dir)
	if err != nil || d == old {
		dir.close()
		return d, err
	}
	d = r.aside(key.pid, dir, d)
	if d.partial && old != nil && !old.partial && old.stat.comm == d.stat.comm && old.exe == d.exe {
		return old, nil // better an old command line than none
	}
	return d, nil
}

// look reads the files of a process that nobody can make slow: the kernel answers from its own memory. old is what is remembered, nil if nothing is;
// d is the same if it still holds.
func (r *Resolver) look(key processKey, dir procDir) (d, old *details, err error) {
	stat, err := dir.stat()
	if err != nil {
		return nil, nil, err
	}
	if !sameStart(stat.start, key.start) {
		return nil, nil, errReused
	}
	r.mu.Lock()
	known, _ := r.processes.get(processKey{key.pid, stat.start})
	r.mu.Unlock()
	old = known.details
	if old != nil && stat.ended() {
		return old, old, nil
	}
	if old != nil && !old.partial && old.stat.comm == stat.comm && old.exe == dir.exe() && r.o.Now().Sub(old.since) < stale {
		return old, old, nil
	}
	if d, err = readDetails(r.o.ProcRoot, dir, stat); err != nil {
		return nil, old, err
	}
	d.since = r.o.Now()
	r.mu.Lock()
	r.stats.Read++
	r.mu.Unlock()
	return d, old, nil
}

// aside adds to details what the process's owner can make slow, and closes dir. It is read in a goroutine of its own, which is left behind when that takes too
// long. Where no more may be left behind, as while the process was not yet done with the last time, the caller does not wait, but does
// without: else each of many such processes would hold up everybody's packets again.
func (r *Resolver) aside(pid int, dir procDir, d *details) *details {
	full := *d
	d.partial = true
	key := processKey{pid, d.stat.start}
	if !r.begin(key, d.uid) {
		dir.close()
		return d
	}
	done := make(chan struct{})
	go func() {
		r.finish(pid, dir, &full)
		dir.close()
		r.mu.Lock()
		delete(r.reading, key)
		r.mu.Unlock()
		close(done)
	}()
	timer := time.NewTimer(r.o.Patience)
	defer timer.Stop()
	select {
	case <-done:
		return &full
	case <-timer.C:
		return d
	}
}

// begin takes a reader for a process of a user, if there is one to take.
func (r *Resolver) begin(key processKey, uid uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	same := 0
	for _, other := range r.reading {
		if other == uid {
			same++
		}
	}
	if _, ok := r.reading[key]; ok || len(r.reading) >= maxReaders || same >= maxReadersOf {
		return false
	}
	r.reading[key] = uid
	return true
}

// hidden reports whether a process that ProcRoot does not show is there all the same.
func (r *Resolver) hidden(pid int) bool {
	return r.o.ProcRoot == "/proc" && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) // signal 0 is none (kill(2)): whether it may be sent tells
}

// isGone reports whether err says that there is no such process.
func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

// cgroup returns what the path of a cgroup says, given the cgroup's id. It lives longer than its processes.
func (r *Resolver) cgroup(id uint64) Identity {
	if id == 0 || r.o.CgroupRoot == "" {
		return Identity{}
	}
	if known, ok := r.cgroups.get(id); ok {
		return known
	}
	path, err := cgroupPath(r.o.CgroupRoot, id)
	if err != nil {
		return Identity{}
	}
	known := ParseCgroupPath(path)
	r.cgroups.put(id, known)
	return known
}

// Stats returns the counters so far.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Scans = r.pods.byUID.scans + r.pods.byContainer.scans
	s.Skipped = r.pods.byUID.skipped + r.pods.byContainer.skipped
	s.Evicted = r.processes.evicted + r.cgroups.evicted + r.pods.known.evicted
	return s
}
