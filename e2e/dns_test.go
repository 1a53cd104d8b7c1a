package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver is where the clients' resolv.conf sends them.
const resolver = "127.0.0.53"

// answerDNS starts a DNS server for the scenarios whose name is in no hosts file, and points the clients at it.
func (r *rig) answerDNS() error {
	conf := filepath.Join(r.dir, "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver "+resolver+"\n"), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(conf, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount resolv.conf: %w", err)
	}
	addresses := map[string]netip.Addr{}
	for _, s := range r.scenarios {
		if s.byDNS {
			addresses[s.host+"."] = s.addr
		}
	}
	var err error
	if r.dns, err = net.ListenPacket("udp", net.JoinHostPort(resolver, "53")); err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := r.dns.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if reply := reply(buffer[:n], addresses); reply != nil {
				r.dns.WriteTo(reply, from)
			}
		}
	}()
	return nil
}

// reply answers a question for an address that is known, and all others with nothing; it is nil for what is no question.
func reply(query []byte, addresses map[string]netip.Addr) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true}
	m.Answers, m.Authorities, m.Additionals = nil, nil, nil
	switch addr, known := addresses[q.Name.String()]; {
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
