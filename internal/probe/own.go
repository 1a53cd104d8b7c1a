package probe

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Own knows the connections that probes of this process make, for who watches the host beside them: they are no application's. The zero value is
// ready for use, by any goroutine.
type Own struct {
	some atomic.Bool // there are connections

	mu          sync.Mutex // guards what follows
	connections []*ownConnection
}

type ownConnection struct {
	port   uint16
	server netip.AddrPort
	ended  time.Time // zero while it is open
}

// lingers is how long after a connection was closed segments of it may come: the server's last words, for which the kernel keeps the pair of
// ports for a minute, and what a source has not handed over yet.
const lingers = 30 * time.Second

// begin chooses the port of a connection that is about to be made, so that it is known before its first packet. The port is nobody else's in this
// network namespace.
func (o *Own) begin(network, address string, c syscall.RawConn) (*ownConnection, error) {
	server, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	var any unix.Sockaddr = &unix.SockaddrInet4{}
	if network == "tcp6" {
		any = &unix.SockaddrInet6{}
	}
	var port int
	var failed error
	err = c.Control(func(fd uintptr) {
		if failed = unix.Bind(int(fd), any); failed != nil {
			return
		}
		var local unix.Sockaddr
		if local, failed = unix.Getsockname(int(fd)); failed != nil {
			return
		}
		switch a := local.(type) {
		case *unix.SockaddrInet4:
			port = a.Port
		case *unix.SockaddrInet6:
			port = a.Port
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("choose a port: %w", err)
	}
	x := &ownConnection{port: uint16(port), server: netip.AddrPortFrom(server.Addr().Unmap(), server.Port())}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connections = append(o.connections, x)
	o.some.Store(true)
	return x, nil
}

// end tells that a connection was closed, or did not come to be.
func (o *Own) end(x *ownConnection) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x.ended = time.Now()
}

// watch has a dialer's connections known from their first packet on. The returned function tells that they were closed.
func (o *Own) watch(d *net.Dialer) (closed func()) {
	if o == nil {
		return func() {}
	}
	var list []*ownConnection
	d.Control = func(network, address string, c syscall.RawConn) error {
		x, err := o.begin(network, address, c)
		if err == nil {
			list = append(list, x)
		}
		return err
	}
	return func() {
		for _, x := range list {
			o.end(x)
		}
	}
}

// Has reports whether a segment, read now, is of one of the connections.
func (o *Own) Has(s *flow.Segment, now time.Time) bool {
	if !o.some.Load() || s.Proto != flow.TCP {
		return false
	}
	if s.Opening != nil && !isHome(s.Opening.Process.NetNS) {
		return false
	}
	again := s.Flags&(flow.SYN|flow.ACK) == flow.SYN // a connection begins
	o.mu.Lock()
	defer o.mu.Unlock()
	found := false
	o.connections = slices.DeleteFunc(o.connections, func(x *ownConnection) bool {
		if !x.ended.IsZero() && now.Sub(x.ended) > lingers {
			return true
		}
		if !x.has(s) {
			return false
		}
		if again && !x.ended.IsZero() && s.Time > x.ended.UnixNano() {
			return true // the kernel gave the port to somebody else
		}
		found = true
		return false
	})
	o.some.Store(len(o.connections) > 0)
	return found
}

func (x *ownConnection) has(s *flow.Segment) bool {
	switch {
	case s.SrcPort == x.port && s.Dst() == x.server, s.DstPort == x.port && s.Src() == x.server:
		return true
	case s.Opening != nil && s.Opening.Process.PID == os.Getpid():
		return s.SrcPort == x.port || s.DstPort == x.port // somebody sends it elsewhere
	}
	return false
}

// isHome reports whether a network namespace is this process's own, or unknown.
func isHome(netns uint64) bool {
	home := homeNamespace()
	return netns == 0 || home == 0 || netns == home
}

// homeNamespace is the inode of this process's network namespace, 0 if unknown.
var homeNamespace = sync.OnceValue(func() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/net", &st) != nil {
		return 0
	}
	return st.Ino
})
