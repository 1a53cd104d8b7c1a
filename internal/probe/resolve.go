package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// A resolver finds addresses as the processes of a namespace do: by their hosts file, then by the servers and search domains of their
// resolv.conf. Other modules of nsswitch.conf are not asked. The standard library's reads the files of our own root, and does not say which
// of them, or which server, gave an answer.
type resolver struct {
	ns      *Namespace
	timeout time.Duration
}

// Limits of what is believed.
const (
	maxServers  = 3 // resolv.conf(5), MAXNS
	maxSearch   = 6
	maxAddrs    = 64 // of an answer
	maxAliases  = 16
	dnsAttempts = 2
)

// resolvConf is resolv.conf(5).
type resolvConf struct {
	servers []netip.AddrPort
	search  []string
	ndots   int
	tcp     bool
}

func parseResolvConf(text string) resolvConf {
	c := resolvConf{ndots: 1}
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, netip.AddrPortFrom(a, 53))
			}
		case "domain", "search":
			c.search = nil
			for _, d := range f[1:] {
				if d = strings.Trim(d, "."); d != "" && len(c.search) < maxSearch {
					c.search = append(c.search, d)
				}
			}
		case "options":
			for _, o := range f[1:] {
				if n, ok := strings.CutPrefix(o, "ndots:"); ok {
					if v, err := strconv.Atoi(n); err == nil && v >= 0 {
						c.ndots = min(v, 15)
					}
				}
				c.tcp = c.tcp || o == "use-vc"
			}
		}
	}
	if len(c.servers) == 0 {
		c.servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	return c
}

// candidates are the names to ask for, in order.
func (c *resolvConf) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{strings.TrimSuffix(name, ".")}
	}
	var list []string
	for _, d := range c.search {
		list = append(list, name+"."+d)
	}
	if strings.Count(name, ".") >= c.ndots {
		return append([]string{name}, list...)
	}
	return append(list, name)
}

// inHosts gives the addresses of a name by a hosts file.
func inHosts(text, name string) []netip.Addr {
	var list []netip.Addr
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 || len(list) == maxAddrs {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		if slices.ContainsFunc(f[1:], func(n string) bool { return strings.EqualFold(strings.TrimSuffix(n, "."), name) }) {
			list = append(list, a.Unmap())
		}
	}
	return list
}

var errNoSuchName = errors.New("no such name")

// lookup finds all addresses of a name, IPv4 first.
func (r *resolver) lookup(ctx context.Context, name string) (*session.Resolution, error) {
	plainName := strings.TrimSuffix(name, ".")
	if text, err := r.ns.readFile("/etc/hosts"); err == nil {
		if list := inHosts(string(text), plainName); len(list) > 0 {
			return &session.Resolution{By: "hosts", Name: plainName, Addrs: sorted(list)}, nil
		}
	}
	if n := strings.ToLower(plainName); n == "localhost" || strings.HasSuffix(n, ".localhost") { // RFC 6761, Section 6.3
		return &session.Resolution{By: "hosts", Name: n, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}}, nil
	}
	text, _ := r.ns.readFile("/etc/resolv.conf") // without one the server is this host
	conf := parseResolvConf(string(text))
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	last := errNoSuchName
	for _, candidate := range conf.candidates(name) {
		res, err := r.ask(ctx, &conf, candidate)
		if err == nil {
			return res, nil
		}
		if last = err; !errors.Is(err, errNoSuchName) {
			break // nobody answers: other names have no better chance
		}
	}
	return nil, last
}

// ask has the servers, one after the other, give the addresses of one name of both families.
func (r *resolver) ask(ctx context.Context, conf *resolvConf, name string) (*session.Resolution, error) {
	q, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errNoSuchName, err)
	}
	res := &session.Resolution{By: "dns", Name: name}
	failed := error(nil)
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		answer, server, err := r.exchange(ctx, conf, dnsmessage.Question{Name: q, Type: kind, Class: dnsmessage.ClassINET})
		if err != nil {
			failed = err
			continue
		}
		names, addrs := follow(answer, name)
		if len(addrs) == 0 {
			continue
		}
		res.Resolver = server
		if len(names) > len(res.Names) {
			res.Names = names
		}
		res.Addrs = append(res.Addrs, addrs...)
	}
	switch {
	case len(res.Addrs) > 0:
		res.Addrs = sorted(res.Addrs)
		return res, nil
	case failed != nil:
		return nil, failed
	}
	return nil, errNoSuchName
}

