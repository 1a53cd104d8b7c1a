package probe

import (
	"context"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
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

// TestKeeperProbesWhatAnAddressMeansHere: an address may be another host's in another network namespace.
func TestKeeperProbesWhatAnAddressMeansHere(t *testing.T) {
	o := options(t)
	set, err := endpoint.NewSet(endpoint.Embedded(), []string{"10.9.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	o.Endpoints = set
	elsewhere := func(s *session.Session) { s.Process.NetNS++ }
	unknown := func(s *session.Session) { s.Process = nil }
	passing := func(s *session.Session) { s.Process, s.Source = nil, "packet" }
	for _, tt := range []struct {
		what, address string
		change        func(*session.Session)
		want          bool
	}{
		{"public, of another namespace", "192.0.2.1", elsewhere, true},
		{"private, of this namespace", "10.1.2.3", func(*session.Session) {}, true},
		{"private, of another namespace", "10.1.2.3", elsewhere, false},
		{"private in IPv6, of another namespace", "fd00::1", elsewhere, false},
		{"shared, of another namespace", "100.64.0.1", elsewhere, false},
		{"private, of nobody knows whose", "172.16.0.1", unknown, false},
		{"private, its packets pass here", "172.16.0.1", passing, true},
		{"private, and the operator's", "10.9.0.1", elsewhere, true},
		{"loopback, its packets pass here", "127.0.0.1", passing, false},
	} {
		k := NewKeeper(o, hasty)
		s := unseen(t, netip.AddrPortFrom(netip.MustParseAddr(tt.address), 443))
		tt.change(s)
		if k.Fill(s, time.Now()); (k.Stats().Waiting == 1) != tt.want {
			t.Errorf("%s: wanted %t", tt.what, !tt.want)
		}
	}
}

// TestKeeperForgetsWhatWasJudgedOtherwise: with another policy nothing is shown that the old one judged.
func TestKeeperForgetsWhatWasJudgedOtherwise(t *testing.T) {
	at := serveTLS(t, config("forged"))
	probed := make(chan *session.Probe, 9)
	o := hasty
	o.Result = func(p *session.Probe) { probed <- p }
	k := keep(t, o)
	now := time.Now()
	k.Fill(unseen(t, at), now)
	<-probed
	if !k.Fill(unseen(t, at), now) {
		t.Fatal("not filled")
	}
	k.Use(options(t), o)
	if k.Fill(unseen(t, at), now) {
		t.Error("filled with what the old policy judged")
	}
	<-probed
	if !k.Fill(unseen(t, at), now) {
		t.Error("not filled by the new policy")
	}
}

// TestKeeperIsLight: what hostile servers put into certificates does not fill the memory.
func TestKeeperIsLight(t *testing.T) {
	long := strings.Repeat("x", 60<<10)
	c := &session.Certificate{SeenBy: "probe", Subject: "CN=" + long, Issuer: "CN=" + strings.Repeat("\u017e", 1000), SHA256: "00", SeenAt: time.Now(), Names: []string{"a.example", long, "b.example"}}
	got := compact(c)
	size := len(got.Subject) + len(got.Issuer)
	for _, name := range got.Names {
		size += len(name)
	}
	if size > 2*maxDN+maxNames || !reflect.DeepEqual(got.Names, []string{"a.example"}) || !utf8.ValidString(got.Issuer) || got.SHA256 != "00" || got.SeenAt != c.SeenAt {
		t.Errorf("%d bytes: %+v", size, got)
	}
	small := &session.Certificate{SeenBy: "probe", Subject: "CN=a", Issuer: "CN=b", Names: []string{"a", "b"}}
	if got := compact(small); !reflect.DeepEqual(got, small) {
		t.Errorf("%+v", got)
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
