package host

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procDir is an open /proc/PID directory. The kernel ties it to the process and not to the number: once the process is gone every read
// through it fails, even when the pid belongs to another process by then.
type procDir struct{ fd int }

func openProcDir(root string, pid int) (procDir, error) {
	path := filepath.Join(root, strconv.Itoa(pid))
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return procDir{-1}, fmt.Errorf("open %s: %w", path, err)
	}
	return procDir{fd}, nil
}

func (d procDir) close() { unix.Close(d.fd) }

// read returns the first limit bytes of a file.
func (d procDir) read(name string, limit int) ([]byte, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, min(limit, 4096))
	n := 0
	for {
		m, err := unix.Read(fd, buf[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		n += m
		if m == 0 || n == limit {
			return buf[:n], nil
		}
		if n == len(buf) {
			buf = append(buf, make([]byte, min(len(buf), limit-len(buf)))...)
		}
	}
}

// readlink returns where a link such as exe points to, without the word that the kernel adds when the file was removed.
func (d procDir) readlink(name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.fd, name, buf)
	if err != nil {
		return "", fmt.Errorf("readlink %s: %w", name, err)
	}
	return strings.TrimSuffix(string(buf[:n]), " (deleted)"), nil
}

// ticksPerSecond is USER_HZ, the unit of times in /proc/PID/stat: 100 on every architecture that Go runs on under Linux.
const ticksPerSecond = 100

// tick is the length of one in nanoseconds.
const tick = 1_000_000_000 / ticksPerSecond

// procStat is what is needed of /proc/PID/stat (proc_pid_stat(5)).
type procStat struct {
	comm   string
	state  byte
	parent int
	// start is when the process started, in ticks since boot (field 22).
	start uint64
	// exiting: it is about to end, and may have no program any more (field 9).
	exiting bool
}

// flagExiting is PF_EXITING of the kernel's include/linux/sched.h. It is set before a process gives its memory back, and its state changes after.
const flagExiting = 1 << 2

// parseStat reads /proc/PID/stat. The name stands in parentheses and may itself hold parentheses and spaces: the last one closes it.
func parseStat(b []byte) (procStat, error) {
	open, shut := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || shut < open {
		return procStat{}, errors.New("stat: no name in parentheses")
	}
	fields := strings.Fields(string(b[shut+1:])) // from the third on
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("stat: %d fields, want at least 22", len(fields)+2)
	}
	s := procStat{comm: string(b[open+1 : shut]), state: fields[0][0]}
	var err error
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return procStat{}, fmt.Errorf("stat: parent: %w", err)
	}
	if s.start, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return procStat{}, fmt.Errorf("stat: start time: %w", err)
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("stat: flags: %w", err)
	}
	s.exiting = flags&flagExiting != 0
	return s, nil
}

// ended reports whether the process has ended or is about to, though its parent has not yet asked how: the number and name are left, but no program.
func (s procStat) ended() bool { return s.exiting || s.state == 'Z' || s.state == 'X' }

func (d procDir) stat() (procStat, error) {
	b, err := d.read("stat", 4096)
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}

// realUID reads the real user id from /proc/PID/status.
func (d procDir) realUID() (uint32, error) {
	b, err := d.read("status", 8192)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "Uid:")
		if !ok {
			continue
		}
		if fields := strings.Fields(rest); len(fields) > 0 {
			uid, err := strconv.ParseUint(fields[0], 10, 32)
			return uint32(uid), err
		}
	}
	return 0, errors.New("status: no user id")
}

// namespaceInode reads the number from a link of the form "net:[4026531840]".
func (d procDir) namespaceInode(name string) (uint64, error) {
	link, err := d.readlink("ns/" + name)
	if err != nil {
		return 0, err
	}
	digits, ok := strings.CutPrefix(link, name+":[")
	if !ok {
		return 0, fmt.Errorf("ns/%s: %q has no number", name, link)
	}
	return strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 64)
}

// libraries returns the base names of the files that the process has mapped executable, each once, as far as the first limit bytes
// of its maps go.
func (d procDir) libraries(limit int) []string {
	b, err := d.read("maps", limit)
	if err != nil {
		return nil
	}
	var names []string
	last := ""
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || !strings.Contains(fields[1], "x") || !strings.HasPrefix(fields[5], "/") || fields[5] == last {
			continue
		}
		last = fields[5]
		names = append(names, last[strings.LastIndexByte(last, '/')+1:])
	}
	return names
}
