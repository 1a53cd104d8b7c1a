package endpoint

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"ddb.example.com":            "ddb.example.com",
		"DDB.Example.com.":           "ddb.example.com",
		"ddb.example.com:8000":       "ddb.example.com:8000",
		"ddb.example.com.:8000":      "ddb.example.com:8000",
		"*.ddb.example.com:443":      "*.ddb.example.com:443",
		"*.internal":                 "*.internal",
		"localhost:8000":             "localhost:8000",
		"dynamo_db":                  "dynamo_db",
		"10.1.2.3":                   "10.1.2.3",
		"10.1.2.3/32":                "10.1.2.3",
		"10.1.2.3:8000":              "10.1.2.3:8000",
		"10.0.0.0/8":                 "10.0.0.0/8",
		"10.0.0.0/8:8000":            "10.0.0.0/8:8000",
		"2001:db8::1":                "2001:db8::1",
		"2001:db8::1:443":            "2001:db8::1:443", // an address: only brackets make a port
		"[2001:db8::1]":              "2001:db8::1",
		"[2001:db8::1]:443":          "[2001:db8::1]:443",
		"2001:db8::/32":              "2001:db8::/32",
		"[2001:db8::/32]:443":        "[2001:db8::/32]:443",
		"::ffff:10.1.2.3":            "10.1.2.3",
		"[::ffff:10.0.0.0/104]:8000": "10.0.0.0/8:8000",
	} {
		e, err := ParseEndpoint(in)
		if err != nil || e.String() != want {
			t.Errorf("ParseEndpoint(%q) = %v, %v; want %s", in, e, err, want)
		}
	}
}

func TestParseEndpointSaysWhatToWrite(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "use NAME[:PORT]",
		"http://localhost:8000/":     `leave http:// out and write "localhost:8000"`,
		"https://":                   "a URL is no endpoint",
		"2001:db8::/32:443":          "write [2001:db8::/32]:443",
		"[2001:db8::1]443":           "write [2001:db8::1]:PORT",
		"[2001:db8::1]:0":            "use 1 to 65535",
		"[10.0.0.1]:80":              "no IPv6 address in the brackets",
		"[]":                         "no IPv6 address in the brackets",
		"10.0.0.5/8":                 "write 10.0.0.0/8 for the network, or 10.0.0.5 for the one address",
		"10.0.0.5/8:8000":            "write 10.0.0.0/8:8000 for the network, or 10.0.0.5:8000",
		"10.0.0.0/33":                `"10.0.0.0/33" is no prefix`,
		"10.0.0.256":                 "neither a name nor an address",
		"fe80::1%eth0":               `write "fe80::1"`,
		"ddb.example.com:":           "use 1 to 65535",
		"ddb.example.com:65536":      "use 1 to 65535",
		"ddb.example.com:+1":         "use 1 to 65535",
		"ddb.example.com:https":      "use 1 to 65535",
		":8000":                      "no name in front of the port",
		"*":                          "write *.example.com",
		"*.":                         "write *.example.com",
		"*:443":                      "write *.example.com",
		"ddb.*.example.com":          "only at the front",
		"*ddb.example.com":           "only at the front",
		"ddb..example.com":           "empty label",
		".example.com":               "empty label",
		"a b":                        "no name has the character ' '",
		"ddb.exämple.com":            `no name has the character '\u00e4'`,
		"user@ddb.example.com":       "no name has the character '@'",
		"ddb.example.com/path":       `"ddb.example.com/path" is no prefix`,
		strings.Repeat("a", 64):      "more than 63",
		strings.Repeat("a.", 150):    "longer than 253",
		"::ffff:0.0.0.0/90":          "is no port",
		"10.0.0.0/8, 192.168.0.0/16": "is no prefix",
	} {
		e, err := ParseEndpoint(in)
		if err == nil || e != (Endpoint{}) || !strings.HasPrefix(err.Error(), "--endpoint ") || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseEndpoint(%q) = %v, %v; want an error with %q", in, e, err, want)
		}
	}
	if s, err := NewSet(Embedded(), []string{"a.example", ":1"}); s != nil || err == nil {
		t.Errorf("NewSet = %v, %v", s, err)
	}
}

