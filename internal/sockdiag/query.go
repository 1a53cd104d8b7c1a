package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Socket is what the kernel tells of a TCP socket.
type Socket struct {
	// Inode is the number in "socket:[…]" links; 0 for one that has no file any more.
	Inode uint32
	// UID is the user who made it, in the initial user namespace.
	UID uint32
	// CgroupID is the cgroup that it was made in; 0 before Linux 5.8.
	CgroupID uint64
	// Cookie is the kernel's number for the socket.
	Cookie uint64
}

// ErrNoSocket: there is no such socket in the namespace that was asked.
var ErrNoSocket = errors.New("no such socket")

// Layouts of linux/netlink.h and linux/inet_diag.h. Netlink is in the byte order of the host, ports and addresses in network byte order.
const (
	headerLen  = 16 // struct nlmsghdr: length (4), type (2), flags (2), sequence (4), port (4)
	requestLen = 56 // struct inet_diag_req_v2: family, protocol, extensions, padding, states (4), id
	idLen      = 48 // struct inet_diag_sockid: ports (2+2), source (16), destination (16), interface (4), cookie (8)
	messageLen = 72 // struct inet_diag_msg: family, state, timer, retransmits, id, expires, queues (4+4), uid, inode

	// attributeCgroup is INET_DIAG_CGROUP_ID.
	attributeCgroup = 21
	allStates       = 0xffffffff

	// anyDevice finds sockets that are bound to no interface. loopbackDevice is the index of loopback in every namespace
	// (LOOPBACK_IFINDEX in include/net/flow.h).
	anyDevice      = 0
	loopbackDevice = 1
)

// openNetlink opens a socket to ask in the network namespace of the calling thread.
func openNetlink() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return -1, fmt.Errorf("open inet_diag netlink socket: %w", err)
	}
	// The kernel answers at once, within sendto; this is for the case that it does not.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("inet_diag netlink socket: %w", err)
	}
	return fd, nil
}

// query asks for the socket that sends segments with the given five-tuple, and is bound to the interface of the given index, or to none.
func query(fd int, t flow.FiveTuple, device, sequence uint32) (Socket, error) {
	request := appendRequest(make([]byte, 0, headerLen+requestLen), t, device, sequence)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return Socket{}, fmt.Errorf("send inet_diag request: %w", err)
	}
	var buf [4096]byte
	for {
		n, _, err := unix.Recvfrom(fd, buf[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Socket{}, fmt.Errorf("receive inet_diag answer: %w", err)
		}
		s, err := parseAnswer(buf[:n], t, sequence)
		if !errors.Is(err, errOther) {
			return s, err
		}
	}
}

// queryHere asks in the network namespace of the calling thread, for a socket that is bound to no interface or to one of the given.
func queryHere(t flow.FiveTuple, devices []uint32) (Socket, error) {
	fd, err := openNetlink()
	if err != nil {
		return Socket{}, err
	}
	defer unix.Close(fd)
	s, err := query(fd, t, anyDevice, 1)
	if errors.Is(err, ErrNoSocket) {
		s, err = queryDevices(fd, t, devices, 2)
	}
	return s, err
}

// queryDevices asks for a socket that is bound to one of the interfaces, with as many sequence numbers. The kernel finds such a one only
// by its interface: that of SO_BINDTODEVICE, which for a VRF is the VRF itself.
func queryDevices(fd int, t flow.FiveTuple, devices []uint32, sequence uint32) (Socket, error) {
	for _, device := range devices {
		s, err := query(fd, t, device, sequence)
		if !errors.Is(err, ErrNoSocket) {
			return s, err
		}
		sequence++
	}
	return Socket{}, ErrNoSocket
}

// appendRequest makes a request for exactly one socket. For IPv4 the kernel finds sockets of either family.
func appendRequest(b []byte, t flow.FiveTuple, device, sequence uint32) []byte {
	ne := binary.NativeEndian
	b = ne.AppendUint32(b, headerLen+requestLen)
	b = ne.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = ne.AppendUint16(b, unix.NLM_F_REQUEST)
	b = ne.AppendUint32(b, sequence)
	b = ne.AppendUint32(b, 0)
	family := byte(unix.AF_INET6)
	if t.SrcIP.Is4() && t.DstIP.Is4() {
		family = unix.AF_INET
	}
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = ne.AppendUint32(b, allStates)
	b = binary.BigEndian.AppendUint16(b, t.SrcPort)
	b = binary.BigEndian.AppendUint16(b, t.DstPort)
	for _, ip := range []flow.IP{t.SrcIP, t.DstIP} {
		if family == unix.AF_INET {
			b = append(b, ip[12:]...)
			b = append(b, make([]byte, 12)...)
		} else {
			b = append(b, ip[:]...)
		}
	}
	b = ne.AppendUint32(b, device)
	return ne.AppendUint64(b, ^uint64(0)) // INET_DIAG_NOCOOKIE
}

// errOther: the message answers another request.
var errOther = errors.New("answer to another request")

// parseAnswer reads one netlink message.
func parseAnswer(b []byte, t flow.FiveTuple, sequence uint32) (Socket, error) {
	ne := binary.NativeEndian
	if len(b) < headerLen {
		return Socket{}, fmt.Errorf("inet_diag answer of %d bytes: too short for a header", len(b))
	}
	length := int(ne.Uint32(b))
	if length < headerLen || length > len(b) {
		return Socket{}, fmt.Errorf("inet_diag answer of %d bytes: its header says %d", len(b), length)
	}
	if ne.Uint32(b[8:]) != sequence {
		return Socket{}, errOther
	}
	kind, body := ne.Uint16(b[4:]), b[headerLen:length]
	switch kind {
	case unix.NLMSG_ERROR:
		if len(body) < 4 {
			return Socket{}, errors.New("inet_diag answer: error without a number")
		}
		errno := unix.Errno(-int32(ne.Uint32(body)))
		if errno == unix.ENOENT {
			return Socket{}, ErrNoSocket
		}
		return Socket{}, fmt.Errorf("inet_diag: %w", errno)
	case unix.SOCK_DIAG_BY_FAMILY:
	default:
		return Socket{}, fmt.Errorf("inet_diag answer of unknown type %d", kind)
	}
	if len(body) < messageLen {
		return Socket{}, fmt.Errorf("inet_diag answer: message of %d bytes, want %d", len(body), messageLen)
	}
	id := body[4 : 4+idLen]
	// Where no connection has these ports and addresses the kernel gives a listener on the port.
	if binary.BigEndian.Uint16(id) != t.SrcPort || binary.BigEndian.Uint16(id[2:]) != t.DstPort {
		return Socket{}, ErrNoSocket
	}
	s := Socket{Cookie: ne.Uint64(id[40:]), UID: ne.Uint32(body[64:]), Inode: ne.Uint32(body[68:])}
	for rest := body[messageLen:]; len(rest) >= 4; {
		size, attribute := int(ne.Uint16(rest)), ne.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			break // what was read so far is good
		}
		if attribute == attributeCgroup && size >= 12 {
			s.CgroupID = ne.Uint64(rest[4:])
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return s, nil
}

// Tuple makes the five-tuple of the segments that a TCP socket with these ends sends.
func Tuple(local, remote netip.AddrPort) flow.FiveTuple {
	return flow.FiveTuple{SrcIP: flow.IPFrom(local.Addr()), DstIP: flow.IPFrom(remote.Addr()), SrcPort: local.Port(), DstPort: remote.Port(),
		Proto: flow.TCP}
}
