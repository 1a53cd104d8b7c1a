package alert

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// MessageID is the MESSAGE_ID of alerts in the journal: journalctl MESSAGE_ID=… finds them.
const MessageID = "6f0bd8b3a57d4a2d9c1fd7a3f9e2c4b1"

// JournaldOptions are the systemd journal of this host.
type JournaldOptions struct {
	// Socket is journald's; "" is /run/systemd/journal/socket.
	Socket string
}

// Journald writes to the systemd journal in its native protocol: a datagram of fields for each alert. As with syslog, an alert counts as
// taken once the socket took it.
type Journald struct {
	socket string
	conn   net.Conn
}

// NewJournald makes no connection.
func NewJournald(o JournaldOptions) *Journald {
	return &Journald{socket: cmp.Or(o.Socket, "/run/systemd/journal/socket")}
}

// Kind implements Sink.
func (j *Journald) Kind() string { return "journal" }

// Send implements Sink.
func (j *Journald) Send(ctx context.Context, alerts []*Alert) error {
	for _, a := range alerts {
		if err := j.write(ctx, fields(a)); err != nil {
			j.Close()
			return fmt.Errorf("journal: %w", err)
		}
	}
	return nil
}

func (j *Journald) write(ctx context.Context, message []byte) error {
	if j.conn == nil {
		c, err := new(net.Dialer).DialContext(ctx, "unixgram", j.socket)
		if err != nil {
			return err
		}
		j.conn = c
	}
	if at, ok := ctx.Deadline(); ok {
		if err := j.conn.SetWriteDeadline(at); err != nil {
			return err
		}
	}
	_, err := j.conn.Write(message)
	return err
}

// fields is an alert in the native protocol (systemd.io, "Native Journal Protocol"). It is far below what a datagram holds.
func fields(a *Alert) []byte {
	var b bytes.Buffer
	field(&b, "MESSAGE", a.text())
	field(&b, "MESSAGE_ID", MessageID)
	field(&b, "PRIORITY", strconv.Itoa(priority(a)))
	field(&b, "SYSLOG_IDENTIFIER", "dynwatch")
	for _, x := range attributes(a) {
		if x.value != "" {
			field(&b, "DYNWATCH_"+strings.ToUpper(x.name), x.value)
		}
	}
	if len(a.Finding) > 0 {
		field(&b, "DYNWATCH_FINDING", string(a.Finding))
	}
	return b.Bytes()
}

// field writes one field; a value with a newline needs its length.
func field(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	if !strings.Contains(value, "\n") {
		b.WriteString("=" + value + "\n")
		return
	}
	b.WriteByte('\n')
	b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
	b.WriteString(value + "\n")
}

// Close implements Sink.
func (j *Journald) Close() error {
	if j.conn != nil {
		j.conn.Close()
		j.conn = nil
	}
	return nil
}
