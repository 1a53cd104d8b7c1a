package dnswire

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Limits of one response.
const (
	// maxRecords is how many answer records are looked at. A 64 KiB message could hold some 4,000; DynamoDB's answers have one to eight.
	maxRecords = 512
	// maxChain is how many aliases are followed from the question. Resolvers give up at about as many.
	maxChain = 16
	// maxAddrs is how many addresses one answer may give.
	maxAddrs = 64
	// maxTTL is the longest time that an answer is said to hold (RFC 8767, Section 4 advises resolvers the same cap).
	maxTTL = 7 * 24 * time.Hour
)

// Why a message gives no Answer. Errors of Parse wrap one of these.
var (
	// ErrNotResponse: a query, or another operation than a standard query.
	ErrNotResponse = errors.New("not a response to a standard query")
	// ErrQuestions: no question, or more than one, or not of class IN: nobody can say what is answered.
	ErrQuestions = errors.New("not exactly one question of class IN")
	// ErrMalformed: the message cannot be read.
	ErrMalformed = errors.New("malformed DNS message")
)

// Answer is what one response said about its question.
type Answer struct {
	// ID is the transaction id, by which a caller may pair query and response.
	ID uint16
	// Question is the name asked for, lower case without trailing dot; bytes other than letters, digits and the usual marks stand as \DDD.
	Question string
	Type     dnsmessage.Type
	RCode    dnsmessage.RCode
	// Truncated: the TC bit, the client will ask again over TCP. What is here is right but may not be all.
	Truncated bool
	// Names are Question and the names that its aliases lead to, in order.
	Names []string
	// Addrs are the addresses of all those names, from A and AAAA records and from the hints of SVCB and HTTPS records, unmapped,
	// each once, in order of appearance, at most 64.
	Addrs []netip.Addr
	// TTL is the shortest time to live among the records that led to Addrs; 0 if there are none.
	TTL time.Duration
	// Cut: the response held more records, aliases or addresses than the limits let through.
	Cut bool
}

// record is an answer record that can matter.
type record struct {
	owner  string
	target string // CNAME, or SVCB in alias form
	addrs  []netip.Addr
	ttl    uint32
}

// Parse reads one DNS message. An answer without addresses (NXDOMAIN, no data, another type) is an Answer all the same. A malformed
// record makes the whole message malformed: half an answer is not believed, except where a set TC bit says that the rest is cut off.
func Parse(msg []byte) (Answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return Answer{}, fmt.Errorf("header: %w: %v", ErrMalformed, err)
	}
	if !h.Response || h.OpCode != 0 {
		return Answer{}, ErrNotResponse
	}
	q, err := p.Question()
	if errors.Is(err, dnsmessage.ErrSectionDone) {
		return Answer{}, ErrQuestions
	} else if err != nil {
		return Answer{}, fmt.Errorf("question: %w: %v", ErrMalformed, err)
	}
	if _, err := p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) || q.Class != dnsmessage.ClassINET {
		return Answer{}, ErrQuestions
	}
	a := Answer{ID: h.ID, Question: hostName(q.Name), Type: q.Type, RCode: h.RCode, Truncated: h.Truncated}
	records, err := a.records(&p)
	if err != nil && !h.Truncated {
		return Answer{}, err
	}
	a.follow(records)
	return a, nil
}

// records reads the answer section. With an error it returns the records before it.
func (a *Answer) records(p *dnsmessage.Parser) (records []record, err error) {
	for n := 0; ; n++ {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return records, nil
		} else if err != nil {
			return records, fmt.Errorf("answer %d: %w: %v", n, ErrMalformed, err)
		}
		if n == maxRecords {
			a.Cut = true
			return records, nil
		}
		r, err := readRecord(p, h)
		if err != nil {
			return records, fmt.Errorf("answer %d, %v: %w: %v", n, h.Type, ErrMalformed, err)
		}
		if r.target != "" || len(r.addrs) > 0 {
			r.owner, r.ttl = hostName(h.Name), h.TTL
			records = append(records, r)
		}
	}
}

var errLength = errors.New("wrong record length")

