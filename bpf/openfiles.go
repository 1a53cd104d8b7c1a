package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
)

const (
	// earlierBudget is EARLIER_BUDGET of earlier.bpf.c.
	earlierBudget = 4096
	// maxOpenFiles bounds how many open files of how many processes are looked at.
	maxOpenFiles = 1 << 22
)

// findByFiles finds what the iterator finds, from user space: the wanted sockets of every network namespace by /proc/PID/net/tcp, who has them open by
// /proc/PID/fd. A copy of the descriptor (pidfd_getfd) is the key of the socket's storage, and is given back at once. What a process
// opens or closes meanwhile is no error.
func (s *Socket) findByFiles(proc string) error {
	pids, err := Processes(proc)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	s.prefixes.Lock()
	wanted := s.wanted
	s.prefixes.Unlock()
	sockets := openSockets(proc, pids, func(dst netip.AddrPort) Reason {
		switch {
		case wanted.contains(dst.Addr()):
			return ByRange
		case slices.Contains(s.ports[:], dst.Port()):
			return ByPort
		}
		return 0
	})
	var (
		failed error
		hidden error
		missed int
		looked int
	)
	for _, pid := range pids {
		if len(sockets) == 0 {
			break
		}
		p := process{proc: proc, pid: pid, cgroup: s.cgroup}
		open, err := p.sockets()
		if errors.Is(err, fs.ErrPermission) {
			hidden = err
		}
		for fd, inode := range open {
			if looked++; looked > maxOpenFiles {
				return fmt.Errorf("find connections that are open already: more than %d files are open", maxOpenFiles)
			}
			o, ok := sockets[inode]
			if !ok {
				continue
			}
			err := s.adopt(&p, fd, inode, o)
			switch {
			case err == nil:
				delete(sockets, inode)
			case errors.Is(err, errVanished): // another process may have it
			default:
				delete(sockets, inode)
				failed = err
				missed++
			}
		}
	}
	if failed == nil && hidden != nil {
		failed, missed = hidden, len(sockets) // theirs are among those that are left
	}
	if missed == 0 {
		return nil
	}
	what := fmt.Sprintf("follow %d connections that are open already", missed)
	if errors.Is(failed, fs.ErrPermission) {
		return &PermissionError{What: what, Capabilities: "CAP_SYS_PTRACE", Err: failed}
	}
	return explain(what, "pidfd_getfd of Linux 5.6", failed)
}

// adopt has the kernel follow a socket, as of now, and puts an event in line that tells of it.
func (s *Socket) adopt(p *process, fd int, inode uint64, o openSocket) error {
	owner, err := p.owner()
	if err != nil {
		return vanished(err)
	}
	own, err := takeFile(p.pid, fd)
	if err != nil {
		return vanished(err)
	}
	defer unix.Close(own)
	var st unix.Stat_t
	if err := unix.Fstat(own, &st); err != nil {
		return err
	}
	if st.Ino != inode { // the number was given to another file meanwhile
		return errVanished
	}
	cookie, err := unix.GetsockoptUint64(own, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return fmt.Errorf("socket cookie: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	e := Event{
		Opener: Opener{
			Cookie: cookie, CgroupID: p.cgroupID(), NetNS: o.netns, Connected: uint64(now.Nano()), Started: owner.started,
			PID: uint32(p.pid), TID: uint32(p.pid), UID: owner.uid, Dst: flow.IPFrom(o.dst.Addr()), DstPort: o.dst.Port(),
			Proto: flow.TCP, Reason: o.reason, Earlier: true,
		},
		Tuple: flow.FiveTuple{
			SrcIP: flow.IPFrom(o.src.Addr()), DstIP: flow.IPFrom(o.dst.Addr()), SrcPort: o.src.Port(), DstPort: o.dst.Port(), Proto: flow.TCP,
		},
		Time: uint64(now.Nano()), Flags: flow.ACK,
	}
	copy(e.Opener.Comm[:len(e.Opener.Comm)-1], owner.comm)
	c := packetConn{Left: [2]uint32{earlierBudget, earlierBudget}, Number: [2]uint32{1, 0}, Tail: 1}
	e.Opener.encode(&c.Opener)
	if err := s.followEveryPort(); err != nil {
		return fmt.Errorf("follow the ports of connections: %w", err)
	}
	err = s.connect.Conns.Update(int32(own), &c, ebpf.UpdateNoExist)
	switch {
	case errors.Is(err, ebpf.ErrKeyExist):
		return nil // opened since
	case err != nil:
		return fmt.Errorf("socket storage: %w", err)
	}
	s.earlier = append(s.earlier, e)
	return nil
}

// encode is the reverse of what decode makes of an opener, for those that user space knows of first.
func (o *Opener) encode(to *packetOpener) {
	*to = packetOpener{
		Cookie: o.Cookie, CgroupId: o.CgroupID, NetnsIno: uint32(o.NetNS), ConnectNs: o.Connected, StartNs: o.Started, Tgid: o.PID, Tid: o.TID, Uid: o.UID,
		Daddr: o.Dst, Dport: bigEndian(o.DstPort), Proto: uint8(o.Proto), Reason: uint8(o.Reason),
	}
	for i, b := range o.Comm {
		to.Comm[i] = int8(b)
	}
	if o.Earlier {
		to.Flags = wasOpen
	}
}

// takeFile gives a descriptor of our own for a file that a process has open.
func takeFile(pid, fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(pidfd)
	own, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd: %w", err)
	}
	return own, nil
}

