package sockdiag

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// visitor is a thread of its own that enters network namespaces. It ends, thread and all, when jobs is closed.
type visitor struct {
	jobs chan visit
}

type visit struct {
	path   string // of the namespace's file
	inode  uint64 // that it must have
	tuple  flow.FiveTuple
	answer chan visited // has room for one
}

type visited struct {
	socket Socket
	err    error
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
			s, entered, err := enterAndQuery(job)
			astray := entered && unix.Setns(home, unix.CLONE_NEWNET) != nil
			job.answer <- visited{s, err, astray}
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

// enterAndQuery leaves the thread in the namespace if entered.
func enterAndQuery(job visit) (s Socket, entered bool, err error) {
	fd, err := unix.Open(job.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Socket{}, false, fmt.Errorf("open %s: %w", job.path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Socket{}, false, fmt.Errorf("stat %s: %w", job.path, err)
	}
	if st.Ino != job.inode {
		return Socket{}, false, fmt.Errorf("%s: %w", job.path, unix.ESRCH) // the process has another one now, or is another process
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return Socket{}, false, fmt.Errorf("enter %s: %w", job.path, err)
	}
	sock, err := openNetlink()
	if err != nil {
		return Socket{}, true, err
	}
	defer unix.Close(sock)
	s, err = query(sock, job.tuple, 1)
	return s, true, err
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
