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
	// Patience is how long one process may take to be read; default 250 ms.
	Patience time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// maxCmdline bounds a command line as it is told, in bytes.
const maxCmdline = 512

// maxReaders bounds the goroutines that may be left behind in reads that do not return.
const maxReaders = 4

const (
	// fresh is how long details are used as they are, if the name fits; others are compared with what is there now.
	fresh = time.Second
	// stale is when they are read anew: a process may be given another title or cgroup.
	stale = time.Minute
)

// errReused: the pid belongs to a process that started at another time.
var errReused = errors.New("the pid belongs to another process by now")

// errSlow: the process could not be read in time.
var errSlow = errors.New("reading the process takes too long")

// Stats are a Resolver's counters.
type Stats struct {
	// Lookups counts calls; Gone of them found the process ended, Reused its pid given to another, Slow gave up waiting; the rest
	// of the failures is Unreadable (no right to read /proc, or something else in its place).
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
	o       Options
	readers chan struct{} // holds a token for each reader at work
	// load reads a process; tests put in one that does not return.
	load func(processKey) (*details, error)

	mu        sync.Mutex
	processes *lru[processKey, remembered] // guarded by mu, as all below
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
		o: o, readers: make(chan struct{}, maxReaders),
		processes: newLRU[processKey, remembered](o.MaxProcesses),
		cgroups:   newLRU[uint64, Identity](o.MaxCgroups),
		pods:      newPods(o.PodLogs, o.ContainerLogs, o.MaxPods),
		users:     users{path: o.Passwd},
	}
	r.load = r.loadProcess
	return r
}

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
// kubelet had not yet made the directories of its pod, or the process took too long to be read.
//
// When the process is gone, or its pid belongs to another by now, and nothing was remembered of it, Exited is set, what p held stays, and
// only what its cgroup and user id tell is added. Of one that has ended and whose parent did not yet ask how, it is what /proc still tells. Parents is shared with other look-ups and must not be changed.
func (r *Resolver) Lookup(p *flow.Process) (complete bool) {
	d, err := r.details(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Now()
	r.stats.Lookups++
	complete = true
	switch {
	case err == nil:
		p.Exited = p.Exited || d != nil && d.exited
	case errors.Is(err, errReused):
		r.stats.Reused++
		p.Exited = true
	case isGone(err):
		r.stats.Gone++
		p.Exited = true
	case errors.Is(err, errSlow):
		r.stats.Slow++
		complete = false
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
		p.Comm = printable(d.stat.comm)
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
	var old remembered
	if key.start != 0 {
		r.mu.Lock()
		old, _ = r.processes.get(key)
		r.mu.Unlock()
		// A name that differs is another thread's, or that of the program which the process became since.
		same := old.details != nil && (p.Comm == "" || p.Comm == printable(old.stat.comm))
		if same && r.o.Now().Sub(old.at) < fresh {
			return old.details, nil
		}
	}
	d, err := r.aside(key)
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

// aside loads a process in a goroutine of its own, which is left behind when it takes too long.
func (r *Resolver) aside(key processKey) (*details, error) {
	timer := time.NewTimer(r.o.Patience)
	defer timer.Stop()
	select {
	case r.readers <- struct{}{}:
	case <-timer.C:
		return nil, errSlow
	}
	type result struct {
		d   *details
		err error
	}
	done := make(chan result, 1)
	go func() {
		d, err := r.load(key)
		<-r.readers
		done <- result{d, err}
	}()
	select {
	case res := <-done:
		return res.d, res.err
	case <-timer.C:
		return nil, errSlow
	}
}

// loadProcess reads a process, or finds that what is remembered of it still holds.
func (r *Resolver) loadProcess(key processKey) (*details, error) {
	dir, err := openProcDir(r.o.ProcRoot, key.pid)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	stat, err := dir.stat()
	if err != nil {
		return nil, err
	}
	if !sameStart(stat.start, key.start) {
		return nil, errReused
	}
	r.mu.Lock()
	old, ok := r.processes.get(processKey{key.pid, stat.start})
	r.mu.Unlock()
	if ok && stat.ended() {
		return old.details, nil
	}
	if ok && old.stat.comm == stat.comm && old.exe == dir.exe() && r.o.Now().Sub(old.since) < stale {
		return old.details, nil
	}
	d, err := readDetails(r.o.ProcRoot, key.pid, dir, stat)
	if err != nil {
		return nil, err
	}
	d.since = r.o.Now()
	r.mu.Lock()
	r.stats.Read++
	r.mu.Unlock()
	return d, nil
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
