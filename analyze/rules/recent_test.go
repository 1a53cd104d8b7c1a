package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestRankFitsTheArrays(t *testing.T) {
	for v := range 1 << 16 {
		if r := session.Version(v).Rank(); r < 0 || r > maxRank {
			t.Fatalf("rank of %04x is %d", v, r)
		}
	}
}

func TestFallsBackFrom(t *testing.T) {
	for _, c := range []struct {
		name          string
		lower, higher []uint16
		want          bool
	}{
		{"suites of the higher version fall away", []uint16{3, 5}, []uint16{1, 3, 4, 5}, true},
		{"the same list", []uint16{1, 2}, []uint16{1, 2}, true},
		{"another order", []uint16{5, 3}, []uint16{1, 3, 4, 5}, false},
		{"a suite of its own", []uint16{3, 6}, []uint16{1, 3, 4, 5}, false},
		{"unknown", nil, []uint16{1}, false},
		{"unknown before", []uint16{1}, nil, false},
	} {
		if got := fallsBackFrom(c.lower, c.higher); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := NewRecent()
	const clients = maxPairs + 500
	long, many := strings.Repeat("x", 1000), slices.Repeat([]uint16{0xc02f}, 5000)
	for i := range clients {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(i)+1<<24)
		addr := netip.AddrPortFrom(netip.AddrFrom4(a), uint16(i))
		failed := try(time.Duration(i)*time.Millisecond, session.TLS13, func(s *session.Session) {
			s.Client = addr
			s.Endpoint.Name = fmt.Sprint(i) + long
			s.TLS.OfferedCiphers = many
		})
		r.Observe(failed)
		r.Observe(change(good13(), func(s *session.Session) { s.Client = addr }))
	}
	if n := len(r.tries.entries); n != maxTryKeys || n != r.tries.order.Len() {
		t.Errorf("%d clients with tries, at most %d", n, maxTryKeys)
	}
	if n := len(r.pairs.entries); n != maxPairs || n != r.pairs.order.Len() {
		t.Errorf("%d pairs, at most %d", n, maxPairs)
	}
	for k, e := range r.tries.entries {
		if len(k.name) > maxIdentity || len(k.client) > maxIdentity {
			t.Fatalf("key of %d bytes", len(k.name))
		}
		for _, f := range e.Value.(*lruEntry[tryKey, []failedTry]).value {
			if len(f.ciphers) > maxTriedCiphers {
				t.Fatalf("%d suites kept", len(f.ciphers))
			}
		}
	}
	// Every client has two keys for its tries, by name and by address, and one pair.
	if want := uint64(2*clients - maxTryKeys + clients - maxPairs); r.Evicted() != want {
		t.Errorf("%d evictions counted, want %d", r.Evicted(), want)
	}
	for i := range 100 {
		r.Observe(try(time.Duration(i)*time.Millisecond, session.TLS13, nil))
	}
	if got := r.FailedTries(try(time.Second, session.TLS12, nil), danceWindow); len(got) != maxTriesPerKey {
		t.Errorf("%d tries of one client, want the latest %d", len(got), maxTriesPerKey)
	}
}

func TestRecentKeepsNoReference(t *testing.T) {
	s := try(0, session.TLS13, nil)
	r := remember(s)
	for i := range s.TLS.OfferedCiphers {
		s.TLS.OfferedCiphers[i] = 0xffff
	}
	if got := r.FailedTries(try(time.Second, session.TLS12, nil), danceWindow); len(got) != 1 {
		t.Errorf("%d tries after the session was changed, want 1", len(got))
	}
}

func TestRecentSaysHowTriesEnded(t *testing.T) {
	r := remember(
		try(0, session.TLS13, func(s *session.Session) { s.Ended = session.Ended{} }),
		try(time.Second, session.TLS13, func(s *session.Session) { s.Ended = session.Ended{By: session.Server, FIN: true} }),
		try(2*time.Second, session.TLS13, nil),
		try(3*time.Second, session.TLS13, func(s *session.Session) {
			s.TLS.Alerts = []session.Alert{{From: session.Server, Fatal: true, Code: 70, Description: "protocol_version"}}
		}),
	)
	var got []string
	for _, tr := range r.FailedTries(try(4*time.Second, session.TLS12, nil), danceWindow) {
		got = append(got, tr.Outcome)
	}
	if want := "silence closed reset alert protocol_version"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, " "), want)
	}
}

func TestRecentIgnoresOthers(t *testing.T) {
	r := remember(
		change(try(0, session.TLS13, nil), func(s *session.Session) { s.Endpoint = session.Endpoint{} }),
		plain(),
	)
	if len(r.tries.entries)+len(r.pairs.entries) != 0 {
		t.Error("a session that is not DynamoDB's, or not TLS, was kept")
	}
}

func BenchmarkObserve(b *testing.B) {
	b.ReportAllocs()
	r := NewRecent()
	s := good13()
	for b.Loop() {
		r.Observe(s)
	}
}
