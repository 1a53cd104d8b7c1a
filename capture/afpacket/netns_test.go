package afpacket

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// listen accepts connections and sends back what comes, until the client has sent all.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	testnet.Serve(t, l, func(c net.Conn) { io.Copy(c, c) })
	return l
}

// talk sends a message, reads it back, and closes.
func talk(t *testing.T, address, message string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		io.WriteString(c, message)
		c.(*net.TCPConn).CloseWrite()
	}()
	back, err := io.ReadAll(c)
	if err != nil || string(back) != message {
		t.Fatalf("%d bytes came back of %d: %v", len(back), len(message), err)
	}
}

func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); s.Close() })
	return s
}

// collect reads until want says that it is enough, or nothing came for a good while. Payloads are copied.
func collect(t *testing.T, s *Source, want func([]flow.Segment) bool) []flow.Segment {
	t.Helper()
	var (
		all []flow.Segment
		seg flow.Segment
	)
	for idle := 0; idle < 100 && !want(all); {
		err := s.Next(&seg)
		switch {
		case err == nil:
			idle = 0
			seg.Payload = append([]byte(nil), seg.Payload...)
			all = append(all, seg)
		case errors.Is(err, capture.ErrIdle):
			idle++
		default:
			t.Fatal(err)
		}
	}
	return all
}

// ended holds once a FIN came from both sides.
func ended(all []flow.Segment) bool {
	var from []uint16
	for i := range all {
		if all[i].Flags.Has(flow.FIN) {
			from = append(from, all[i].SrcPort)
		}
	}
	return len(from) >= 2 && from[0] != from[len(from)-1]
}
