package traffic

import (
	"fmt"

	"github.com/dynwatch/dynwatch/internal/synth"
)

// web is cleartext HTTP that is nobody's DynamoDB.
func (r *recorder) web(answer int) *script {
	var d synth.Dialogue
	paths := []string{"/", "/health", "/api/v1/items?limit=50", "/static/app.js", "/v2/library/image/manifests/latest", "/metrics"}
	for range 1 + r.rnd.IntN(3) {
		d.Client(fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: www.service-%d.example\r\nUser-Agent: python-requests/2.32.3\r\nAccept: */*\r\n"+
			"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n", paths[r.rnd.IntN(len(paths))], r.rnd.IntN(otherChains)))
		body := r.bytes(r.spread(answer))
		d.Server(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n"+
			"Connection: keep-alive\r\n\r\n%s", len(body), body))
	}
	return tcpScript(80, d).weigh()
}

// database is PostgreSQL's startup and some queries: many small segments in turn.
func (r *recorder) database() *script {
	s := &script{proto: tcp, port: 5432, steps: opening()}
	s.say(true, []byte("\x00\x00\x00\x29\x00\x03\x00\x00user\x00app\x00database\x00orders\x00client_enc\x00\x00"))
	s.say(false, append([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00S\x00\x00\x00\x16server_version\x0015\x00Z\x00\x00\x00\x05I"), r.bytes(260)...))
	for range 2 + r.rnd.IntN(5) {
		q := fmt.Sprintf("SELECT id, state FROM orders WHERE customer = %d", r.rnd.Uint32())
		s.acknowledge(true)
		s.say(true, append([]byte{'Q', 0, 0, 0, byte(len(q) + 5)}, append([]byte(q), 0)...))
		s.pause(len(s.steps) - 1)
		s.say(false, append([]byte("T\x00\x00\x00\x21\x00\x02id\x00"), r.bytes(r.spread(300))...))
	}
	return s.weigh()
}

// shell is SSH's banners and key exchange, then encrypted packets.
func (r *recorder) shell() *script {
	s := &script{proto: tcp, port: 22, steps: opening()}
	s.say(true, []byte("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"))
	s.say(false, []byte("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"))
	for _, n := range []int{1504, 1120, 1228, 1564, 44, 44, 68, 52, 652, 28} {
		fromClient := n%8 == 4
		s.say(fromClient, r.bytes(n))
	}
	for range 10 + r.rnd.IntN(60) {
		s.acknowledge(true)
		s.say(true, r.bytes(36))
		s.pause(len(s.steps) - 1)
		s.say(false, r.bytes(36+16*r.rnd.IntN(40)))
	}
	return s.weigh()
}

// noise is a protocol that nobody knows.
func (r *recorder) noise() *script {
	s := &script{proto: tcp, port: uint16(10_000 + r.rnd.IntN(20_000)), steps: opening()}
	for range 1 + r.rnd.IntN(8) {
		s.say(true, r.bytes(20+r.rnd.IntN(400)))
		s.pause(len(s.steps) - 1)
		s.say(false, r.bytes(r.spread(800)))
	}
	return s.weigh()
}

// middle is the middle of a flow that began before the capture: encrypted records, no SYN.
func (r *recorder) middle() *script {
	s := &script{proto: tcp, port: 443}
	for range 2 + r.rnd.IntN(4) {
		s.say(true, r.sealed(300))
		s.pause(len(s.steps) - 1)
		s.say(false, r.sealed(r.spread(1500)))
	}
	return s.weigh()
}

// empty is a connection that says nothing, as health checks of load balancers do.
func empty() *script { return (&script{proto: tcp, port: 8080, steps: opening()}).weigh() }

// scan is a SYN to a port where nobody listens: refused, or unanswered and sent again.
func scan(refused bool) *script {
	s := &script{proto: tcp, port: 23, steps: opening()[:1]}
	if refused {
		s.steps = append(s.steps, step{flags: rst | ack, pace: turn})
	} else {
		s.steps = append(s.steps, step{fromClient: true, flags: syn, pace: think})
	}
	return s.weigh()
}

// download is a TLS session with a long answer: its loop is 64 full segments with an acknowledgement for every two of them.
func (r *recorder) download(handshake *script) *script {
	s := &script{proto: tcp, port: 443, tls: true}
	s.steps = append(s.steps, handshake.steps...)
	s.steps = s.steps[:len(s.steps)-1] // the client's close_notify: this one stays open
	s.from = len(s.steps)
	const segments = 64
	stream := r.sealed(segments*mss - 6*5)[:segments*mss]
	for i := range segments {
		payload := stream[i*mss : (i+1)*mss]
		s.steps = append(s.steps, step{payload: payload, sum: sum(0, payload), flags: ack})
		if i == 0 || i == segments/2 {
			s.steps[len(s.steps)-1].pace = think
		}
		if i%2 == 1 {
			s.steps = append(s.steps, step{fromClient: true, flags: ack})
		}
	}
	s.to = len(s.steps)
	return s.weigh()
}
