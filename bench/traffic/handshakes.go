package traffic

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/dynwatch/dynwatch/internal/synth"
)

// recorder makes TLS scripts with a small public key infrastructure of its own.
type recorder struct {
	rnd  *rand.Rand
	keys []crypto.Signer
	// amazon stands for Amazon's authorities, proxy for a company's that intercepts.
	amazon, amazonRoot, proxy *synth.Authority
	// others are the chains of everybody else's servers.
	others []named
	// ours and intercepted are the leaves of DynamoDB's names, by region, made at first use.
	ours, intercepted map[string]tls.Certificate
}

type named struct {
	name string
	cert tls.Certificate
}

// otherChains is how many different chains ordinary servers show.
const otherChains = 40

func newRecorder(rnd *rand.Rand) (*recorder, error) {
	r := &recorder{rnd: rnd, ours: make(map[string]tls.Certificate), intercepted: make(map[string]tls.Certificate)}
	for range 4 {
		key, err := rsa.GenerateKey(cryptorand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, key)
	}
	for range 4 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, key)
	}
	root := func(organization, name string, key crypto.Signer) (root, below *synth.Authority, err error) {
		if root, err = synth.NewAuthority(pkix.Name{Country: []string{"US"}, Organization: []string{organization}, CommonName: name + " Root"}, key); err == nil {
			below, err = root.Intermediate(pkix.Name{Country: []string{"US"}, Organization: []string{organization}, CommonName: name + " 1"}, key)
		}
		return root, below, err
	}
	var err error
	if r.amazonRoot, r.amazon, err = root("Benchmark Trust Services", "Benchmark RSA 2048", r.keys[0]); err != nil {
		return nil, err
	}
	if _, r.proxy, err = root("Example Corporation", "Example Inspection", r.keys[1]); err != nil {
		return nil, err
	}
	for i := 0; i < otherChains; {
		_, below, err := root(fmt.Sprintf("Public Authority %d", i/5), fmt.Sprintf("Public Authority %d G2", i/5), r.keys[i/5%len(r.keys)])
		if err != nil {
			return nil, err
		}
		for range 5 {
			name := fmt.Sprintf("www.service-%d.example", i)
			cert, err := below.Server(r.keys[i*3%len(r.keys)], name, fmt.Sprintf("*.service-%d.example", i), fmt.Sprintf("service-%d.example", i))
			if err != nil {
				return nil, err
			}
			r.others = append(r.others, named{name, cert})
			i++
		}
	}
	return r, nil
}

// shape says how an ordinary session looks.
type shape struct {
	version uint16 // TLS 1.2 or 1.3
	server  named
	// hybrid: the client offers X25519MLKEM768 too, which makes its hello longer than one segment.
	hybrid bool
	// retry: the server asks for another key share (HelloRetryRequest).
	retry bool
	// resumed: the client comes back with a ticket.
	resumed bool
	// rounds of requests and answers, and the answers' usual size in bytes.
	rounds, answer int
}

// ordinary records a session of that shape.
func (r *recorder) ordinary(o shape) (*script, error) {
	client := &tls.Config{
		ServerName: o.server.name, InsecureSkipVerify: true, MaxVersion: o.version, NextProtos: []string{"h2", "http/1.1"},
	}
	server := &tls.Config{Certificates: []tls.Certificate{o.server.cert}, NextProtos: []string{"h2", "http/1.1"}}
	if !o.hybrid {
		client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	}
	if o.retry {
		server.CurvePreferences = []tls.CurveID{tls.CurveP256}
	}
	if o.resumed {
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if _, err := synth.TLS(client, server, []byte("first"), []byte("answer")); err != nil {
			return nil, fmt.Errorf("record the session before a resumed one: %w", err)
		}
	}
	s, err := r.record(client, server, 443, o.rounds, o.answer)
	if err != nil {
		return nil, fmt.Errorf("record a session with %s: %w", o.server.name, err)
	}
	return s, nil
}

// record makes a TLS session: handshake, request and answer as crypto/tls made them, further rounds in records of random bytes, which is
// what encrypted ones look like, and the client's close_notify.
func (r *recorder) record(client, server *tls.Config, port uint16, rounds, answer int) (*script, error) {
	d, err := synth.TLS(client, server, r.bytes(200+r.rnd.IntN(700)), r.bytes(r.spread(answer)))
	if err != nil {
		return nil, err
	}
	s := tcpScript(port, d[:len(d)-1])
	s.tls = true
	s.keepAll()
	for range rounds - 1 {
		s.acknowledge(true)
		s.say(true, r.sealed(200+r.rnd.IntN(700)))
		s.pause(len(s.steps) - 1)
		s.say(false, r.sealed(r.spread(answer)))
	}
	s.acknowledge(true)
	s.say(true, d[len(d)-1].Data)
	s.pause(len(s.steps) - 1)
	return s, nil
}

// sealed is n random bytes as application data records.
func (r *recorder) sealed(n int) []byte {
	const most, head = 1<<14 + 17, 5
	var b []byte
	for n > 0 {
		k := min(n, most)
		b = append(b, 23, 3, 3)
		b = binary.BigEndian.AppendUint16(b, uint16(k))
		b = append(b, r.bytes(k)...)
		n -= k + head
	}
	return b
}

// bytes is n random bytes.
func (r *recorder) bytes(n int) []byte {
	b := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:min(i+8, len(b))][:8:8], r.rnd.Uint64())
	}
	return b[:n]
}

// spread draws a size around usual: log-normal, as sizes of answers are, between a tenth and eight times of it.
func (r *recorder) spread(usual int) int {
	return int(float64(usual) * min(max(math.Exp(r.rnd.NormFloat64()*0.8), 0.1), 8))
}

// pool records n different ordinary sessions: TLS 1.3 and 1.2 as 3 to 2, every chain in both.
func (r *recorder) pool(n, rounds, answer int) ([]*script, error) {
	var scripts []*script
	for i := range n {
		o := shape{
			version: tls.VersionTLS13, server: r.others[i%otherChains], hybrid: i%2 == 0, retry: i%29 == 0, resumed: i%7 == 3,
			rounds: 1 + r.rnd.IntN(2*rounds-1), answer: answer,
		}
		if i/otherChains%5 >= 3 {
			o.version, o.hybrid = tls.VersionTLS12, false
		}
		s, err := r.ordinary(o)
		if err != nil {
			return nil, err
		}
		scripts = append(scripts, s.weigh())
	}
	return scripts, nil
}