func newSet(tb testing.TB, endpoints ...string) *Set {
	tb.Helper()
	s, err := NewSet(Embedded(), endpoints)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestSetName(t *testing.T) {
	s := newSet(t, "ddb.example.com:8000", "any.example.com", "*.pool.example.com", "*.tls.example.com:443", "localhost:8000", "10.0.0.0/8",
		"dynamodb.us-east-1.amazonaws.com:8000")
	op := Name{Service: DynamoDB}
	for _, tt := range []struct {
		host string
		port uint16
		want Name
		by   string
	}{
		{"dynamodb.us-east-1.amazonaws.com", 9999, Name{Service: DynamoDB, Region: "us-east-1", Partition: "aws", Kind: KindPublic}, ByName},
		{"ddb.example.com", 8000, op, ByEndpoint},
		{"DDB.example.com.", 8000, op, ByEndpoint},
		{"ddb.example.com:8000", 3128, op, ByEndpoint}, // through a proxy
		{"ddb.example.com:443", 8000, Name{}, ""},
		{"ddb.example.com", 443, Name{}, ""},
		{"ddb.example.com", 0, Name{}, ""},
		{"x.ddb.example.com", 8000, Name{}, ""},
		{"any.example.com", 1, op, ByEndpoint},
		{"any.example.com", 0, op, ByEndpoint},
		{"notany.example.com", 1, Name{}, ""},
		{"any.example.com.evil.example", 1, Name{}, ""},
		{"a.pool.example.com", 1, op, ByEndpoint},
		{"a.b.pool.example.com", 1, op, ByEndpoint},
		{"pool.example.com", 1, Name{}, ""},
		{".pool.example.com", 1, Name{}, ""},
		{"evilpool.example.com", 1, Name{}, ""},
		{"a.tls.example.com", 443, op, ByEndpoint},
		{"a.tls.example.com", 80, Name{}, ""},
		{"localhost:8000", 8000, Name{Service: Local, Kind: KindLocal}, ByEndpoint},
		{"localhost:9000", 9000, Name{}, ""},
		{"10.1.2.3", 443, Name{}, ""},
		{"10.1.2.3:443", 443, Name{}, ""},
		{"[::1]:8000", 8000, Name{}, ""},
		{"", 443, Name{}, ""},
	} {
		got, by, ok := s.Name(tt.host, tt.port)
		if got != tt.want || by != tt.by || ok != (tt.by != "") {
			t.Errorf("Name(%q, %d) = %+v, %q, %v; want %+v, %q", tt.host, tt.port, got, by, ok, tt.want, tt.by)
		}
	}
	if _, _, ok := newSet(t).Name("ddb.example.com", 8000); ok {
		t.Error("an empty list knows a name")
	}
}

func TestAddrAllowedAndClassify(t *testing.T) {
	s := newSet(t, "10.20.0.0/16", "10.30.0.5:8000", "[2001:db8::/32]:443", "2600:1f18:1aaa::/48", "203.0.113.7", "ddb.example.com")
	for addr, want := range map[string]struct {
		allowed bool
		place   Place
	}{
		"10.20.255.255:443":           {true, AtAllowed},
		"[::ffff:10.20.0.1]:1":        {true, AtAllowed},
		"10.21.0.0:443":               {false, AtPrivate},
		"10.30.0.5:8000":              {true, AtAllowed},
		"10.30.0.5:443":               {false, AtPrivate},
		"10.30.0.5:0":                 {true, AtAllowed}, // a DNS answer: no port
		"[2001:db8::1]:443":           {true, AtAllowed},
		"[2001:db8::1%eth0]:443":      {true, AtAllowed},
		"[2001:db8::1]:80":            {false, Elsewhere},
		"203.0.113.7:1":               {true, AtAllowed},
		"203.0.113.8:1":               {false, Elsewhere},
		"52.94.5.7:443":               {false, AtDynamoDB},
		"3.5.140.7:443":               {false, AtAWS},
		"[2600:1f18:1aaa::1]:443":     {true, AtAllowed},
		"[2600:1f18:1bbb::1]:443":     {false, AtAWS},
		"127.0.0.1:8000":              {false, AtLoopback},
		"[::1]:8000":                  {false, AtLoopback},
		"0.0.0.0:443":                 {false, AtLoopback},
		"172.31.0.1:443":              {false, AtPrivate},
		"192.168.0.1:443":             {false, AtPrivate},
		"100.64.0.1:443":              {false, AtPrivate},
		"169.254.169.254:80":          {false, AtPrivate},
		"[fd00::1]:443":               {false, AtPrivate},
		"[fe80::1%eth0]:443":          {false, AtPrivate},
		"93.184.216.34:443":           {false, Elsewhere},
		"[2a00:1450:4001:80b::1]:443": {false, Elsewhere},
	} {
		a := netip.MustParseAddrPort(addr)
		if got := s.AddrAllowed(a); got != want.allowed {
			t.Errorf("AddrAllowed(%s) = %v", addr, got)
		}
		if got := s.Classify(a); got != want.place {
			t.Errorf("Classify(%s) = %v, want %v", addr, got, want.place)
		}
	}
	if got := s.Classify(netip.AddrPort{}); got != Elsewhere {
		t.Errorf("no address lies %v", got)
	}
}

func TestSetKeepsEndpointsOnce(t *testing.T) {
	s := newSet(t, "A.example", "10.0.0.0/8", "a.example.", "a.example:80")
	var got []string
	for _, e := range s.Endpoints() {
		got = append(got, e.String())
	}
	if want := "a.example 10.0.0.0/8 a.example:80"; strings.Join(got, " ") != want {
		t.Errorf("Endpoints = %v, want %s", got, want)
	}
}

func TestSetDoesNotAllocate(t *testing.T) {
	s := newSet(t, "*.ddb.example.com:8000", "10.0.0.0/8")
	a := netip.MustParseAddrPort("93.184.216.34:443")
	if n := testing.AllocsPerRun(100, func() { s.Name("api.example.com", 443); s.Classify(a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNewSet(f *testing.F) {
	for _, s := range []string{"ddb.example.com:8000", "*.ddb.example.com", "10.0.0.0/8:443", "[2001:db8::/32]:443", "2001:db8::1",
		"[::ffff:10.0.0.0/104]:1", "http://localhost:8000", "*.:1", "[::1]", "::ffff:0.0.0.0/96", "fe80::1%eth0"} {
		f.Add(s)
	}
	ranges := Embedded()
	f.Fuzz(func(t *testing.T, text string) {
		s, err := NewSet(ranges, []string{text})
		if (s == nil) == (err == nil) {
			t.Fatalf("%v, %v: want either a result or an error", s, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "--endpoint ") {
				t.Fatalf("%v does not name the flag", err)
			}
			return
		}
		e := s.Endpoints()[0]
		again, err := ParseEndpoint(e.String())
		if err != nil || again != e {
			t.Fatalf("%q prints as %v, which reads as %v, %v", text, e, again, err)
		}
		if e.Prefix.IsValid() {
			if (e.Name != "") || !s.AddrAllowed(netip.AddrPortFrom(e.Prefix.Addr(), e.Port)) {
				t.Fatalf("%v does not hold its first address", e)
			}
			if _, _, ok := s.Name(text, e.Port); ok {
				t.Fatalf("%q makes a name DynamoDB's", text)
			}
			return
		}
		host := e.Name
		if e.Wildcard {
			host = "x." + host
		}
		if _, _, ok := s.Name(host, e.Port); !ok && len(host) <= maxHost {
			t.Fatalf("%v does not hold %q", e, host)
		}
	})
}
