package daxwire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// item writes the head of a CBOR item in its shortest form, followed by content.
func item(major byte, arg uint64, content string) string {
	switch {
	case arg < 24:
		return string([]byte{major<<5 | byte(arg)}) + content
	case arg < 1<<8:
		return string([]byte{major<<5 | 24, byte(arg)}) + content
	case arg < 1<<32:
		return string(binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, uint32(arg))) + content
	}
	return string(binary.BigEndian.AppendUint64([]byte{major<<5 | 27}, arg)) + content
}

func text(s string) string { return item(majorText, uint64(len(s)), s) }
func blob(s string) string { return item(majorBytes, uint64(len(s)), s) }
func number(n uint64) string {
	return item(majorUnsigned, n, "")
}

const null = "\xf6"

var (
	open   = text("J7yne5G") + number(0) + text("0") + item(majorMap, 1, text("UserAgent")+text("DaxGoClient-1")) + number(0)
	toSign = "AWS4-HMAC-SHA256\n20260101T000000Z\n20260101/us-east-1/dax/aws4_request\n" + strings.Repeat("PLANTED", 9)
)

func auth(args ...string) string {
	return number(serviceID) + number(authorizeConnection) + strings.Join(args, "")
}

func feed(stream string, size int) *Reader {
	r := &Reader{}
	for data := []byte(stream); len(data) > 0; {
		n := len(data)
		if size > 0 {
			n = min(size, n)
		}
		lent := bytes.Clone(data[:n])
		r.Feed(lent)
		clear(lent)
		data = data[n:]
	}
	return r
}

func TestOpenings(t *testing.T) {
	key, signature, token := text("AKIAIOSFODNN7EXAMPLE"), text(strings.Repeat("PLANTED", 9)), text("PLANTED"+strings.Repeat("x", 900))
	full := Opening{Seen: true, UserAgent: "DaxGoClient-1", AuthSeen: true, AuthComplete: true, AccessKeyID: "AKIA…MPLE", Region: "us-east-1",
		Service: "dax", Signature: true, SessionToken: true}
	with := func(change func(o *Opening)) Opening {
		o := full
		change(&o)
		return o
	}
	nested := item(majorArray, 3, item(majorMap, 2, text("a")+"\xbf"+text("k")+"\x9f\x01\xff\xff"+number(1)+item(majorTag, 3321, "\x80"))+
		"\x5f"+blob("PLANTED")+blob("")+"\xff"+"\xfb12345678")
	for _, tt := range []struct {
		name, stream string
		want         Opening
		done         bool
	}{
		{"nothing", "", Opening{}, false},
		{"half a magic", "\x67J7y", Opening{}, false},
		{"the magic alone", text("J7yne5G"), Opening{Seen: true}, false},
		{"the opening alone", open, Opening{Seen: true, UserAgent: "DaxGoClient-1"}, false},
		{"temporary credentials", open + auth(key, signature, blob(toSign), token, null), full, true},
		{"long-term credentials", open + auth(key, signature, blob(toSign), null, null), with(func(o *Opening) { o.SessionToken = false }), true},
		{"an empty token is none", open + auth(key, signature, blob(toSign), text(""), null), with(func(o *Opening) { o.SessionToken = false }), true},
		{"the call's user agent", open + auth(key, signature, blob(toSign), token, text("Boto\x1b")), with(func(o *Opening) { o.UserAgent = "Boto?" }), true},
		{"what follows does not matter", open + auth(key, signature, blob(toSign), token, null) + "\xff\xff", full, true},
		{"the token is not there yet", open + auth(key, signature, blob(toSign)) + token[:5], with(func(o *Opening) { o.AuthComplete, o.SessionToken = false, false }), false},
		{"the call begins", open + auth(), Opening{Seen: true, UserAgent: "DaxGoClient-1", AuthSeen: true}, false},
		{"another call first", open + number(1) + number(455855874) + nested + auth(key, signature, blob(toSign), token, null), full, true},
		{"another call first, with a negative method id and ones", open + number(1) + item(majorNegative, 455855874, "") + number(1) + auth(key, signature, blob(toSign), token, null), full, true},
		{"a call inside an argument is none", open + number(1) + number(2) + item(majorArray, 2, auth()), Opening{Seen: true, UserAgent: "DaxGoClient-1"}, false},
		{"a richer agent map", text("J7yne5G") + number(0) + text("") + item(majorMap, 4, text("x")+item(majorArray, 1, text("UserAgent"))+text("UserAgent")+text("DaxGoClient-1")+
			text("UserAgenT")+text("no")+text("z")+number(1<<40)) + number(0) + auth(key, signature, blob(toSign), token, null), full, true},
		{"strings in chunks", open + auth("\x7f"+text("AKIAIOSFODNN")+text("7EXAMPLE")+"\xff", signature, "\x5f"+blob(toSign)+"\xff", "\x7f"+text("")+token+"\xff", null), full, true},
		{"no such key id", open + auth(text("PLANTED"), signature, blob(toSign), token, null), with(func(o *Opening) { o.AccessKeyID = "…" }), true},
		{"a string to sign of another kind", open + auth(key, signature, blob("PLANTED\nPLANTED\na/PLANTED/b/aws4_request\n"), token, null),
			with(func(o *Opening) { o.Region, o.Service = "", "" }), true},
		{"arguments of other kinds", open + auth(number(1), null, nested, number(5), number(6)),
			Opening{Seen: true, UserAgent: "DaxGoClient-1", AuthSeen: true, AuthComplete: true}, true},
		{"no call within 64 KiB", open + strings.Repeat("\x80", maxBytes), Opening{Seen: true, UserAgent: "DaxGoClient-1"}, true},
		{"a string beyond 64 KiB", open + blob(strings.Repeat("PLANTED", maxBytes)), Opening{Seen: true, UserAgent: "DaxGoClient-1"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{0, 1, 7} {
				r := feed(tt.stream, size)
				if got := r.Opening(); got != tt.want || r.Done() != tt.done || r.Err() != nil {
					t.Errorf("pieces of %d: done %t, error %v\ngot  %+v\nwant %+v", size, r.Done(), r.Err(), got, tt.want)
				}
				encoded, _ := json.Marshal(r.Opening())
				if all := fmt.Sprintf("%+v %#v %v %+v %#v %s", r.Opening(), r.Opening(), r, r, r, encoded); strings.Contains(all, "PLANTED") {
					t.Errorf("a secret shows in %s", all)
				}
			}
		})
	}
}

