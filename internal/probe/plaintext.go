package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"bufio"
	"io"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxHead bounds what is read of an answer to cleartext HTTP, in bytes.
const maxHead = 16 << 10

// plaintext asks for / in cleartext HTTP, as DynamoDB's health check is asked for: no operation, no signature, nothing secret.
func (p *Prober) plaintext(ctx context.Context, r *route) *session.PlaintextAnswer {
	out := &session.PlaintextAnswer{Port: p.o.Plaintext, Answer: "no answer"}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	address := netip.AddrPortFrom(r.server.Addr(), p.o.Plaintext)
	c, err := p.o.Namespace.dial(ctx, &net.Dialer{}, "tcp", address.String())
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			out.Answer = "refused"
		}
		return out
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(p.o.Timeout))
	name := r.host
	if name == "" {
		name = address.Addr().String()
		if address.Addr().Is6() {
			name = "[" + name + "]"
		}
	}
	if p.o.Plaintext != 80 {
		name = fmt.Sprintf("%s:%d", name, p.o.Plaintext)
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: dynwatch\r\nConnection: close\r\n\r\n", name); err != nil {
		out.Answer = "closed"
		return out
	}
	readPlaintext(c, out)
	return out
}

// readPlaintext reads the head of a response.
func readPlaintext(c net.Conn, out *session.PlaintextAnswer) {
	in := bufio.NewReaderSize(io.LimitReader(c, maxHead), 4096)
	line, err := in.ReadSlice('\n')
	if len(line) == 0 {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			out.Answer = "closed"
		}
		return
	}
	status, ok := statusOf(line)
	if !ok {
		out.Answer = "not HTTP"
		return
	}
	out.Answer, out.Status = "http", status
	for {
		line, err := in.ReadSlice('\n')
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" || err != nil {
			return
		}
		if name, value, ok := strings.Cut(text, ":"); ok && strings.EqualFold(name, "location") {
			value, _, _ = strings.Cut(strings.TrimSpace(value), "?") // what follows may be anything
			out.Location = value[:min(len(value), 256)]
		}
	}
}