// readRecord reads the content of the record behind h.
func readRecord(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) (r record, err error) {
	if h.Class != dnsmessage.ClassINET {
		return r, p.SkipAnswer()
	}
	switch h.Type {
	case dnsmessage.TypeA:
		if h.Length != 4 { // the parser itself would read beyond the record
			return r, errLength
		}
		res, err := p.AResource()
		r.addrs = []netip.Addr{netip.AddrFrom4(res.A)}
		return r, err
	case dnsmessage.TypeAAAA:
		if h.Length != 16 {
			return r, errLength
		}
		res, err := p.AAAAResource()
		r.addrs = []netip.Addr{netip.AddrFrom16(res.AAAA).Unmap()}
		return r, err
	case dnsmessage.TypeCNAME:
		res, err := p.CNAMEResource()
		r.target = hostName(res.CNAME)
		return r, err
	case dnsmessage.TypeSVCB:
		res, err := p.SVCBResource()
		return serviceRecord(&res, err)
	case dnsmessage.TypeHTTPS:
		res, err := p.HTTPSResource()
		return serviceRecord(&res.SVCBResource, err)
	}
	return r, p.SkipAnswer()
}

// serviceRecord takes what leads to addresses out of an SVCB or HTTPS record (RFC 9460): the target in alias form (Section 2.4.2), the
// address hints in service form (Section 7.3). Target "." in service form means the owner itself; another target's hints are taken
// as the owner's too, for that is where its clients connect.
func serviceRecord(s *dnsmessage.SVCBResource, err error) (r record, _ error) {
	if err != nil {
		return r, err
	}
	if s.Priority == 0 {
		r.target = hostName(s.Target)
		return r, nil
	}
	if hints, ok := s.GetParam(dnsmessage.SVCParamIPv4Hint); ok {
		if len(hints)%4 != 0 {
			return r, errLength
		}
		for b := range slices.Chunk(hints, 4) {
			r.addrs = append(r.addrs, netip.AddrFrom4([4]byte(b)))
		}
	}
	if hints, ok := s.GetParam(dnsmessage.SVCParamIPv6Hint); ok {
		if len(hints)%16 != 0 {
			return r, errLength
		}
		for b := range slices.Chunk(hints, 16) {
			r.addrs = append(r.addrs, netip.AddrFrom16([16]byte(b)).Unmap())
		}
	}
	return r, nil
}

// follow walks from the question along the aliases, whatever order the records stand in, and gathers what lies on the way.
func (a *Answer) follow(records []record) {
	a.Names = []string{a.Question}
	shortest := uint32(1<<32 - 1)
	for i := 0; i < len(a.Names); i++ {
		for _, r := range records {
			if r.owner != a.Names[i] {
				continue
			}
			for _, addr := range r.addrs {
				switch {
				case slices.Contains(a.Addrs, addr):
				case len(a.Addrs) == maxAddrs:
					a.Cut = true
				default:
					a.Addrs = append(a.Addrs, addr)
				}
			}
			if r.target != "" && !slices.Contains(a.Names, r.target) {
				if len(a.Names) > maxChain {
					a.Cut = true
				} else {
					a.Names = append(a.Names, r.target)
				}
			}
			shortest = min(shortest, r.ttl)
		}
	}
	if len(a.Addrs) == 0 {
		return
	}
	if shortest > 1<<31-1 { // a set top bit means zero (RFC 2181, Section 8)
		shortest = 0
	}
	a.TTL = min(time.Duration(shortest)*time.Second, maxTTL)
}

// hostName is a name in lower case without its trailing dot, the root as ".". Bytes that have no place in a host name stand as \DDD, as
// in a zone file (RFC 1035, Section 5.1), so that a name is safe to print and two different names never look alike.
func hostName(n dnsmessage.Name) string {
	var buf [4 * 255]byte
	out := buf[:0]
	for _, b := range n.Data[:n.Length] {
		out = appendName(out, b)
	}
	return string(trimDot(out))
}

func appendName(out []byte, b byte) []byte {
	switch {
	case b >= 'A' && b <= 'Z':
		return append(out, b|0x20)
	case b >= 'a' && b <= 'z', b >= '0' && b <= '9', b == '-', b == '_', b == '.', b == '*', b == '/', b == ':', b == '@':
		return append(out, b)
	}
	return append(out, '\\', '0'+b/100, '0'+b/10%10, '0'+b%10)
}

func trimDot(name []byte) []byte {
	if n := len(name); n > 1 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}
