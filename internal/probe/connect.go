package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

// A route is how one address of an endpoint is reached.
type route struct {
	host   string         // asked for, "" for a bare address
	server netip.AddrPort // of the endpoint; not valid if the proxy resolves
	proxy  string         // HOST:PORT, "" without
	port   uint16         // of the endpoint
}

// target is what a proxy is asked to connect to.
func (r *route) target() string {
	if r.server.IsValid() {
		return r.server.String()
	}
	return net.JoinHostPort(r.host, strconv.Itoa(int(r.port)))
}

// connect opens a taped connection to the endpoint. Its deadline is timeout from now, for all that happens on it.
func (p *Prober) connect(ctx context.Context, r *route) (*taped, error) {
	start := time.Now()
	address := r.server.String()
	if r.proxy != "" {
		address = r.proxy
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	var d net.Dialer
	closed := p.o.Own.watch(&d)
	c, err := p.o.Namespace.dial(ctx, &d, "tcp", address)
	if err != nil {
		closed()
		return nil, err
	}
	t := newTaped(c, start)
	t.closed = closed
	// The context may end before the deadline.
	deadline := start.Add(p.o.Timeout)
	if err := c.SetDeadline(deadline); err != nil {
		t.Close()
		return nil, err
	}
	if r.proxy == "" {
		return t, nil
	}
	if err := tunnel(t, r.target()); err != nil {
		t.Close()
		return nil, fmt.Errorf("proxy %s: %w", r.proxy, err)
	}
	t.beginTLS()
	return t, nil
}

// maxProxyAnswer bounds the head of a proxy's response, in bytes.
const maxProxyAnswer = 16 << 10

// tunnel has a proxy connect to target (RFC 9110, Section 9.3.6).
func tunnel(t *taped, target string) error {
	if _, err := fmt.Fprintf(t, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		return err
	}
	var head []byte
	var b [1024]byte
	for !bytes.Contains(head, []byte("\r\n\r\n")) {
		if len(head) > maxProxyAnswer {
			return errors.New("no end of its answer")
		}
		n, err := t.Read(b[:])
		head = append(head, b[:n]...)
		if err != nil && !bytes.Contains(head, []byte("\r\n\r\n")) {
			return fmt.Errorf("no answer to CONNECT: %w", plain(err))
		}
	}
	status, _ := statusOf(head)
	if status/100 != 2 {
		if status == 0 {
			return errors.New("not the answer of an HTTP proxy")
		}
		return fmt.Errorf("answered CONNECT with status %d", status)
	}
	return nil
}

// statusOf reads the status code of an HTTP response (RFC 9112, Section 4).
func statusOf(head []byte) (code int, ok bool) {
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/")) {
		return 0, false
	}
	f := strings.Fields(string(line[:min(len(line), 64)]))
	if len(f) < 2 {
		return 0, false
	}
	code, err := strconv.Atoi(f[1])
	return code, err == nil && code >= 100 && code < 1000
}

// attempt is one connection, judged.
type attempt struct {
	// session is what the analysis made of it, nil if there was nothing to see. Its findings are unfiltered.
	session *session.Session
	chain   [][]byte
	// answered: the server chose a version; suite is its choice. With retry it asked for another key share.
	answered bool
	version  session.Version
	suite    uint16
	// answer says otherwise what happened, in the words of session.ProbedVersion; err why there was no connection, or what crypto/tls said.
	answer string
	err    error
	ocsp   []byte
}

// handshake is what an ordinary client of today does: it offers TLS 1.0 to 1.3, comes to the end of the handshake, and closes in order.
func (p *Prober) handshake(ctx context.Context, r *route, set *endpoint.Set) attempt {
	t, err := p.connect(ctx, r)
	if err != nil {
		return attempt{err: plain(err), answer: noConnection(err)}
	}
	keys := tlswire.NewKeyLog(0)
	c := tls.Client(t, &tls.Config{
		ServerName:         r.host,
		InsecureSkipVerify: true, // judged by package analyze, and nothing is sent over it
		// Who watches this program sees by it that the check is elsewhere.
		VerifyConnection: func(tls.ConnectionState) error { return nil },
		MinVersion:       tls.VersionTLS10,
		CipherSuites:     everySuite(),
		NextProtos:       protocols,
		KeyLogWriter:     keys,
		// The answer is wanted whatever it asks of a client: none of ours has a certificate.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil },
	})
	err = c.HandshakeContext(ctx)
	var stapled []byte
	if err == nil {
		stapled = c.ConnectionState().OCSPResponse
		_ = c.CloseWrite() // close_notify: an orderly end; it may be too late for it
	}
	t.Close()
	keys.Flush()
	a := p.judge(t, r, set, keys)
	a.ocsp = stapled
	if a.err = plain(err); a.session == nil && err == nil {
		a.err = errors.New("nothing that can be judged")
	}
	return a
}

