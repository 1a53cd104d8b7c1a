package afpacket

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Any names all interfaces of the network namespace, those that come later too.
const Any = "any"

// Interface is what can be captured on.
type Interface struct {
	Index int
	Name  string
	// Up: the interface is on. Running: it has a carrier.
	Up, Running, Loopback bool
	// Ethernet: frames have Ethernet headers, and filters may ask for them. All others are captured from the IP header on.
	Ethernet  bool
	Addresses []netip.Prefix
}

// Interfaces lists them in the kernel's order. It needs no rights.
func Interfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	defer unix.Close(fd)
	list := make([]Interface, 0, len(all))
	for i := range all {
		n := &all[i]
		x := Interface{Index: n.Index, Name: n.Name, Up: n.Flags&net.FlagUp != 0, Running: n.Flags&net.FlagRunning != 0,
			Loopback: n.Flags&net.FlagLoopback != 0}
		if kind, err := hardwareType(fd, n.Name); err == nil {
			x.Ethernet = hasEthernetHeader(kind)
		}
		if addresses, err := n.Addrs(); err == nil { // it may have gone meanwhile
			for _, a := range addresses {
				if p, err := netip.ParsePrefix(a.String()); err == nil {
					x.Addresses = append(x.Addresses, p)
				}
			}
		}
		list = append(list, x)
	}
	return list, nil
}

// hardwareType is the ARPHRD number of an interface.
func hardwareType(fd int, name string) (uint16, error) {
	answer, err := askInterface(fd, name, unix.SIOCGIFHWADDR)
	if err != nil {
		return 0, err
	}
	return answer.Uint16(), nil // sa_family of the address
}

func interfaceIndex(fd int, name string) (int, error) {
	answer, err := askInterface(fd, name, unix.SIOCGIFINDEX)
	if err != nil {
		return 0, err
	}
	return int(answer.Uint32()), nil
}

func askInterface(fd int, name string, question uint) (*unix.Ifreq, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, unix.ENODEV // a name that is too long for one
	}
	return request, unix.IoctlIfreq(fd, question, request)
}

func hasEthernetHeader(kind uint16) bool {
	return kind == unix.ARPHRD_ETHER || kind == unix.ARPHRD_LOOPBACK
}
