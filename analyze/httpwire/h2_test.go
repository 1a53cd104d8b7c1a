package httpwire

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Client writes what an HTTP/2 client sends.
type h2Client struct {
	bytes.Buffer
	framer *http2.Framer
	block  bytes.Buffer
	enc    *hpack.Encoder
}

func newH2Client() *h2Client {
	c := &h2Client{}
	c.WriteString(http2.ClientPreface)
	c.framer = http2.NewFramer(&c.Buffer, nil)
	c.framer.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.block)
	c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	return c
}

func (c *h2Client) fields(kv ...string) []byte {
	c.block.Reset()
	for i := 0; i < len(kv); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]})
	}
	return bytes.Clone(c.block.Bytes())
}

func (c *h2Client) getItem() []byte {
	return c.fields(":method", "POST", ":scheme", "http", ":authority", "dynamodb.us-east-1.amazonaws.com", ":path", "/?a=b",
		"x-amz-target", "DynamoDB_20120810.GetItem", "x-amz-security-token", "PLANTED", "cookie", "PLANTED",
		"authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/dynamodb/aws4_request, Signature=PLANTED")
}

func TestHTTP2Requests(t *testing.T) {
	c := newH2Client()
	c.framer.WriteWindowUpdate(0, 1<<20)
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.getItem(), EndHeaders: true, PadLength: 7,
		Priority: http2.PriorityParam{StreamDep: 3, Weight: 9}})
	c.framer.WriteData(1, true, []byte("POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.Scan\r\n\r\n"))
	block := c.getItem() // now out of the dynamic table
	if len(block) > 30 {
		t.Fatalf("block of %d bytes: the encoder does not index", len(block))
	}
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block[:5]})
	c.framer.WriteContinuation(3, false, block[5:6])
	c.framer.WriteContinuation(3, false, nil)
	c.framer.WriteContinuation(3, true, block[6:])
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: c.fields("x-sum", "trailer"), EndHeaders: true, EndStream: true})
	c.framer.WritePing(false, [8]byte{})
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: c.fields(":method", "CONNECT", ":authority", "h:443"), EndHeaders: true})

	for _, size := range []int{0, 1, 5} {
		v := drive(Options{}, []unit{client(c.String())}, size, size == 5)
		if len(v.requests) != 3 || !v.conn.H2C() || v.conn.Err(session.Client) != nil {
			t.Fatalf("pieces of %d: %s", size, v.summary())
		}
		for _, r := range v.requests[:2] {
			operation, service, _ := r.DynamoDB()
			if r.Major != 2 || r.Method != "POST" || r.Asked() != "dynamodb.us-east-1.amazonaws.com" || r.Path != "/" || operation != "GetItem" ||
				service != "dynamodb" || !r.Credentials.Signature || !r.Credentials.SessionToken || !r.Credentials.Cookie || r.Credentials.AccessKeyID != "AKIA…MPLE" {
				t.Errorf("pieces of %d: %+v", size, r)
			}
		}
		if r := v.requests[2]; r.Form != AuthorityForm || r.Authority != "h:443" || v.conn.Tunnel() {
			t.Errorf("pieces of %d: %+v", size, r)
		}
		if strings.Contains(v.summary(), "PLANTED") {
			t.Error("a secret shows")
		}
	}
}

func TestHTTP2Limits(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func(c *h2Client)
		err   error
	}{
		{"a frame inside a header block", func(c *h2Client) {
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.getItem()})
			c.framer.WritePing(false, [8]byte{})
		}, errH2},
		{"a continuation of another stream", func(c *h2Client) {
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.getItem()})
			c.framer.WriteContinuation(3, true, nil)
		}, errH2},
		{"a continuation of nothing", func(c *h2Client) { c.framer.WriteContinuation(3, true, nil) }, errH2},
		{"headers on stream 0", func(c *h2Client) { c.framer.WriteRawFrame(http2.FrameHeaders, 0, 0, c.getItem()) }, errH2},
		{"padding longer than the frame", func(c *h2Client) {
			c.framer.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPadded, 1, []byte{9, 1, 2})
		}, errH2},
		{"priority longer than the frame", func(c *h2Client) {
			c.framer.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPriority, 1, []byte{9, 1, 2})
		}, errH2},
		{"continuations without end", func(c *h2Client) {
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			for range 20 {
				c.framer.WriteContinuation(1, false, bytes.Repeat([]byte{0x82}, 4000))
			}
		}, ErrHeadTooLarge},
		{"a small block that decodes to much", func(c *h2Client) {
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields("a", strings.Repeat("b", 3000))})
			c.framer.WriteContinuation(1, false, bytes.Repeat([]byte{0xbe}, 1000))
		}, ErrHeadTooLarge},
		{"a table too large", func(c *h2Client) {
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x3f, 0xff, 0xff, 0xff, 0x07}})
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newH2Client()
			tt.write(c)
			for _, size := range []int{0, 1} {
				v := drive(Options{}, []unit{client(c.String())}, size, false)
				err := v.conn.Err(session.Client)
				if err == nil || tt.err != nil && !errors.Is(err, tt.err) || len(v.requests) != 0 || !v.conn.Done(session.Client) || !v.conn.H2C() {
					t.Errorf("pieces of %d: %v\n%s", size, err, v.summary())
				}
			}
		})
	}
}

func TestHTTP2EndsAfterManyRequests(t *testing.T) {
	c := newH2Client()
	for i := range maxH2Requests + 10 {
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: c.getItem(), EndHeaders: true})
	}
	v := drive(Options{}, []unit{client(c.String())}, 0, false)
	if len(v.requests) != maxH2Requests || v.conn.Skippable(session.Client) != math.MaxInt64 || v.conn.Err(session.Client) != nil {
		t.Errorf("%d requests, %v", len(v.requests), v.conn)
	}
}

func TestHTTP2Gap(t *testing.T) {
	c := newH2Client()
	c.framer.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1000))
	inside := c.Len() - 500
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.getItem(), EndHeaders: true})
	all := c.String()
	v := drive(Options{}, []unit{client(all[:inside]), {from: session.Client, gap: 400}, client(all[inside+400:])}, 0, false)
	if len(v.requests) != 1 || v.conn.Err(session.Client) != nil {
		t.Errorf("a gap inside a frame of data: %s", v.summary())
	}
	v = drive(Options{}, []unit{client(all[:inside]), {from: session.Client, gap: 501}, client(all[inside+501:])}, 0, false)
	if len(v.requests) != 0 || !errors.Is(v.conn.Err(session.Client), ErrGap) {
		t.Errorf("a gap over a frame header: %s", v.summary())
	}
}

func TestHTTP2PrefaceIsExact(t *testing.T) {
	for _, first := range []string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x01\x00\x00\x00\x00\x01",
		plainGet + http2.ClientPreface} {
		for _, size := range []int{0, 1} {
			v := drive(Options{}, []unit{client(first)}, size, false)
			if !errors.Is(v.conn.Err(session.Client), ErrNotHTTP) {
				t.Errorf("%q: %v", first, v.summary())
			}
		}
	}
}
