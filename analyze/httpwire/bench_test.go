package httpwire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// kilobyteRequest is a request of 1,024 bytes as boto3 sends it.
func kilobyteRequest() []byte {
	const head = "POST / HTTP/1.1\r\nHost: dynamodb.us-east-1.amazonaws.com\r\nAccept-Encoding: identity\r\nX-Amz-Target: DynamoDB_20120810.PutItem\r\n" +
		"Content-Type: application/x-amz-json-1.0\r\nUser-Agent: Boto3/1.26.27 Python/3.11.2 Linux/6.1 Botocore/1.29.27\r\nX-Amz-Date: 20260101T000000Z\r\n" +
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/dynamodb/aws4_request, " +
		"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
	length := 1024 - len(head) - len("Content-Length: 000\r\n\r\n")
	return []byte(fmt.Sprintf("%sContent-Length: %03d\r\n\r\n%s", head, length, strings.Repeat("x", length)))
}

func feedAll(c *Conn, from session.Side, data []byte) (heads int) {
	for len(data) > 0 {
		n, event := c.Feed(from, data)
		if event == RequestHead || event == ResponseHead {
			heads++
		}
		data = data[n:]
	}
	return heads
}

func BenchmarkKeepAlive(b *testing.B) {
	request := kilobyteRequest()
	response := []byte("HTTP/1.1 200 OK\r\nx-amzn-RequestId: ABC\r\nx-amz-crc32: 1\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{}")
	for _, size := range []int{len(request), 536, 100} {
		b.Run(fmt.Sprintf("segments of %d", size), func(b *testing.B) {
			c := New(Options{})
			b.ReportAllocs()
			b.SetBytes(int64(len(request)))
			for b.Loop() {
				for rest := request; len(rest) > 0; {
					n := min(size, len(rest))
					feedAll(c, session.Client, rest[:n])
					rest = rest[n:]
				}
				feedAll(c, session.Server, response)
			}
		})
	}
}

func BenchmarkSniffForeign(b *testing.B) {
	hello := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	b.ReportAllocs()
	for b.Loop() {
		if Sniff(hello, session.Client) != No {
			b.Fatal("TLS is not HTTP")
		}
	}
}

// TestRepeatedRequestsCostNoAllocation: a keep-alive connection whose requests differ in nothing that is kept allocates nothing.
func TestRepeatedRequestsCostNoAllocation(t *testing.T) {
	request := kilobyteRequest()
	c := New(Options{})
	feedAll(c, session.Client, request)
	feedAll(c, session.Client, request)
	if n := testing.AllocsPerRun(100, func() {
		if feedAll(c, session.Client, request) != 1 {
			t.Fatal("no request")
		}
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
