package probe

import (
	"context"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// unseen is an ordinary TLS 1.3 session of a process in our network namespace.
func unseen(t testing.TB, server netip.AddrPort) *session.Session {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	return &session.Session{
		Start: time.Now(), Server: server, Transport: session.TransportTLS, Visibility: session.VisibilityEncrypted, Trust: session.TrustUnseen,
		Verdict: session.VerdictUnverified, Endpoint: session.Endpoint{Service: "dynamodb", Name: name},
		TLS: &session.TLS{Version: session.TLS13, SNI: name}, Process: &flow.Process{PID: 1, NetNS: st.Ino},
	}
}

// keep runs a Keeper until the test ends.
func keep(t testing.TB, o KeeperOptions) *Keeper {
	t.Helper()
	k := NewKeeper(options(t), o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { k.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return k
}

var hasty = KeeperOptions{Pause: time.Millisecond, Jitter: time.Millisecond}

func TestKeeper(t *testing.T) {
	var connections atomic.Int32
	at := serveTLS(t, config("forged"))
	counted := serve(t, func(c net.Conn) {
		connections.Add(1)
		up, err := net.Dial("tcp", at.String())
		if err == nil {
			relay(c, up)
		}
	})
	probed := make(chan *session.Probe, 9)
	o := hasty
	o.Result = func(p *session.Probe) { probed <- p }
	k := keep(t, o)
	now := time.Now()
	s := unseen(t, counted)
	if k.Fill(s, now) || s.Certificate != nil {
		t.Fatal("filled before anything was probed")
	}
	p := <-probed
	if p.Session == nil || p.Session.Trust != session.TrustForged || len(p.Versions) != 0 {
		t.Fatalf("the probe: %s %+v", p.Err, p.Session)
	}
	for k.Stats().Probes == 0 {
		time.Sleep(time.Millisecond)
	}
	before := *s
	for range 100 { // a burst of sessions is one probe
		if s = unseen(t, counted); !k.Fill(s, now.Add(time.Minute)) {
			t.Fatal("not filled")
		}
	}
	c := s.Certificate
	if c.SeenBy != "probe" || c.ProbeTrust != session.TrustForged || c.SeenAt.IsZero() || c.Issuer == "" {
		t.Errorf("certificate %+v", c)
	}
	// It is no proof about this connection: nothing but the certificate changed.
	after := *s
	after.Certificate, after.Start, before.Start = nil, time.Time{}, time.Time{}
	if !reflect.DeepEqual(after, before) {
		t.Errorf("the session changed:\n%+v\n%+v", after, before)
	}
	if s := unseen(t, counted); k.Fill(s, now.Add(3*time.Hour)) {
		t.Error("filled from an answer that is too old")
	}
	<-probed // its time had come
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	if st := k.Stats(); st.Filled != 100 || st.Dropped != 0 || st.Kept != 1 {
		t.Errorf("%+v", st)
	}
}

func TestKeeperLeavesOthersAlone(t *testing.T) {
	k := NewKeeper(options(t), hasty) // not run: what it wants stays in the queue
	at := netip.MustParseAddrPort("127.0.0.1:443")
	for what, change := range map[string]func(*session.Session){
		"the certificate was seen":        func(s *session.Session) { s.Certificate = &session.Certificate{SeenBy: "library"} },
		"the chain was judged":            func(s *session.Session) { s.Trust = session.TrustAmazon },
		"bytes are missing":               func(s *session.Session) { s.Visibility = session.VisibilityIncomplete },
		"another service":                 func(s *session.Session) { s.Endpoint = session.Endpoint{} },
		"cleartext":                       func(s *session.Session) { s.Transport, s.TLS = session.TransportHTTP, nil },
		"a proxy's address":               func(s *session.Session) { s.Proxy = &session.Proxy{} },
		"packets go elsewhere":            func(s *session.Session) { s.RedirectedTo = netip.MustParseAddrPort("127.0.0.1:15001") },
		"loopback of another namespace":   func(s *session.Session) { s.Process.NetNS++ },
		"loopback of nobody knows whose":  func(s *session.Session) { s.Process = nil },
		"link-local of another namespace": func(s *session.Session) { s.Process.NetNS++; s.Server = netip.MustParseAddrPort("169.254.1.1:443") },
		"the handshake ended before it":   func(s *session.Session) { s.Visibility = session.VisibilityNone },
		"a tunnel":                        func(s *session.Session) { s.Transport = session.TransportConnectTLS },
	} {
		s := unseen(t, at)
		change(s)
		if k.Fill(s, time.Now()) || k.Stats().Waiting != 0 {
			t.Errorf("%s: probed", what)
		}
	}
	if k.Fill(unseen(t, at), time.Now()); k.Stats().Waiting != 1 {
		t.Error("what is wanted does not wait")
	}
}

func TestKeeperIsBounded(t *testing.T) {
	o := hasty
	o.MaxQueue, o.MaxKept = 4, 8
	k := NewKeeper(options(t), o)
	for i := range 100 {
		s := unseen(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 443))
		k.Fill(s, time.Now())
		k.Fill(s, time.Now()) // once is enough
	}
	st := k.Stats()
	if st.Waiting != 4 || st.Kept != 8 || st.Evicted != 92 || st.Dropped != 192 {
		t.Errorf("%+v", st)
	}
}

func TestKeeperTriesAgainLater(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	done := make(chan struct{}, 9)
	o := hasty
	o.Result = func(*session.Probe) { done <- struct{}{} }
	k := keep(t, o)
	now := time.Now()
	k.Fill(unseen(t, at), now)
	<-done
	for k.Stats().Failed == 0 {
		time.Sleep(time.Millisecond)
	}
	k.Fill(unseen(t, at), now.Add(time.Minute))
	if st := k.Stats(); st.Waiting != 0 || st.Probes != 1 {
		t.Errorf("asked again at once: %+v", st)
	}
	k.Fill(unseen(t, at), now.Add(2*time.Hour))
	<-done
}
