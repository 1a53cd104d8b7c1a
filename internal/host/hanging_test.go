package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// The operations of include/uapi/linux/fuse.h that are asked for here, and the sizes of their answers after the header.
const (
	fuseLookup, fuseLookupSize   = 1, 128
	fuseGetattr, fuseGetattrSize = 3, 104
	fuseOpen, fuseOpenSize       = 14, 16
	fuseInit, fuseInitSize       = 26, 64
	fuseRead                     = 15
	fuseForget                   = 2
)

// slowFile returns the path of a program that is the only file of a file system of the test's. Once hang was called, to open it does not return
// before the test ends.
func slowFile(t *testing.T, content []byte) (path string, hang func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		testenv.Lacks(t, "/dev/fuse: %v", err)
	}
	dir := t.TempDir()
	if err := unix.Mount("dynwatch", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		unix.Close(fd)
		testenv.Lacks(t, "mount a file system of one's own: %v", err)
	}
	var hanging atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		serveFile(fd, content, &hanging)
	}()
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH) // all that wait get an error
		<-done
		unix.Close(fd)
	})
	return filepath.Join(dir, "file"), func() { hanging.Store(true) }
}

func serveFile(fd int, content []byte, hanging *atomic.Bool) {
	attr := func(b []byte, node uint64) { // struct fuse_attr
		mode, size := uint32(unix.S_IFREG|0o755), uint64(len(content))
		if node == 1 {
			mode, size = unix.S_IFDIR|0o755, 0
		}
		binary.NativeEndian.PutUint64(b, node)
		binary.NativeEndian.PutUint64(b[8:], size)
		binary.NativeEndian.PutUint32(b[60:], mode)
		binary.NativeEndian.PutUint32(b[64:], 1) // nlink
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil || n < 40 {
			return
		}
		op, node := binary.NativeEndian.Uint32(buf[4:]), binary.NativeEndian.Uint64(buf[16:])
		out := make([]byte, 16, 16+fuseLookupSize)
		switch op {
		case fuseForget:
			continue
		case fuseRead: // struct fuse_read_in: handle, offset, size
			from := min(binary.NativeEndian.Uint64(buf[48:]), uint64(len(content)))
			size := min(uint64(binary.NativeEndian.Uint32(buf[56:])), uint64(len(content))-from)
			out = append(out, content[from:from+size]...)
		case fuseInit:
			out = out[:16+fuseInitSize]
			binary.NativeEndian.PutUint32(out[16:], 7)
			binary.NativeEndian.PutUint32(out[20:], 31)
			binary.NativeEndian.PutUint32(out[36:], 4096) // max_write
		case fuseLookup:
			out = out[:16+fuseLookupSize]
			binary.NativeEndian.PutUint64(out[16:], 2)
			attr(out[16+40:], 2)
		case fuseGetattr:
			out = out[:16+fuseGetattrSize]
			attr(out[16+16:], node)
		case fuseOpen:
			if hanging.Load() {
				continue
			}
			out = out[:16+fuseOpenSize]
		default:
			binary.NativeEndian.PutUint32(out[4:], ^uint32(unix.ENOSYS)+1)
		}
		binary.NativeEndian.PutUint32(out, uint32(len(out)))
		copy(out[8:16], buf[8:16]) // the request's number
		_, _ = unix.Write(fd, out)
	}
}

// TestLookupOfAProgramThatHangs holds that the files which are read at once do not hang with a process's program.
func TestLookupOfAProgramThatHangs(t *testing.T) {
	testenv.Root(t)
	program, err := os.ReadFile(testenv.Tool(t, "sleep"))
	if err != nil {
		t.Fatal(err)
	}
	file, hang := slowFile(t, program)
	var pids []int
	for range maxReaders {
		// By way of a shell: while Go starts a process it waits for the program to be opened, and this process is who opens it.
		cmd := testenv.Command(t, "sh", "-c", `exec "$0" 1000`, file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		pids = append(pids, cmd.Process.Pid)
	}
	for _, pid := range pids {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); string(b) == file+"\x001000\x00" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the program does not start")
			}
		}
	}
	hang()
	r := New(Options{Patience: 50 * time.Millisecond})
	for _, pid := range pids {
		p := flow.Process{PID: pid}
		if r.Lookup(&p) || p.Exe != file || p.Comm != "file" || !p.UIDKnown || p.NetNS == 0 || len(p.Parents) == 0 || p.Cmdline != "" || p.Exited {
			t.Errorf("%+v", p)
		}
	}
	p := flow.Process{PID: os.Getpid()}
	began := time.Now()
	if r.Lookup(&p); p.Exe == "" || time.Since(began) > 5*time.Second {
		t.Errorf("this process, after %v: %+v", time.Since(began), p)
	}
	if s := r.Stats(); s.Slow != maxReaders+1 { // they are of one user, and so is this
		t.Errorf("stats %+v", s)
	}
}
