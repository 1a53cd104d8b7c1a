package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/host"
)

// A Namespace is where connections begin: the network namespace of a process, and the resolver's files as it sees them. nil is our own.
type Namespace struct {
	// PID is the process, as this process's PID namespace numbers it.
	PID  int
	net  *os.File
	root *os.File
}

// OpenNamespace opens the namespace of a process, by its number or by the id of its container (at least twelve digits of it). It needs the
// rights to look into that process: root, or CAP_SYS_PTRACE and CAP_SYS_ADMIN.
func OpenNamespace(process string) (*Namespace, error) {
	pid, err := strconv.Atoi(process)
	if err != nil || len(process) >= minContainerID && isHex(process) {
		if pid, err = containerProcess("/proc", process); err != nil {
			return nil, err
		}
	}
	if pid <= 0 {
		return nil, fmt.Errorf("%q is neither a process nor a container", process)
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	n := &Namespace{PID: pid}
	if n.net, err = os.Open(filepath.Join(dir, "ns/net")); err != nil {
		return nil, namespaceError(pid, err)
	}
	if n.root, err = os.OpenFile(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		n.net.Close()
		return nil, namespaceError(pid, err)
	}
	return n, nil
}

func namespaceError(pid int, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("no process %d", pid)
	}
	return fmt.Errorf("process %d: %w", pid, err)
}

// Close gives the namespace back.
func (n *Namespace) Close() {
	if n != nil {
		n.net.Close()
		n.root.Close()
	}
}

// String names it for output, "" for our own.
func (n *Namespace) String() string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf("pid %d", n.PID)
}

// dial connects to a literal address from within the namespace: a socket stays in the one that it was made in.
func (n *Namespace) dial(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	if n == nil {
		return d.DialContext(ctx, network, address)
	}
	var c net.Conn
	err := n.inside(func() (err error) {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// inside runs f on a thread that is in the network namespace.
func (n *Namespace) inside(f func() error) error {
	done := make(chan error)
	go func() {
		var err error
		defer func() { done <- err }()
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			err = fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer unix.Close(home)
		if err = unix.Setns(int(n.net.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter the network namespace of process %d: %w", n.PID, err)
			runtime.UnlockOSThread()
			return
		}
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends with the goroutine, for nobody may get one that is astray
		}
	}()
	return <-done
}

// maxFile bounds a resolver's file.
const maxFile = 1 << 20

// readFile reads a file as processes of the namespace see it. Links lead nowhere outside of their root, whatever they say.
func (n *Namespace) readFile(name string) ([]byte, error) {
	var f *os.File
	if n == nil {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		f = file
	} else {
		fd, err := unix.Openat2(int(n.root.Fd()), strings.TrimPrefix(name, "/"), &unix.OpenHow{
			Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		f = os.NewFile(uintptr(fd), name)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("no regular file")}
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// minContainerID is how much of a container's id people give, and how much makes it unlikely to be a process's number.
const minContainerID = 12

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

// containerProcess finds the first process of the container whose id begins so.
func containerProcess(proc, id string) (pid int, err error) {
	id = strings.ToLower(id)
	if len(id) < minContainerID || !isHex(id) {
		return 0, fmt.Errorf("%q is neither a process's number nor a container's id, of which twelve digits are wanted", id)
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return 0, err
	}
	container := ""
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join(proc, e.Name(), "cgroup"))
		if err != nil {
			continue // gone, or not ours to see
		}
		c := host.ParseCgroup(string(b)).ContainerID
		if !strings.HasPrefix(c, id) {
			continue
		}
		if container != "" && c != container {
			return 0, fmt.Errorf("several containers begin with %s", id)
		}
		container = c
		if pid == 0 || n < pid {
			pid = n
		}
	}
	if pid == 0 {
		return 0, fmt.Errorf("no process of a container %s here", id)
	}
	return pid, nil
}
