package analyze

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// watchSOCKS looks in what a client sends before it is recognised for requests of SOCKS 4, 4a and 5 (RFC 1928, RFC 1929), one to a segment as
// clients send them. Such a flow goes to a proxy, so its server's address is not the endpoint's.
func (c *conn) watchSOCKS(first bool, b []byte) {
	if first {
		switch {
		case len(b) >= 9 && b[0] == 4 && b[1] == 1 && b[len(b)-1] == 0:
			c.socks = true
			c.useProxy(&session.Proxy{Target: socks4Target(b)})
		case len(b) >= 3 && b[0] == 5 && len(b) == 2+int(b[1]):
			c.socks = true
		}
		return
	}
	if !c.socks || c.proxy != nil && c.proxy.Target != "" || len(b) < 3 {
		return
	}
	switch {
	case b[0] == 1 && len(b) > 2+int(b[1]) && len(b) == 3+int(b[1])+int(b[2+int(b[1])]): // user name and password
		c.useProxy(&session.Proxy{CredentialsExposed: true})
	case b[0] == 5 && b[1] == 1 && b[2] == 0:
		target := socks5Target(b[3:])
		c.useProxy(&session.Proxy{})
		c.proxy.Target = target
	}
}

// socks4Target reads version, command, port, address, user id, NUL, and with an address of 0.0.0.x a host name, NUL.
func socks4Target(b []byte) string {
	port := binary.BigEndian.Uint16(b[2:])
	if b[4] == 0 && b[5] == 0 && b[6] == 0 && b[7] != 0 {
		name := b[8 : len(b)-1]
		for i := len(name) - 1; i >= 0; i-- {
			if name[i] == 0 {
				return hostPort(name[i+1:], port)
			}
		}
		return ""
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port).String()
}

// socks5Target reads address type, address and port; "" if b is none.
func socks5Target(b []byte) string {
	switch {
	case len(b) == 1+4+2 && b[0] == 1:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[1:5])), binary.BigEndian.Uint16(b[5:])).String()
	case len(b) == 1+16+2 && b[0] == 4:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[1:17])), binary.BigEndian.Uint16(b[17:])).String()
	case len(b) > 2 && b[0] == 3 && len(b) == 2+int(b[1])+2:
		return hostPort(b[2:len(b)-2], binary.BigEndian.Uint16(b[len(b)-2:]))
	}
	return ""
}

// hostPort joins a name, of which only the bytes of host names are kept, and a port.
func hostPort(name []byte, port uint16) string {
	if len(name) > 253 {
		return ""
	}
	for _, b := range name {
		if (b|0x20 < 'a' || b|0x20 > 'z') && (b < '0' || b > '9') && b != '.' && b != '-' && b != '_' {
			return ""
		}
	}
	return string(name) + ":" + strconv.Itoa(int(port))
}
