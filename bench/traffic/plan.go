package traffic

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// planned is a flow before it begins.
type planned struct {
	script *script
	start  int64 // nanoseconds after the first packet
	repeat int
	end    ending
	// in is the region of a DynamoDB session.
	in *region
	// oldClient: see dynamoDBKind.
	oldClient bool
}

// plan is all flows of a capture.
type plan struct {
	rnd      *rand.Rand
	flows    []planned
	packets  int64
	bytes    int64
	length   int64 // ns in which flows begin
	duration int64 // ns that a flow takes on average
	given    int
	ports    [hosts]uint16
}

// hosts is how many clients there are.
const hosts = 250

// add plans a flow.
func (p *plan) add(f planned) {
	s := f.script
	if s.proto == tcp && len(s.steps) > 2 {
		switch luck := p.rnd.IntN(100); {
		case luck < 8:
			f.end = never
		case luck < 16 && s.dynamodb == "":
			f.end = byRST
		}
	} else {
		f.end = never
	}
	p.packets += s.packets
	p.bytes += s.bytes
	p.flows = append(p.flows, f)
}

// addSome plans n flows that play one of those scripts each.
func (p *plan) addSome(n int, scripts []*script) {
	for range n {
		p.add(planned{script: scripts[p.rnd.IntN(len(scripts))]})
	}
}

// addDynamoDB records and plans n sessions of DynamoDB's.
func (p *plan) addDynamoDB(r *recorder, n int) error {
	for i := range n {
		in := &regions[p.rnd.IntN(len(regions))]
		kind := kindOf(i)
		s, err := r.dynamoDB(kind, *in)
		if err != nil {
			return err
		}
		p.add(planned{script: s, in: in, oldClient: kind.oldClient()})
	}
	return nil
}

// schedule gives every flow its start and sorts them by it.
func (p *plan) schedule() {
	for i := range p.flows {
		p.flows[i].start = p.rnd.Int64N(p.length)
	}
	slices.SortStableFunc(p.flows, func(a, b planned) int { return cmp.Compare(a.start, b.start) })
}

// next gives the next flow with addresses, ports and numbers, and when it begins; nil at the end.
func (p *plan) next() (*talk, int64) {
	if p.given == len(p.flows) {
		return nil, 0
	}
	d := &p.flows[p.given]
	p.given++
	host := p.rnd.IntN(hosts)
	if d.in != nil {
		// Three hosts in ten have an old client, and a host keeps to one.
		if host -= host % 10; d.oldClient {
			host += p.rnd.IntN(3)
		} else {
			host += 3 + p.rnd.IntN(7)
		}
	}
	p.ports[host]++
	f := &talk{
		script: d.script, repeat: d.repeat, end: d.end,
		seq: [2]uint32{p.rnd.Uint32(), p.rnd.Uint32()}, clock: p.rnd.Uint32(), id: uint16(p.rnd.Uint32()),
		rtt:    500e3 + int64(p.rnd.ExpFloat64()*15e6),
		client: end{netip.AddrFrom4([4]byte{10, 0, byte(host / 50), byte(10 + host%50)}), 32768 + p.ports[host]%28000},
		server: end{netip.Addr{}, d.script.port},
	}
	f.wait = int64(p.rnd.ExpFloat64()*float64(p.duration)) / int64(d.script.thinks()+2*d.repeat)
	switch {
	case d.in != nil:
		base := d.in.prefix.Addr().As4()
		base[3] += byte(1 + p.rnd.IntN(200))
		f.server.ip = netip.AddrFrom4(base)
	case d.script.port == 53:
		f.server.ip = netip.AddrFrom4([4]byte{10, 0, 0, 2})
	case d.script.proto != icmp && d.script.proto != arp && p.rnd.IntN(100) < 8:
		f.client.ip = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, 15: byte(host)})
		f.server.ip = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 2, 14: byte(p.rnd.IntN(10)), 15: byte(p.rnd.IntN(250))})
	default: // RFC 2544's benchmarking range
		f.server.ip = netip.AddrFrom4([4]byte{198, 18, byte(p.rnd.IntN(12)), byte(1 + p.rnd.IntN(250))})
	}
	return f, firstPacket + d.start
}

// lookups are questions to a resolver, one in fifty of them for a DynamoDB name.
func (r *recorder) lookups() ([]*script, error) {
	var scripts []*script
	for i := range 100 {
		name, addr := fmt.Sprintf("www.service-%d.example", i), [4]byte{198, 18, 0, byte(i + 1)}
		if i%50 == 0 {
			in := regions[i/50]
			name, addr = in.host(), in.prefix.Addr().Next().As4()
		}
		s, err := r.lookup(name, addr)
		if err != nil {
			return nil, err
		}
		scripts = append(scripts, s)
	}
	return scripts, nil
}

// several makes n scripts.
func several(n int, what func() *script) []*script {
	scripts := make([]*script, n)
	for i := range scripts {
		scripts[i] = what()
	}
	return scripts
}
