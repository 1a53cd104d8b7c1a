package traffic

import "github.com/dynwatch/dynwatch/internal/synth"

// IP protocol numbers; arp is none, and stands for frames without IP.
const (
	arp  = 0
	icmp = 1
	tcp  = 6
	udp  = 17
)

// TCP flags.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// pace says how long after the step before a step is sent.
type pace uint8

const (
	burst pace = iota // back to back
	turn              // half a round trip: the answer to what the other side sent
	think             // as long as the flow's user waits
)

// step is one packet of a script.
type step struct {
	payload    []byte // shared by all flows that play the script: never modified
	sum        uint32 // of the payload, see checksum
	fromClient bool
	flags      uint8
	pace       pace
	// keep: never lost, because the manifest counts on it.
	keep bool
}

// script is one conversation, without addresses and numbers.
type script struct {
	proto uint8
	// port is the server's.
	port  uint16
	steps []step
	// loop is the part of steps that a flow plays again, as often as it is told; empty if from == to.
	from, to int
	// tls: the handshake is complete.
	tls bool
	// dynamodb is what kind of DynamoDB session this is; empty if none.
	dynamodb, verdict string
	// packets and bytes are those of one play over IPv4, with an end by FIN and pcap's record headers.
	packets, bytes int64
}

const mss = 1448 // of an Ethernet MTU with TCP timestamps

// tcpScript makes a script of what two ends say.
func tcpScript(port uint16, d synth.Dialogue) *script {
	s := &script{proto: tcp, port: port, steps: opening()}
	for _, m := range d {
		s.say(m.FromClient, m.Data)
	}
	return s
}

func opening() []step {
	return []step{
		{fromClient: true, flags: syn, keep: true},
		{flags: syn | ack, pace: turn, keep: true},
		{fromClient: true, flags: ack, pace: turn, keep: true},
	}
}

var (
	closing = []step{
		{fromClient: true, flags: fin | ack, pace: think},
		{flags: fin | ack, pace: turn},
		{fromClient: true, flags: ack, pace: turn},
	}
	reset = []step{{fromClient: true, flags: rst | ack, pace: think}}
)

// say appends a message, cut into segments; the client thinks before it speaks again.
func (s *script) say(fromClient bool, data []byte) {
	first := true
	for len(data) > 0 {
		n := min(len(data), mss)
		st := step{payload: data[:n], sum: sum(0, data[:n]), fromClient: fromClient, flags: ack}
		if n == len(data) {
			st.flags |= psh
		}
		if last := len(s.steps) - 1; first && last >= 0 && s.steps[last].fromClient != fromClient {
			st.pace = turn
		}
		s.steps = append(s.steps, st)
		data = data[n:]
		first = false
	}
}

// acknowledge appends a bare acknowledgement, as the receiver sends when it has nothing to say yet.
func (s *script) acknowledge(fromClient bool) {
	s.steps = append(s.steps, step{fromClient: fromClient, flags: ack, pace: turn})
}

// pause has the client think before the step that is appended next.
func (s *script) pause(from int) {
	if from < len(s.steps) {
		s.steps[from].pace = think
	}
}

// keepAll exempts the script from loss.
func (s *script) keepAll() {
	for i := range s.steps {
		s.steps[i].keep = true
	}
}

// weigh fills in packets and bytes.
func (s *script) weigh() *script {
	for i := range s.steps {
		s.packets++
		s.bytes += int64(recordHeader + s.frameLen(&s.steps[i], false))
	}
	if s.proto == tcp && len(s.steps) > 2 {
		for i := range closing {
			s.packets++
			s.bytes += int64(recordHeader + s.frameLen(&closing[i], false))
		}
	}
	return s
}

// loopWeight is what one more play of the loop adds.
func (s *script) loopWeight() (packets, bytes int64) {
	for i := range s.steps[s.from:s.to] {
		packets++
		bytes += int64(recordHeader + s.frameLen(&s.steps[s.from+i], false))
	}
	return packets, bytes
}

// thinks counts the places where the client thinks, so that a flow can divide its duration by them.
func (s *script) thinks() int {
	n := 1 // before the end
	for i := range s.steps {
		if s.steps[i].pace == think {
			n++
		}
	}
	return n
}

// hasPayload reports whether any packet carries some.
func (s *script) hasPayload() bool {
	for i := range s.steps {
		if len(s.steps[i].payload) > 0 {
			return true
		}
	}
	return false
}