func sorted(list []netip.Addr) []netip.Addr {
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	return list[:min(len(list), maxAddrs)]
}

// exchange asks the servers in order until one answers. An answer that the name does not exist is empty and no error.
func (r *resolver) exchange(ctx context.Context, conf *resolvConf, q dnsmessage.Question) ([]dnsmessage.Resource, netip.AddrPort, error) {
	last := errTimeout
	for range dnsAttempts {
		for _, server := range conf.servers {
			wait := max(r.timeout/time.Duration(2*dnsAttempts*len(conf.servers)), 100*time.Millisecond)
			answer, err := r.oneExchange(ctx, server, q, conf.tcp, wait)
			if err == nil {
				return answer, server, nil
			}
			last = fmt.Errorf("resolver %s: %w", server, plain(err))
			if ctx.Err() != nil {
				return nil, server, last
			}
		}
	}
	return nil, netip.AddrPort{}, last
}

var errTruncated = errors.New("truncated")

func (r *resolver) oneExchange(ctx context.Context, server netip.AddrPort, q dnsmessage.Question, tcp bool, wait time.Duration) ([]dnsmessage.Resource, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if !tcp {
		answer, err := r.query(ctx, "udp", server, q)
		if !errors.Is(err, errTruncated) {
			return answer, err
		}
	}
	return r.query(ctx, "tcp", server, q)
}

// query sends one question and reads the answer to it; what else comes is left aside.
func (r *resolver) query(ctx context.Context, network string, server netip.AddrPort, q dnsmessage.Question) ([]dnsmessage.Resource, error) {
	var id [2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: true},
		Questions: []dnsmessage.Question{q},
	}
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	c, err := r.ns.dial(ctx, &net.Dialer{}, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	if network == "tcp" {
		wire = append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)
	}
	if _, err := c.Write(wire); err != nil {
		return nil, err
	}
	for range 32 { // answers to somebody else's questions
		b, err := receive(c, network)
		if err != nil {
			return nil, err
		}
		answer, ours, err := readAnswer(b, m.ID, q)
		if ours {
			return answer, err
		}
	}
	return nil, errors.New("answers to other questions")
}

func receive(c net.Conn, network string) ([]byte, error) {
	if network == "udp" {
		var b [4096]byte
		n, err := c.Read(b[:])
		return b[:n], err
	}
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

// readAnswer reads the answer section of a response, if it is one to our question.
func readAnswer(b []byte, id uint16, q dnsmessage.Question) (list []dnsmessage.Resource, ours bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || !h.Response || h.ID != id {
		return nil, false, err
	}
	asked, err := p.Question()
	if err != nil || asked.Type != q.Type || asked.Class != q.Class || !strings.EqualFold(asked.Name.String(), q.Name.String()) {
		return nil, false, err
	}
	switch {
	case h.Truncated:
		return nil, true, errTruncated
	case h.RCode == dnsmessage.RCodeNameError:
		return nil, true, nil
	case h.RCode != dnsmessage.RCodeSuccess:
		return nil, true, fmt.Errorf("answers %s", strings.TrimPrefix(h.RCode.GoString(), "dnsmessage.RCode"))
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, true, errors.New("an answer that cannot be read")
	}
	for len(list) < 2*maxAddrs {
		r, err := p.Answer()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, true, errors.New("an answer that cannot be read")
		}
		list = append(list, r)
	}
	return list, true, nil
}

// follow walks the aliases of an answer from name to addresses; names are the aliases on the way.
func follow(answer []dnsmessage.Resource, name string) (names []string, addrs []netip.Addr) {
	at := name + "."
	for range maxAliases {
		next := ""
		for i := range answer {
			r := &answer[i]
			if !strings.EqualFold(r.Header.Name.String(), at) {
				continue
			}
			switch body := r.Body.(type) {
			case *dnsmessage.CNAMEResource:
				next = body.CNAME.String()
			case *dnsmessage.AResource:
				addrs = append(addrs, netip.AddrFrom4(body.A))
			case *dnsmessage.AAAAResource:
				addrs = append(addrs, netip.AddrFrom16(body.AAAA).Unmap())
			}
		}
		if next == "" || len(addrs) > 0 {
			break
		}
		at = next
		names = append(names, strings.ToLower(strings.TrimSuffix(next, ".")))
	}
	return names, addrs
}
