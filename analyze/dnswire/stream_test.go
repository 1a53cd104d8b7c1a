package dnswire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

func cut(stream []byte, size int) (msgs []string) {
	var s Stream
	for len(stream) > 0 {
		n := len(stream)
		if size > 0 {
			n = min(n, size)
		}
		data := bytes.Clone(stream[:n])
		stream = stream[n:]
		for rest := data; len(rest) > 0; {
			var msg []byte
			if msg, rest = s.Feed(rest); msg != nil {
				msgs = append(msgs, string(msg))
			}
		}
		clear(data)
	}
	return msgs
}

func TestStream(t *testing.T) {
	long := strings.Repeat("m", 65535)
	stream := []byte("\x00\x03abc\x00\x00\x00\x01d\xff\xff" + long + "\x00\x02e")
	for _, size := range []int{0, 1, 2, 3, 1000} {
		if got := cut(stream, size); !slices.Equal(got, []string{"abc", "d", long}) {
			t.Errorf("pieces of %d: %d messages", size, len(got))
		}
	}
	var s Stream
	s.Feed([]byte("\x00"))
	s.Gap()
	if msg, rest := s.Feed([]byte("\x01a\x00\x01a")); msg != nil || rest != nil || !s.Lost() {
		t.Errorf("after a gap: %q %q", msg, rest)
	}
}

func TestCorpus(t *testing.T) {
	raw, err := os.ReadFile(testenv.Shared(t, "corpus", "dynamodb", "dns-hijack-then-intercepted-tls12.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := pcapgo.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var got []Answer
	queries := 0
	for {
		data, _, err := source.ReadPacketData()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		udp, _ := gopacket.NewPacket(data, source.LinkType(), gopacket.NoCopy).Layer(layers.LayerTypeUDP).(*layers.UDP)
		if udp == nil {
			continue
		}
		a, err := Parse(udp.Payload)
		if errors.Is(err, ErrNotResponse) {
			queries++
			continue
		} else if err != nil {
			t.Error(err)
		}
		a.ID, a.TTL = 0, 0
		got = append(got, a)
	}
	want := []Answer{
		{Question: east, Type: dnsmessage.TypeA, Names: []string{east}, Addrs: addrs("127.20.12.5")},
		{Question: east, Type: dnsmessage.TypeAAAA, Names: []string{east}},
	}
	if !reflect.DeepEqual(got, want) || queries != 2 {
		t.Errorf("%d queries\ngot  %+v\nwant %+v", queries, got, want)
	}
}