// everySuite are the suites of crypto/tls below TLS 1.3, the bad ones last: a server that takes nothing else is to be seen too.
func everySuite() []uint16 {
	var ids []uint16
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, s.ID)
	}
	return ids
}

// ask sends a hello of our own and reads the answer: up to ServerHelloDone, or in TLS 1.3 to the ServerHello.
func (p *Prober) ask(ctx context.Context, r *route, set *endpoint.Set, h *hello) attempt {
	record, err := h.record()
	if err != nil {
		return attempt{err: err, answer: "not tried"}
	}
	t, err := p.connect(ctx, r)
	if err != nil {
		return attempt{err: plain(err), answer: noConnection(err)}
	}
	stop := context.AfterFunc(ctx, func() { t.Conn.SetDeadline(time.Now()) })
	defer stop()
	wire := tlswire.New(tlswire.Options{})
	if _, err = t.Write(record); err == nil {
		wire.Feed(session.Client, record)
		var b [4096]byte
		for !answeredWhole(wire.Facts()) {
			n, rerr := t.Read(b[:])
			if feedErr := wire.Feed(session.Server, b[:n]); feedErr != nil {
				break
			}
			if rerr != nil {
				err = rerr
				break
			}
		}
	}
	t.Close()
	a := p.judge(t, r, set, nil)
	a.err = plain(err)
	return a
}

// answeredWhole reports whether a server has said all that it says before the client's next turn.
func answeredWhole(f *tlswire.Facts) bool {
	s := f.Sent[session.Server]
	return s.Has(tlswire.SentServerHelloDone) || s.Has(tlswire.SentAlert) || f.HelloRetryRequest != nil || f.ProtocolError != nil ||
		s.Has(tlswire.SentServerHello) && f.Version.Is13()
}

// judge has the analysis read the tape.
func (p *Prober) judge(t *taped, r *route, set *endpoint.Set, keys *tlswire.KeyLog) attempt {
	var a attempt
	client, server := addrPort(t.LocalAddr()), addrPort(t.RemoteAddr())
	o := analyze.Options{
		Source: "probe", All: true, Endpoints: set, Trust: p.o.Trust, Policy: p.o.Policy, MaxFlows: 16,
		Emit: func(s *session.Session) {
			if a.session == nil {
				a.session = s
			}
		},
	}
	w := tlswire.Options{}
	if keys != nil {
		o.Secrets, w.Secrets = keys, keys
	}
	an := analyze.New(o)
	t.segments(client, server, an.Segment)
	an.Flush()

	wire := tlswire.New(w)
	skip, notTLS := t.tls, false
	for _, x := range t.pieces {
		n := min(skip[x.from], len(x.data))
		skip[x.from] -= n
		if wire.Feed(x.from, x.data[n:]) != nil {
			notTLS = true
		}
	}
	if t.ended {
		wire.Close(t.endBy, t.endRST)
	}
	wire.End()
	f := wire.Facts()
	for _, der := range f.Chain.Certificates {
		a.chain = append(a.chain, bytes.Clone(der))
	}
	switch {
	case f.ServerHello.State == tlswire.Complete && f.Version != 0:
		a.answered, a.version, a.suite = true, f.Version, f.CipherID
	case f.HelloRetryRequest != nil && f.HelloRetryRequest.State == tlswire.Complete:
		a.answered, a.version, a.suite = true, session.TLS13, f.HelloRetryRequest.Suite
	default:
		a.answer = refusal(f, t, notTLS)
	}
	return a
}

// refusal says how a server that chose nothing answered.
func refusal(f *tlswire.Facts, t *taped, notTLS bool) string {
	for _, x := range f.Alerts {
		if x.From == session.Server {
			return "alert " + x.Description
		}
	}
	switch {
	case notTLS && bytes.HasPrefix(t.behindTunnel(), []byte("HTTP/")):
		return "HTTP, not TLS"
	case notTLS:
		return "not TLS"
	case t.sent[session.Server] > t.tls[session.Server]:
		return "an answer that cannot be read"
	case t.ended && t.endBy == session.Server && t.endRST:
		return "reset"
	case t.ended && t.endBy == session.Server:
		return "closed"
	}
	return "no answer"
}

// behindTunnel is what the server sent first, after a proxy's tunnel was open.
func (t *taped) behindTunnel() []byte {
	skip := t.tls[session.Server]
	for _, x := range t.pieces {
		if x.from != session.Server {
			continue
		}
		if n := min(skip, len(x.data)); n < len(x.data) {
			return x.data[n:]
		}
		skip -= len(x.data)
	}
	return nil
}

func noConnection(err error) string {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	return "no connection"
}

// plain leaves out of network errors what the caller knows: the operation and both addresses.
func plain(err error) error {
	var op *net.OpError
	var sys syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.As(err, &sys):
		return sys
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case isTimeout(err):
		return errTimeout
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// errTimeout is about the limit of --timeout.
var errTimeout = errors.New("no answer in time")

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