// errVanished: a process, or its file, is not there any more.
var errVanished = errors.New("process or file vanished")

// vanished is errVanished if that is what err, of a look at a process, says.
func vanished(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF) || errors.Is(err, fs.ErrNotExist) {
		return errVanished
	}
	return err
}

// process is one that is looked at through /proc.
type process struct {
	proc   string
	pid    int
	cgroup string // the root of the cgroup2 hierarchy
}

// Processes are the numbers of all, in rising order; proc is where procfs is mounted.
func Processes(proc string) ([]int, error) {
	d, err := os.Open(proc)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func (p *process) path(name string) string { return filepath.Join(p.proc, strconv.Itoa(p.pid), name) }

// sockets are the inode numbers of the sockets that the process has open, by descriptor. With an error some of them are missing.
func (p *process) sockets() (open map[int]uint64, err error) {
	d, err := os.Open(p.path("fd"))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // as many as there were until it ended
	open = map[int]uint64{}
	for _, name := range names {
		fd, notNumber := strconv.Atoi(name)
		if notNumber != nil {
			continue
		}
		link, unread := os.Readlink(p.path("fd/" + name))
		if inode, ok := inodeOf("socket", link); ok {
			open[fd] = inode
		} else if errors.Is(unread, fs.ErrPermission) {
			err = unread
		}
	}
	return open, err
}

// inodeOf reads the number from a link such as "socket:[12345]" or "net:[4026531840]".
func inodeOf(kind, link string) (uint64, bool) {
	digits, ok := strings.CutPrefix(link, kind+":[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 64)
	return inode, err == nil
}

// owner is what identifies the process, as far as /proc has it: its times are in hundredths of a second.
type owner struct {
	comm    string
	uid     uint32 // the real one
	started uint64 // CLOCK_BOOTTIME nanoseconds
}

// nanosPerTick turns the times of /proc/PID/stat into nanoseconds.
const nanosPerTick = 10_000_000

// owner reads fields 2 and 22 of /proc/PID/stat and the real user id of /proc/PID/status (proc_pid_stat(5), proc_pid_status(5)).
func (p *process) owner() (owner, error) {
	stat, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return owner{}, err
	}
	status, err := os.ReadFile(p.path("status"))
	if err != nil {
		return owner{}, err
	}
	o, err := parseOwner(stat, status)
	if err != nil {
		return owner{}, fmt.Errorf("%s: %w", p.path("stat"), err)
	}
	return o, nil
}

func parseOwner(stat, status []byte) (owner, error) {
	open, shut := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')') // the name may itself hold some
	if open < 0 || shut < open {
		return owner{}, errors.New("no name")
	}
	o := owner{comm: string(stat[open+1 : shut])}
	fields := strings.Fields(string(stat[shut+1:])) // from the third on
	if len(fields) < 20 {
		return owner{}, errors.New("no start time")
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return owner{}, fmt.Errorf("start time: %w", err)
	}
	o.started = ticks * nanosPerTick
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			if ids := strings.Fields(rest); len(ids) > 0 {
				uid, err := strconv.ParseUint(ids[0], 10, 32)
				o.uid = uint32(uid)
				return o, err
			}
		}
	}
	return owner{}, errors.New("no user id")
}

// cgroupID is the inode number of the cgroup2 directory of the process, 0 if unknown.
func (p *process) cgroupID() uint64 {
	b, err := os.ReadFile(p.path("cgroup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if dir, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			var st unix.Stat_t
			if unix.Stat(filepath.Join(p.cgroup, dir), &st) == nil {
				return st.Ino
			}
		}
	}
	return 0
}
