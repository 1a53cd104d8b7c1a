package dnswire

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzParse: an error and an answer exclude each other, the limits hold, the look ahead misses nothing, and whatever dnsmessage reads
// as a whole is read here too, with no address that it does not know.
func FuzzParse(f *testing.F) {
	f.Add(response(f, nil, east, dnsmessage.TypeA, east+" 60 A 52.94.0.1"))
	f.Add(response(f, nil, "Db.corp", dnsmessage.TypeA, east+" 60 AAAA 2600::1", "x.corp 3 CNAME "+east, "db.corp 600 CNAME X.corp"))
	f.Add(response(f, nil, "db.corp", dnsmessage.TypeHTTPS, "db.corp 60 ALIAS "+east, east+" 60 HINT 52.94.0.1"))
	f.Add(response(f, func(m *dnsmessage.Message) { m.Truncated = true }, east, dnsmessage.TypeA, east+" 60 TXT x"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		a, err := Parse(msg)
		var m dnsmessage.Message
		whole := m.Unpack(msg) == nil && fits(msg) && m.Response && m.OpCode == 0 && len(m.Questions) == 1 && m.Questions[0].Class == dnsmessage.ClassINET
		if err != nil {
			if !reflect.DeepEqual(a, Answer{}) {
				t.Fatalf("%v and %+v", err, a)
			}
			if whole && !slices.ContainsFunc(m.Answers, odd) {
				t.Fatalf("dnsmessage reads what we refuse with %v: %+v", err, m)
			}
			return
		}
		if len(a.Names) == 0 || a.Names[0] != a.Question || len(a.Names) > maxChain+1 || len(a.Addrs) > maxAddrs || a.TTL < 0 || a.TTL > maxTTL {
			t.Fatalf("%+v", a)
		}
		for _, name := range a.Names {
			if slices.ContainsFunc([]byte(name), func(b byte) bool { return b <= ' ' || b >= 0x7f || b >= 'A' && b <= 'Z' }) {
				t.Fatalf("name %q", name)
			}
			if !MightConcern(msg, func(n []byte) bool { return string(n) == name }) {
				t.Fatalf("the look ahead misses %q of %+v", name, a)
			}
		}
		if !whole {
			return
		}
		known := map[netip.Addr]bool{}
		for _, r := range m.Answers {
			switch b := r.Body.(type) {
			case *dnsmessage.AResource:
				known[netip.AddrFrom4(b.A)] = true
			case *dnsmessage.AAAAResource:
				known[netip.AddrFrom16(b.AAAA).Unmap()] = true
			case *dnsmessage.SVCBResource, *dnsmessage.HTTPSResource:
				return
			}
		}
		for _, addr := range a.Addrs {
			if !known[addr] {
				t.Fatalf("%v is not in %+v", addr, m)
			}
		}
	})
}

// fits reports whether the lengths of all records lie within the message: dnsmessage does not look at that of a name's record when it reads it.
func fits(msg []byte) bool {
	var p dnsmessage.Parser
	_, err := p.Start(msg)
	return err == nil && p.SkipAllQuestions() == nil && p.SkipAllAnswers() == nil
}

// odd is a record that dnsmessage may take although its length is wrong.
func odd(r dnsmessage.Resource) bool {
	if r.Header.Class != dnsmessage.ClassINET {
		return true
	}
	switch r.Body.(type) {
	case *dnsmessage.AResource:
		return r.Header.Length != 4
	case *dnsmessage.AAAAResource:
		return r.Header.Length != 16
	case *dnsmessage.SVCBResource, *dnsmessage.HTTPSResource:
		return true
	}
	return false
}

// FuzzMightConcern: no message makes the look ahead panic, and one that it lets pass on its question has that question.
func FuzzMightConcern(f *testing.F) {
	f.Add(response(f, nil, east, dnsmessage.TypeA, east+" 60 A 52.94.0.1"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		calls := 0
		MightConcern(msg, func(name []byte) bool {
			if calls++; len(name) == 0 || len(name) > 4*maxName {
				t.Fatalf("name %q", name)
			}
			return false
		})
		if calls > 1<<16 {
			t.Fatalf("%d calls", calls)
		}
	})
}

// FuzzStream: however a connection is cut, the same messages come out, and they and their lengths are the stream.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x00\x03abc\x00\x00\x00\x01d\x00\x05e"), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		whole, split := cut(stream, 0), cut(stream, int(size%9)+1)
		if !slices.Equal(whole, split) {
			t.Fatalf("whole %q, split %q", whole, split)
		}
	})
}
