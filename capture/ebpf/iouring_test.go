package ebpf

import (
	"encoding/binary"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// The part of io_uring's interface that a connect needs (include/uapi/linux/io_uring.h).
const (
	opConnect = 16

	setupSQPoll     = 1 << 1
	enterGetEvents  = 1 << 0
	enterSQWakeUp   = 1 << 1
	offSQRing       = 0
	offCQRing       = 0x8000000
	offSQEs         = 0x10000000
	entrySize       = 64 // of a submission
	completionSize  = 16
	completionValue = 8 // offset of its result
)

type ringParams struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, workers uint32
	_                                                                     [3]uint32
	sq                                                                    struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, entriesAt, flags, _ uint32
		_                                                        uint64
	}
}

// ringConnect connects a socket by io_uring, and gives what connect(2) would have.
func ringConnect(t *testing.T, fd int, to netip.AddrPort, flags uint32) error {
	t.Helper()
	p := ringParams{flags: flags, threadIdle: 1000}
	r, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&p)), 0)
	if errno == unix.ENOSYS || errno == unix.EPERM {
		testenv.Lacks(t, "io_uring_setup: %v (kernel.io_uring_disabled, or a seccomp profile)", errno)
	}
	if errno != 0 {
		t.Fatalf("io_uring_setup: %v", errno)
	}
	ring := int(r)
	defer unix.Close(ring)
	shared := func(offset int64, size uint32) []byte {
		b, err := unix.Mmap(ring, offset, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			t.Fatalf("map the ring: %v", err)
		}
		t.Cleanup(func() { unix.Munmap(b) })
		return b
	}
	submissions := shared(offSQRing, p.sq.array+4*p.sqEntries)
	completions := shared(offCQRing, p.cq.entriesAt+completionSize*p.cqEntries)
	entries := shared(offSQEs, entrySize*p.sqEntries)
	word := func(b []byte, at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&b[at])) }

	address := make([]byte, unix.SizeofSockaddrInet4)
	binary.NativeEndian.PutUint16(address[0:], unix.AF_INET)
	binary.BigEndian.PutUint16(address[2:], to.Port())
	copy(address[4:], to.Addr().AsSlice())
	var pinned runtime.Pinner
	pinned.Pin(&address[0])
	defer pinned.Unpin()
	e := entries[:entrySize]
	e[0] = opConnect
	binary.NativeEndian.PutUint32(e[4:], uint32(fd))
	binary.NativeEndian.PutUint64(e[8:], uint64(len(address)))
	binary.NativeEndian.PutUint64(e[16:], uint64(uintptr(unsafe.Pointer(&address[0]))))
	*word(submissions, p.sq.array) = 0
	atomic.AddUint32(word(submissions, p.sq.tail), 1)

	submit := uintptr(1)
	if flags&setupSQPoll != 0 {
		submit = 0 // the kernel's thread finds it
	}
	deadline := time.Now().Add(10 * time.Second)
	for atomic.LoadUint32(word(completions, p.cq.tail)) == *word(completions, p.cq.head) {
		if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(ring), submit, 0, enterGetEvents|enterSQWakeUp, 0, 0); errno != 0 && errno != unix.EINTR {
			t.Fatalf("io_uring_enter: %v", errno)
		}
		submit = 0
		if time.Now().After(deadline) {
			t.Fatal("the connect does not end")
		}
		time.Sleep(time.Millisecond)
	}
	if result := int32(*word(completions, p.cq.entriesAt+completionValue)); result != 0 {
		return unix.Errno(-result)
	}
	return nil
}

func TestConnectByIOURingIsSeen(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags uint32
		comm  string // what it begins with; "" for the process's own
	}{
		{"submitted by the task", 0, ""},
		{"submitted by a thread of the kernel's", setupSQPoll, "iou-sqp-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			testenv.Root(t)
			ln, addr := listen(t, "127.0.7.22:0")
			s := open(t, Options{LookAtOthers: true})
			r := record(t, s)
			fd := stream4(t)
			if err := ringConnect(t, fd, addr, c.flags); err != nil {
				t.Fatal(err)
			}
			p, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if _, err := unix.Write(fd, []byte(request)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Read(make([]byte, len(request))); err != nil {
				t.Fatal(err)
			}
			p.Write([]byte("answer"))
			unix.Read(fd, make([]byte, 100))
			segs := with(r.stop(), addr)
			checkNoLoss(t, s)
			if len(segs) != 4 {
				t.Fatalf("%d segments: %+v", len(segs), segs)
			}
			if b, fromSYN := stream(segs, segs[0].Src()); string(b) != request || !fromSYN {
				t.Errorf("client's stream %q", b)
			}
			if b, _ := stream(segs, addr); string(b) != "answer" {
				t.Errorf("server's stream %q", b)
			}
			if c.comm == "" {
				checkProcess(t, segs[0].Opening.Process)
			} else if o := segs[0].Opening.Process; o.PID != os.Getpid() || !strings.HasPrefix(o.Comm, c.comm) {
				t.Errorf("opened by %+v, want %d %s…", o, os.Getpid(), c.comm)
			}
		})
	}
}
