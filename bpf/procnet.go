package bpf

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// openSocket is a TCP socket that is connected, or on its way to be.
type openSocket struct {
	src, dst netip.AddrPort
	netns    uint64
	reason   Reason
}

// openSockets are the sockets of the namespaces of the given processes that want gives a reason for, by inode number.
func openSockets(proc string, pids []int, want func(dst netip.AddrPort) Reason) map[uint64]openSocket {
	sockets := map[uint64]openSocket{}
	seen := map[uint64]bool{}
	for _, pid := range pids {
		p := process{proc: proc, pid: pid}
		link, err := os.Readlink(p.path("ns/net"))
		if err != nil {
			continue
		}
		netns, ok := inodeOf("net", link)
		if !ok || seen[netns] {
			continue
		}
		complete := true
		for _, name := range []string{"net/tcp", "net/tcp6"} {
			f, err := os.Open(p.path(name))
			if err != nil {
				complete = false
				continue
			}
			for lines := bufio.NewScanner(f); lines.Scan(); {
				inode, o, ok := parseSocket(lines.Text())
				if !ok {
					continue
				}
				if o.reason = want(o.dst); o.reason != 0 {
					o.netns = netns
					sockets[inode] = o
				}
			}
			f.Close()
		}
		// The process may have ended under our eyes: then the next one of its namespace is asked.
		seen[netns] = complete
	}
	return sockets
}

// States of /proc/net/tcp, in hexadecimal (include/net/tcp_states.h).
const (
	tcpEstablished = "01"
	tcpSynSent     = "02"
)

// parseSocket reads a line of /proc/net/tcp or tcp6 (proc_net(5)): number, local address, remote address, state, queues, timer, retransmissions, uid,
// timeout, inode. Headings and sockets in other states are not ok.
func parseSocket(line string) (inode uint64, o openSocket, ok bool) {
	field := strings.Fields(line)
	if len(field) < 10 || field[3] != tcpEstablished && field[3] != tcpSynSent {
		return 0, openSocket{}, false
	}
	var okSrc, okDst bool
	o.src, okSrc = parseAddrPort(field[1])
	o.dst, okDst = parseAddrPort(field[2])
	inode, err := strconv.ParseUint(field[9], 10, 64)
	return inode, o, okSrc && okDst && err == nil && inode != 0
}

// parseAddrPort reads an address of /proc/net/tcp: words of 32 bits as the machine reads them, a colon, and the port.
func parseAddrPort(s string) (netip.AddrPort, bool) {
	words, portText, _ := strings.Cut(s, ":")
	port, err := strconv.ParseUint(portText, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	b, err := hex.DecodeString(words)
	if err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for w := b; len(w) > 0; w = w[4:] {
		binary.NativeEndian.PutUint32(w, binary.BigEndian.Uint32(w))
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), ok
}

// prefixSet is what the kernel's set of prefixes is to programs: IPv4 addresses and prefixes are those of ::ffff:0:0/96.
type prefixSet struct {
	lengths []int
	has     map[netip.Prefix]bool
}

// add puts a valid prefix in.
func (s *prefixSet) add(p netip.Prefix) {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	if s.has == nil {
		s.has = map[netip.Prefix]bool{}
	}
	q := netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), bits).Masked()
	known := false
	for _, n := range s.lengths {
		known = known || n == bits
	}
	if !known {
		s.lengths = append(s.lengths, bits)
	}
	s.has[q] = true
}

func (s *prefixSet) contains(a netip.Addr) bool {
	a = netip.AddrFrom16(a.As16())
	for _, n := range s.lengths {
		if q, err := a.Prefix(n); err == nil && s.has[q] {
			return true
		}
	}
	return false
}
