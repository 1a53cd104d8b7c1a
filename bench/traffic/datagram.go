package traffic

import (
	"encoding/binary"

	"golang.org/x/net/dns/dnsmessage"
)

// quic is a flow of UDP datagrams with QUIC's headers: the initial ones, then an answer in full datagrams.
func (r *recorder) quic(datagrams int) *script {
	s := &script{proto: udp, port: 443}
	add := func(fromClient bool, first byte, n int, p pace) {
		b := r.bytes(n)
		b[0] = first
		if first&0x80 != 0 {
			copy(b[1:], []byte{0, 0, 0, 1, 8}) // version 1, a connection id of 8 bytes
		}
		s.steps = append(s.steps, step{payload: b, sum: sum(0, b), fromClient: fromClient, pace: p})
	}
	add(true, 0xc3, 1200, burst)
	add(false, 0xc1, 1200, turn)
	add(false, 0xe1, 1200, burst)
	add(true, 0xc2, 1200, turn)
	for i := range datagrams {
		if i%8 == 7 {
			add(true, 0x41, 33, burst)
			continue
		}
		p := burst
		if i%16 == 0 {
			p = think
		}
		add(false, 0x43, 1250+r.rnd.IntN(100), p)
	}
	return s.weigh()
}

// lookup is a question to a resolver and its answer: one address in those given.
func (r *recorder) lookup(name string, addr [4]byte) (*script, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(r.rnd.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	question, err := m.Pack()
	if err != nil {
		return nil, err
	}
	m.Response, m.RecursionAvailable = true, true
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 5},
		Body:   &dnsmessage.AResource{A: addr},
	}}
	answer, err := m.Pack()
	if err != nil {
		return nil, err
	}
	s := &script{proto: udp, port: 53, steps: []step{
		{payload: question, sum: sum(0, question), fromClient: true},
		{payload: answer, sum: sum(0, answer), pace: turn},
	}}
	return s.weigh(), nil
}

// ping is an ICMP echo and its answer (RFC 792).
func (r *recorder) ping() *script {
	echo := func(kind byte) []byte {
		b := r.bytes(64)
		copy(b, []byte{kind, 0, 0, 0, 0, 7, 0, 1})
		binary.BigEndian.PutUint16(b[2:], checksum(sum(0, b)))
		return b
	}
	s := &script{proto: icmp, steps: []step{{payload: echo(8), fromClient: true}, {payload: echo(0), pace: turn}}}
	return s.weigh()
}

// whoHas is an ARP request and its answer (RFC 826).
func whoHas() *script {
	request := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1}
	reply := []byte{0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 2, 10, 0, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 9}
	s := &script{proto: arp, steps: []step{{payload: request, fromClient: true}, {payload: reply, pace: turn}}}
	return s.weigh()
}
