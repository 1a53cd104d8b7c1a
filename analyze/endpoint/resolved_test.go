package endpoint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

const (
	useast1 = "dynamodb.us-east-1.amazonaws.com"
	account = "123456789012.ddb.us-east-1.amazonaws.com"
)

func TestResolvedExpiresByPacketTime(t *testing.T) {
	r := NewResolved(nil, 10)
	start := int64(1_700_000_000_000_000_000)
	if !r.Learn("DynamoDB.us-east-1.amazonaws.com.", addrs("52.94.5.7", "::ffff:52.94.5.8"), 5*time.Second, start) {
		t.Fatal("the name is not accepted")
	}
	r.Learn(account, addrs("52.94.5.7"), time.Hour, start)
	for _, tt := range []struct {
		addr  string
		after time.Duration
		want  []string
	}{
		{"52.94.5.7", 0, []string{useast1, account}},
		{"52.94.5.8", 0, []string{useast1}},
		{"52.94.5.9", 0, nil},
		{"52.94.5.7", minLife, []string{useast1, account}}, // a short TTL lives on for a while
		{"52.94.5.7", minLife + 1, []string{account}},
		{"52.94.5.8", minLife + 1, nil},
		{"52.94.5.7", time.Hour + 1, nil},
		{"52.94.5.7", -time.Second, []string{useast1, account}}, // packets out of order
	} {
		if got := r.Lookup(ip(tt.addr), start+int64(tt.after)); !slices.Equal(got, tt.want) {
			t.Errorf("%s after %v: %q, want %q", tt.addr, tt.after, got, tt.want)
		}
	}
	r.Learn(useast1, addrs("52.94.5.8"), 0, start+int64(time.Hour))
	if got := r.Lookup(ip("52.94.5.8"), start+int64(time.Hour+minLife)); len(got) != 1 {
		t.Errorf("a second answer does not renew the first: %q", got)
	}
	if r.Evicted() != 0 || r.Len() != 2 {
		t.Errorf("Evicted %d, Len %d", r.Evicted(), r.Len())
	}
}

func TestResolvedBoundsHostileTimes(t *testing.T) {
	r := NewResolved(nil, 10)
	r.Learn(useast1, addrs("192.0.2.1"), math.MaxInt64, 0)
	if got := r.Lookup(ip("192.0.2.1"), int64(maxLife)+1); got != nil {
		t.Errorf("a TTL of centuries is believed: %q", got)
	}
	r.Learn(useast1, addrs("192.0.2.2"), -time.Hour, math.MaxInt64-1)
	if got := r.Lookup(ip("192.0.2.2"), math.MaxInt64); len(got) != 1 {
		t.Errorf("the end of time: %q", got)
	}
}

func TestResolvedKeepsDynamoDBNamesOnly(t *testing.T) {
	r := NewResolved(newSet(t, "ddb.example.com:8000", "10.0.0.0/8"), 10)
	for name, want := range map[string]bool{
		useast1: true, "ddb.example.com": true, "DDB.example.com.": true, "vpce-0f-ab.dynamodb.us-east-1.vpce.amazonaws.com": true,
		"s3.us-east-1.amazonaws.com": false, "api.example.com": false, "": false, "x.ddb.example.com": false,
	} {
		if got := r.Learn(name, addrs("10.0.0.1"), 0, 0); got != want {
			t.Errorf("Learn(%q) = %v", name, got)
		}
	}
	if got := r.Lookup(ip("10.0.0.1"), 0); len(got) != 3 {
		t.Errorf("Lookup = %q", got)
	}
	if NewResolved(nil, 0).Learn("ddb.example.com", addrs("10.0.0.1"), 0, 0) {
		t.Error("without a set an operator's name is known")
	}
	if !r.Learn(useast1, []netip.Addr{{}}, 0, 0) || r.Len() != 1 {
		t.Error("no address is an address")
	}
}

func TestResolvedForgetsTheLeastRecentlyUsed(t *testing.T) {
	r := NewResolved(nil, 3)
	r.Learn(useast1, addrs("192.0.2.1", "192.0.2.2", "192.0.2.3"), 0, 0)
	r.Lookup(ip("192.0.2.1"), 0)
	r.Learn(useast1, addrs("192.0.2.4"), 0, 0)
	if r.Lookup(ip("192.0.2.1"), 0) == nil || r.Lookup(ip("192.0.2.2"), 0) != nil || r.Evicted() != 1 || r.Len() != 3 {
		t.Errorf("Evicted %d, Len %d", r.Evicted(), r.Len())
	}
	// What is dropped after it expired was not lost.
	r.Learn(useast1, addrs("192.0.2.5"), 0, int64(time.Hour))
	if r.Evicted() != 1 || r.Len() != 3 {
		t.Errorf("an expired address counts as evicted: %d, Len %d", r.Evicted(), r.Len())
	}
	for i := range 2 * maxNamesPerAddr {
		r.Learn(fmt.Sprintf("%012d.ddb.us-east-1.amazonaws.com", i), addrs("192.0.2.5"), 0, int64(time.Hour))
	}
	if names := r.Lookup(ip("192.0.2.5"), int64(time.Hour)); len(names) != maxNamesPerAddr || r.Evicted() != 1+maxNamesPerAddr+1 {
		t.Errorf("%d names, %d evicted", len(names), r.Evicted())
	}
}

// A long run of random answers: the table stays within its bounds and its map and its list hold the same.
func TestResolvedStaysBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	r := NewResolved(nil, 50)
	for i := range 20000 {
		name := fmt.Sprintf("%012d.ddb.us-east-1.amazonaws.com", rng.IntN(40))
		a := netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(2)), byte(rng.IntN(200))})
		at := int64(i) * int64(rng.IntN(2000)) * 1e6
		r.Learn(name, []netip.Addr{a}, time.Duration(rng.Int64()), at)
		if got := r.Lookup(ip(a.String()), at); !slices.Contains(got, name) || len(got) > maxNamesPerAddr {
			t.Fatalf("%v just learnt has %q", a, got)
		}
		if r.Len() > 50 || r.Len() != r.recent.Len() {
			t.Fatalf("%d addresses, %d in the list", r.Len(), r.recent.Len())
		}
	}
}

func BenchmarkResolvedLookup(b *testing.B) {
	r := NewResolved(nil, 0)
	r.Learn(useast1, addrs("52.94.5.7"), 0, 0)
	for name, a := range map[string]string{"known": "52.94.5.7", "unknown": "93.184.216.34"} {
		a := ip(a)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Lookup(a, 0)
			}
		})
	}
}
