package sockdiag

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// visitor is a thread of its own that enters network namespaces. It ends, thread and all, when jobs is closed.
type visitor struct {
	jobs chan visit
}

type visit struct {
	path   string       // of the namespace's file
	inode  uint64       // that it must have
	do     func() error // called on the thread that is in the namespace
	answer chan visited // has room for one
}

type visited struct {
	err error
	// astray: the thread could not return home. It must be ended, for a namespace lives as long as there is a thread in it.
	astray bool
}

func newVisitor() *visitor {
	v := &visitor{jobs: make(chan visit)}
	onOtherThread(func() {
		home, homeErr := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if homeErr == nil {
			defer unix.Close(home)
		}
		for job := range v.jobs {
			if homeErr != nil {
				job.answer <- visited{err: fmt.Errorf("open own network namespace: %w", homeErr)}
				continue
			}
			entered, err := enter(job.path, job.inode)
			if err == nil {
				err = job.do()
			}
			astray := entered && unix.Setns(home, unix.CLONE_NEWNET) != nil
			job.answer <- visited{err, astray}
		}
	})
	return v
}

// onOtherThread runs f on a thread that is f's alone, and ends with it. It is never the first thread of the process: that one cannot end,
// and it is the one whose namespaces /proc/PID/ns shows.
func onOtherThread(f func()) {
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		done := make(chan struct{})
		go func() { // while this goroutine holds the first thread, another cannot get it
			defer close(done)
			runtime.LockOSThread()
			f()
		}()
		<-done
		runtime.UnlockOSThread()
	}()
}

// errGone: the process is not in the namespace any more.
var errGone = errors.New("not in this namespace any more")

// enter leaves the thread in the namespace if entered.
func enter(path string, inode uint64) (entered bool, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("%s: %w", path, errGone)
	}
	if err != nil {
		return false, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Ino != inode {
		return false, fmt.Errorf("%s: %w", path, errGone) // the process has another one now, or is another process
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return false, fmt.Errorf("enter %s: %w", path, err)
	}
	return true, nil
}

// namespace is a network namespace and a process that is in it.
type namespace struct {
	inode uint64
	pid   int
}

// findNamespaces lists the network namespaces of the processes, at most limit of them, without the given one.
func findNamespaces(root string, pids []int, without uint64, limit int) []namespace {
	var list []namespace
	seen := map[uint64]bool{without: true}
	for _, pid := range pids {
		inode, err := namespaceOf(filepath.Join(root, strconv.Itoa(pid), "ns/net"))
		if err != nil || seen[inode] {
			continue
		}
		if len(list) >= limit {
			break
		}
		seen[inode] = true
		list = append(list, namespace{inode, pid})
	}
	return list
}

// reading is what was read in a namespace, and when.
type reading struct {
	// addresses are without those that each namespace has for itself.
	addresses []netip.Addr
	devices   []uint32 // indices of interfaces
	at        time.Time
}

// read replaces all but the time with what the calling thread's namespace has, as far as there is room for it.
func (r *reading) read() error {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	r.addresses, r.devices = nil, nil
	for _, a := range addresses {
		prefix, ok := a.(*net.IPNet)
		if !ok || len(r.addresses) >= maxAddresses {
			continue
		}
		if ip, ok := netip.AddrFromSlice(prefix.IP); ok && !ip.IsLoopback() {
			r.addresses = append(r.addresses, ip.Unmap())
		}
	}
	for _, i := range interfaces[:min(len(interfaces), maxDevices)] {
		r.devices = append(r.devices, uint32(i.Index))
	}
	return nil
}

// namespaceOf reads the inode from a link of the form "net:[4026531840]".
func namespaceOf(path string) (uint64, error) {
	link, err := os.Readlink(path)
	if err != nil {
		return 0, err
	}
	var inode uint64
	if _, err := fmt.Sscanf(link, "net:[%d]", &inode); err != nil {
		return 0, fmt.Errorf("%s: %q has no number", path, link)
	}
	return inode, nil
}
