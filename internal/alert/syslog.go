package alert

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SyslogOptions are a syslog receiver.
type SyslogOptions struct {
	// Network is unix (a socket of this host, the default), udp, tcp or tls. Address is host:port, or the socket's path (/dev/log).
	Network, Address string
	// Facility is the number of RFC 5424, Section 6.2.1; 0 is 10, authpriv.
	Facility int
	TLS      TLSOptions
}

// Syslog writes RFC 5424 messages: over a local socket or UDP (RFC 5426) one a datagram, over TCP (RFC 6587) and TLS (RFC 5425) counted.
// Syslog has no acknowledgement: an alert counts as taken once the local system took it, and what is lost behind that is not known.
type Syslog struct {
	o    SyslogOptions
	tls  *tls.Config
	conn net.Conn
	form byte // d datagram, c counted, l line
}

// NewSyslog checks the options; no connection is made.
func NewSyslog(o SyslogOptions) (*Syslog, error) {
	o.Network, o.Facility = cmp.Or(o.Network, "unix"), cmp.Or(o.Facility, 10)
	s := &Syslog{o: o}
	switch o.Network {
	case "unix":
		s.o.Address = cmp.Or(o.Address, "/dev/log")
	case "udp", "tcp", "tls":
		if _, _, err := net.SplitHostPort(o.Address); err != nil {
			return nil, fmt.Errorf("syslog: address %q: use host:port", o.Address)
		}
	default:
		return nil, fmt.Errorf("syslog: network %q: use unix, udp, tcp or tls", o.Network)
	}
	if o.Facility < 0 || o.Facility > 23 {
		return nil, fmt.Errorf("syslog: facility %d: use 0 to 23", o.Facility)
	}
	var err error
	if s.tls, err = o.TLS.config(); err != nil {
		return nil, fmt.Errorf("syslog: %w", err)
	}
	return s, nil
}

// Kind implements Sink.
func (s *Syslog) Kind() string { return "syslog" }

// Send implements Sink.
func (s *Syslog) Send(ctx context.Context, alerts []*Alert) error {
	for _, a := range alerts {
		if err := s.write(ctx, s.message(a)); err != nil {
			s.hangUp()
			return fmt.Errorf("syslog: %w", err)
		}
	}
	return nil
}

func (s *Syslog) write(ctx context.Context, message string) error {
	if s.conn != nil && s.form != 'd' && gone(s.conn) {
		s.hangUp()
	}
	if s.conn == nil {
		if err := s.dial(ctx); err != nil {
			return err
		}
	}
	if at, ok := ctx.Deadline(); ok {
		if err := s.conn.SetDeadline(at); err != nil {
			return err
		}
	}
	switch s.form {
	case 'c':
		message = strconv.Itoa(len(message)) + " " + message
	case 'l':
		message += "\n"
	}
	_, err := io.WriteString(s.conn, message)
	return err
}

func (s *Syslog) dial(ctx context.Context) (err error) {
	var d net.Dialer
	switch s.o.Network {
	case "unix":
		s.form = 'd'
		if s.conn, err = d.DialContext(ctx, "unixgram", s.o.Address); err != nil {
			s.form = 'l'
			s.conn, err = d.DialContext(ctx, "unix", s.o.Address)
		}
	case "udp":
		s.form = 'd'
		s.conn, err = d.DialContext(ctx, "udp", s.o.Address)
	case "tcp":
		s.form = 'c'
		s.conn, err = d.DialContext(ctx, "tcp", s.o.Address)
	case "tls":
		s.form = 'c'
		s.conn, err = (&tls.Dialer{Config: s.tls}).DialContext(ctx, "tcp", s.o.Address)
	}
	if err != nil {
		s.conn = nil // an interface with a nil pointer in it is not nil
	}
	return err
}

// gone reports whether the other side has closed a connection: what is written to it then is lost without an error.
//
// The socket is asked first, which no deadline can cut short: a read that is off the processor until its deadline is over ends without a look at the socket.
// Only what waits there is read, as TLS says its goodbye in a record, before the socket's end: until none is left, or for as long as a second.
func gone(c net.Conn) bool {
	var b [512]byte
	for patience := time.Millisecond; patience < time.Second; patience *= 2 {
		waits, over := look(c)
		if over || !waits {
			return over
		}
		if c.SetReadDeadline(time.Now().Add(patience)) != nil {
			return true
		}
		if _, err := c.Read(b[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return true
		}
	}
	return false
}

// look reports whether bytes wait at a connection's socket, and whether the other side will send no more. A socket that does not tell is over.
func look(c net.Conn) (waits, over bool) {
	if s, ok := c.(*tls.Conn); ok {
		c = s.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return false, true
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false, true
	}
	over = true
	_ = raw.Control(func(fd uintptr) { // fails if the connection is closed, without a call
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
		if _, err := unix.Poll(fds, 0); err == nil {
			waits = fds[0].Revents&unix.POLLIN != 0
			over = fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
		}
	})
	return waits, over
}

// maxSyslog is how long a message gets, in bytes, unless its facts alone take more; RFC 5426 has receivers take 2048 at least.
const maxSyslog = 2048

// message is an alert by RFC 5424, Section 6. The enterprise number is the one that RFC 5612 keeps for use in documents: dynwatch has none of its own.
func (s *Syslog) message(a *Alert) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s dynwatch %d %s [dynwatch@32473", s.o.Facility*8+priority(a), a.Last.UTC().Format("2006-01-02T15:04:05.000000Z"),
		cmp.Or(token(a.Host, 255), "-"), os.Getpid(), cmp.Or(token(a.Rule, 32), "-"))
	for _, p := range attributes(a) {
		if p.value == "" {
			continue
		}
		fmt.Fprintf(&b, ` %s="%s"`, p.name, paramEscape.Replace(printable(p.value, 120)))
	}
	b.WriteString("] \ufeff")
	text := printable(a.text(), max(maxSyslog-b.Len(), 64))
	b.WriteString(text)
	return b.String()
}

var paramEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// token is printable ASCII without spaces, as header fields want it.
func token(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), limit)]
}

// priority is the severity of syslog (RFC 5424, Section 6.2.1).
func priority(a *Alert) int {
	switch a.Severity {
	case "critical":
		return 2
	case "high":
		return 3
	case "medium":
		return 4
	}
	return 5
}

type attribute struct{ name, value string }

// attributes are an alert's facts by name; what is unknown is empty.
func attributes(a *Alert) []attribute {
	list := []attribute{
		{"id", a.ID}, {"rule", a.Rule}, {"severity", a.Severity}, {"workload_kind", a.WorkloadKind}, {"namespace", a.Namespace}, {"workload", a.Workload},
		{"endpoint", a.Endpoint}, {"region", a.Region}, {"issuer", a.Issuer}, {"count", strconv.FormatUint(a.Count, 10)},
		{"first_seen", a.First.UTC().Format(time.RFC3339Nano)}, {"last_seen", a.Last.UTC().Format(time.RFC3339Nano)}, {"fingerprint", a.Fingerprint},
	}
	if a.Limited {
		list = append(list, attribute{"limited", "true"})
	}
	return list
}

func (s *Syslog) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// Close implements Sink.
func (s *Syslog) Close() error {
	s.hangUp()
	return nil
}
