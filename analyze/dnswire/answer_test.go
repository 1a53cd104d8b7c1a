package dnswire

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const east = "dynamodb.us-east-1.amazonaws.com"

// response builds a message; every record is "owner TTL TYPE content" of A, AAAA, CNAME, TXT, HTTPS.
func response(t testing.TB, change func(*dnsmessage.Message), question string, qtype dnsmessage.Type, records ...string) []byte {
	t.Helper()
	name := func(s string) dnsmessage.Name {
		return dnsmessage.MustNewName(strings.TrimSuffix(s, ".") + ".")
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{{Name: name(question), Type: qtype, Class: dnsmessage.ClassINET}}}
	for _, r := range records {
		var owner, kind, content string
		var ttl uint32
		if _, err := fmt.Sscan(r, &owner, &ttl, &kind, &content); err != nil {
			t.Fatal(err)
		}
		h := dnsmessage.ResourceHeader{Name: name(owner), Class: dnsmessage.ClassINET, TTL: ttl}
		var body dnsmessage.ResourceBody
		switch kind {
		case "A":
			body = &dnsmessage.AResource{A: netip.MustParseAddr(content).As4()}
		case "AAAA":
			body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(content).As16()}
		case "CNAME":
			body = &dnsmessage.CNAMEResource{CNAME: name(content)}
		case "TXT":
			body = &dnsmessage.TXTResource{TXT: []string{content}}
		case "ALIAS", "HINT":
			s := dnsmessage.SVCBResource{Target: name(content)}
			if kind == "HINT" {
				addr := netip.MustParseAddr(content)
				key := dnsmessage.SVCParamIPv4Hint
				if addr.Is6() {
					key = dnsmessage.SVCParamIPv6Hint
				}
				s = dnsmessage.SVCBResource{Priority: 1, Target: dnsmessage.MustNewName("."), Params: []dnsmessage.SVCParam{{Key: key, Value: addr.AsSlice()}}}
			}
			body = &dnsmessage.HTTPSResource{SVCBResource: s}
		default:
			t.Fatalf("record %q", r)
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: body})
	}
	if change != nil {
		change(&m)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestParse(t *testing.T) {
	const a, aaaa, https = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeHTTPS
	var many, long []string
	for i := range 70 {
		many = append(many, fmt.Sprintf("%s 60 A 10.0.0.%d", east, i))
		long = append(long, fmt.Sprintf("n%d 60 CNAME n%d", i, i+1))
	}
	for _, tt := range []struct {
		name   string
		msg    []byte
		names  []string
		addrs  []netip.Addr
		ttl    time.Duration
		change func(*Answer)
	}{
		{"addresses of the question", response(t, nil, east, a, east+" 60 A 52.94.0.1", east+" 5 A 52.94.0.2", east+" 60 A 52.94.0.1"), []string{east}, addrs("52.94.0.1", "52.94.0.2"), 5 * time.Second, nil},
		{"mixed case asked and answered", response(t, nil, "DynamoDB.uS-EaST-1.aMaZoNaWs.CoM", a, "dYNAMOdb.us-east-1.amazonaws.com 60 A 52.94.0.1"), []string{east}, addrs("52.94.0.1"), time.Minute, nil},
		{"AAAA, unmapped", response(t, nil, east, aaaa, east+" 60 AAAA 2600::1", east+" 60 AAAA ::ffff:52.94.0.1"), []string{east}, addrs("2600::1", "52.94.0.1"), time.Minute, nil},
		{"aliases in any order", response(t, nil, "db.corp", a, east+" 60 A 52.94.0.1", "x.corp 3 CNAME "+east, "db.corp 600 CNAME X.corp"), []string{"db.corp", "x.corp", east}, addrs("52.94.0.1"), 3 * time.Second, nil},
		{"an alias that leads nowhere", response(t, nil, "db.corp", a, "db.corp 600 CNAME x.corp"), []string{"db.corp", "x.corp"}, nil, 0, nil},
		{"aliases in a circle", response(t, nil, "a", a, "a 9 CNAME b", "b 9 CNAME a", "b 9 A 1.2.3.4"), []string{"a", "b"}, addrs("1.2.3.4"), 9 * time.Second, nil},
		{"records of other names are not believed", response(t, nil, "evil.example", a, "evil.example 60 A 6.6.6.6", east+" 60 A 6.6.6.6", "x 1 CNAME "+east), []string{"evil.example"}, addrs("6.6.6.6"), time.Minute, nil},
		{"records of other sections are not believed", response(t, func(m *dnsmessage.Message) { m.Additionals, m.Authorities, m.Answers = m.Answers, m.Answers, nil }, east, a, east+" 60 A 6.6.6.6"), []string{east}, nil, 0, nil},
		{"records of other classes are not believed", response(t, func(m *dnsmessage.Message) { m.Answers[0].Header.Class = dnsmessage.ClassCHAOS }, east, a, east+" 60 A 6.6.6.6"), []string{east}, nil, 0, nil},
		{"other records are stepped over", response(t, nil, east, a, east+" 1 TXT x", east+" 60 A 52.94.0.1"), []string{east}, addrs("52.94.0.1"), time.Minute, nil},
		{"no such name", response(t, func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }, east, a), []string{east}, nil, 0, func(a *Answer) { a.RCode = dnsmessage.RCodeNameError }},
		{"HTTPS hints", response(t, nil, east, https, east+" 60 HINT 52.94.0.1", east+" 60 HINT 2600::1"), []string{east}, addrs("52.94.0.1", "2600::1"), time.Minute, func(a *Answer) { a.Type = https }},
		{"HTTPS alias", response(t, nil, "db.corp", https, "db.corp 60 ALIAS "+east, east+" 60 A 52.94.0.1"), []string{"db.corp", east}, addrs("52.94.0.1"), time.Minute, func(a *Answer) { a.Type = https }},
		{"a TTL with its top bit is zero", response(t, nil, east, a, east+" 4294967295 A 52.94.0.1"), []string{east}, addrs("52.94.0.1"), 0, nil},
		{"a TTL of years is a week", response(t, nil, east, a, east+" 2147483647 A 52.94.0.1"), []string{east}, addrs("52.94.0.1"), maxTTL, nil},
		{"more addresses than fit", response(t, nil, east, a, many...), []string{east}, addrs(func() (s []string) {
			for i := range maxAddrs {
				s = append(s, fmt.Sprintf("10.0.0.%d", i))
			}
			return s
		}()...), time.Minute, func(a *Answer) { a.Cut = true }},
		{"a chain longer than is followed", response(t, nil, "n0", a, long...), func() (s []string) {
			for i := range maxChain + 1 {
				s = append(s, fmt.Sprintf("n%d", i))
			}
			return s
		}(), nil, 0, func(a *Answer) { a.Cut = true }},
		{"the root", response(t, nil, ".", a), []string{"."}, nil, 0, nil},
		{"bytes that are no host name's", response(t, nil, "a\x00b\\c\x7f.x", a), []string{`a\000b\092c\127.x`}, nil, 0, nil},
		{"truncated with half a record", func() []byte {
			m := response(t, func(m *dnsmessage.Message) { m.Truncated = true }, east, a, east+" 60 A 52.94.0.1", east+" 60 A 52.94.0.2")
			return m[:len(m)-3]
		}(), []string{east}, addrs("52.94.0.1"), time.Minute, func(a *Answer) { a.Truncated = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := Answer{ID: 7, Question: tt.names[0], Type: a, Names: tt.names, Addrs: tt.addrs, TTL: tt.ttl}
			if strings.HasPrefix(tt.name, "AAAA") {
				want.Type = aaaa
			}
			if tt.change != nil {
				tt.change(&want)
			}
			got, err := Parse(tt.msg)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("error %v\ngot  %+v\nwant %+v", err, got, want)
			}
			for _, name := range tt.names {
				if !MightConcern(tt.msg, func(n []byte) bool { return string(n) == name }) {
					t.Errorf("the look ahead misses %s", name)
				}
			}
			if MightConcern(tt.msg, func(n []byte) bool { return string(n) == "other" }) {
				t.Error("the look ahead sees a name that is not there")
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := response(t, nil, east, dnsmessage.TypeA, east+" 60 A 52.94.0.1")
	edit := func(at int, b ...byte) []byte {
		m := slices.Clone(good)
		copy(m[at:], b)
		return m
	}
	question := len(response(t, nil, east, dnsmessage.TypeA)) // the answer begins here with a pointer
	for _, tt := range []struct {
		name string
		msg  []byte
		err  error
	}{
		{"nothing", nil, ErrMalformed},
		{"half a header", good[:11], ErrMalformed},
		{"a query", edit(2, good[2]&0x7f), ErrNotResponse},
		{"a response to another operation", edit(2, good[2]|0x10), ErrNotResponse},
		{"no question", edit(4, 0, 0), ErrQuestions},
		{"two questions", response(t, func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }, east, dnsmessage.TypeA), ErrQuestions},
		{"a question of another class", response(t, func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }, east, dnsmessage.TypeA), ErrQuestions},
		{"half a question", good[:20], ErrMalformed},
		{"half a record", good[:len(good)-1], ErrMalformed},
		{"fewer records than said", edit(6, 0, 2), ErrMalformed},
		{"a name that points at itself", edit(question, 0xc0, byte(question)), ErrMalformed},
		{"a name that points beyond", edit(question, 0xff, 0xff), ErrMalformed},
		{"a reserved label", edit(question, 0x80), ErrMalformed},
		{"an A record of three bytes", edit(len(good)-6, 0, 3), ErrMalformed},
		{"an A record of sixteen bytes", edit(len(good)-6, 0, 16), ErrMalformed},
		{"a label with a dot in it", edit(14, '.'), ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.msg)
			if !errors.Is(err, tt.err) || !reflect.DeepEqual(got, Answer{}) {
				t.Errorf("got %+v, %v, want %v", got, err, tt.err)
			}
		})
	}
}

func TestMightConcernCostsOneAllocation(t *testing.T) {
	msg := response(t, nil, "www.example.com", dnsmessage.TypeA, "www.example.com 60 CNAME cdn.example", "cdn.example 60 A 1.2.3.4")
	want := func(name []byte) bool { return strings.HasSuffix(string(name), ".amazonaws.com") }
	if n := testing.AllocsPerRun(100, func() {
		if MightConcern(msg, want) {
			t.Fatal("concerns")
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMightConcern(b *testing.B) {
	msg := response(b, nil, "www.example.com", dnsmessage.TypeA, "www.example.com 60 CNAME cdn.example", "cdn.example 60 A 1.2.3.4")
	b.ReportAllocs()
	for b.Loop() {
		MightConcern(msg, func(name []byte) bool { return len(name) > 100 })
	}
}

func BenchmarkParse(b *testing.B) {
	msg := response(b, nil, east, dnsmessage.TypeA, east+" 5 A 52.94.0.1", east+" 5 A 52.94.0.2")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(msg); err != nil {
			b.Fatal(err)
		}
	}
}