func TestWhatIsNotDAX(t *testing.T) {
	for _, tt := range []struct {
		name, stream string
		err          error
	}{
		{"TLS", "\x16\x03\x01", ErrNotDAX},
		{"HTTP", "GET / HTTP/1.1\r\n", ErrNotDAX},
		{"another word", "\x67J7yne5H", ErrNotDAX},
		{"another kind of item", text("J7yne5G") + text("0"), ErrNotDAX},
		{"no map", text("J7yne5G") + number(0) + text("0") + number(0), ErrNotDAX},
		{"reserved information", open + "\x1c", errReserved},
		{"an unsigned of unknown length", open + "\x1f", errReserved},
		{"a break of nothing", open + "\xff", errBreak},
		{"a break of a counted array", open + "\x82\x01\xff", errBreak},
		{"a break between key and value", open + "\xbf\x01\xff", errBreak},
		{"a text inside a byte string", open + "\x5f\x61a\xff", errChunk},
		{"nested without end", open + strings.Repeat("\x81", maxDepth+1), errDepth},
		{"nested without end, by tags", open + strings.Repeat("\xc1", maxDepth+1), errDepth},
		{"a map of 2^63 pairs", open + "\xbb\x80\x00\x00\x00\x00\x00\x00\x00", errDepth},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{0, 1} {
				r := feed(tt.stream, size)
				if err := r.Err(); !errors.Is(err, tt.err) || !r.Done() || r.Opening().AuthSeen {
					t.Errorf("pieces of %d: %v, want %v", size, err, tt.err)
				}
			}
		})
	}
	r := feed(open, 0)
	if r.Gap(); !errors.Is(r.Err(), ErrGap) || !r.Opening().Seen || !r.Done() {
		t.Errorf("after a gap: %v %+v", r.Err(), r.Opening())
	}
}

func TestSniff(t *testing.T) {
	for _, tt := range []struct {
		first string
		want  Answer
	}{{"", NeedMore}, {"\x67J7yne5", NeedMore}, {"\x67J7yne5G", Yes}, {open, Yes}, {"J7yne5G", No}, {"\x16\x03", No}} {
		if got := Sniff([]byte(tt.first)); got != tt.want {
			t.Errorf("Sniff(%q) = %d, want %d", tt.first, got, tt.want)
		}
	}
}

func TestCorpus(t *testing.T) {
	raw, err := os.ReadFile(testenv.Shared(t, "corpus", "dynamodb", "dax-plaintext-8111.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := pcapgo.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var stream string
	for {
		data, _, err := source.ReadPacketData()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if tcp, _ := gopacket.NewPacket(data, source.LinkType(), gopacket.NoCopy).Layer(layers.LayerTypeTCP).(*layers.TCP); tcp != nil && tcp.DstPort == 8111 {
			stream += string(tcp.Payload)
		}
	}
	want := Opening{Seen: true, UserAgent: "DaxCorpusClient-1.0", AuthSeen: true, AuthComplete: true, AccessKeyID: "AKIA…MPLE", Region: "us-east-1",
		Service: "dax", Signature: true, SessionToken: true}
	for _, size := range []int{0, 1} {
		if r := feed(stream, size); r.Opening() != want || r.Err() != nil || !r.Done() {
			t.Errorf("got  %+v\nwant %+v", r.Opening(), want)
		}
	}
}

// FuzzSplit: however the bytes are cut, the same is told; only an opening that was seen brings anything.
func FuzzSplit(f *testing.F) {
	f.Add([]byte(open+auth(text("AKIAIOSFODNN7EXAMPLE"), text("s"), blob(toSign), text("t"), null)), uint8(3))
	f.Add([]byte(open+"\x9f\x5f\x41a\xff\xbf\x01\xc1\x80\xff\xff"+auth(null, null, null, null, null)), uint8(1))
	f.Add([]byte(open[:9]), uint8(2))
	f.Add([]byte("gJ0"), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		for _, s := range []string{string(stream), open + string(stream), open + auth() + string(stream)} {
			whole, split := feed(s, 0), feed(s, int(size%16)+1)
			if a, b := fmt.Sprintf("%+v %v %t", whole.Opening(), whole.Err(), whole.Done()), fmt.Sprintf("%+v %v %t", split.Opening(), split.Err(), split.Done()); a != b {
				t.Fatalf("whole %s\nsplit %s", a, b)
			}
			o := whole.Opening()
			if !o.Seen && o != (Opening{}) || !o.AuthSeen && (o.AccessKeyID != "" || o.Signature || o.SessionToken || o.AuthComplete) || o.AuthComplete && whole.Err() != nil {
				t.Fatalf("%+v %v", o, whole.Err())
			}
			if len(whole.kept) > maxKept {
				t.Fatalf("%d bytes kept", len(whole.kept))
			}
		}
	})
}
