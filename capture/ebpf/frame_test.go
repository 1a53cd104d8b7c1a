package ebpf

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"

	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/internal/flow"
)

func TestFramesDecodeToTheirSegments(t *testing.T) {
	addr := serve(t, "127.0.7.41:0", 100_000, tls.VersionTLS12)
	s := open(t, Options{LookAtOthers: true})
	ask(t, addr, ours, 100_000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var (
		d          = decode.New(decode.Options{})
		seg, again flow.Segment
		f          capture.Frame
		n          int
	)
	for {
		err := s.Next(&seg)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !s.Frame(&seg, &f) {
			if seg.Proto == flow.TCP {
				t.Error("no frame")
			}
			continue
		}
		if seg.Dst() == addr || seg.Src() == addr {
			n++
		}
		if d.Decode(f.Link, append(bytes.Clone(f.Head), f.Payload...), f.Length, seg.Time, &again) != decode.Segment {
			t.Fatal("the frame cannot be decoded")
		}
		if again.FiveTuple != seg.FiveTuple || again.Seq != seg.Seq || again.Flags != seg.Flags || again.Length != seg.Length || !bytes.Equal(again.Payload, seg.Payload) {
			t.Errorf("%+v, want %+v", again, seg)
		}
	}
	if n < 7 {
		t.Errorf("%d packets of the connection", n)
	}
}

func TestCountEndsTheWatching(t *testing.T) {
	addr := serve(t, "127.0.7.42:0", 100, tls.VersionTLS12)
	s := open(t, Options{Prefixes: prefixes("127.0.7.42/32"), Count: 3})
	ask(t, addr, ours, 100)
	var seg flow.Segment
	n := 0
	for {
		err := s.Next(&seg)
		if err == nil {
			n++
		} else if err == io.EOF {
			break
		} else if err != capture.ErrIdle {
			t.Fatal(err)
		}
	}
	if n != 3 || s.Stats().Packets != 3 {
		t.Errorf("%d segments, %+v", n, s.Stats())
	}
}
