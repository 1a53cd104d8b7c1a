package httpwire

import (
	"fmt"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// unit is bytes of one side, or a gap.
type unit struct {
	from session.Side
	data string
	gap  int
}

func client(s string) unit { return unit{from: session.Client, data: s} }
func server(s string) unit { return unit{from: session.Server, data: s} }

// seen is all that a Conn told about a conversation.
type seen struct {
	conn      *Conn
	requests  []Request
	responses []Response
	events    []string // in order, with their values
	tunnel    [2][]byte
}

// drive feeds units, each in pieces of at most size bytes (0: whole). With skip it uses Skippable and Skip where it can.
func drive(o Options, units []unit, size int, skip bool) *seen {
	v := &seen{conn: New(o)}
	for _, u := range units {
		if u.gap != 0 {
			v.conn.Gap(u.from, u.gap)
			continue
		}
		data := []byte(u.data)
		for len(data) > 0 {
			piece := data
			if size > 0 {
				piece = data[:min(size, len(data))]
			}
			data = data[len(piece):]
			v.feed(u.from, piece, skip)
		}
	}
	return v
}

func (v *seen) feed(from session.Side, data []byte, skip bool) {
	c := v.conn
	for len(data) > 0 {
		if n := min(c.Skippable(from), int64(len(data))); skip && n > 0 {
			c.Skip(from, n)
			data = data[n:]
			continue
		}
		// A copy that is spoiled afterwards shows whether anything aliases the caller's bytes.
		lent := append([]byte(nil), data...)
		n, event := c.Feed(from, lent)
		if n == 0 && event != Tunnelled {
			panic("no progress")
		}
		for i := range lent {
			lent[i] = '!'
		}
		switch event {
		case RequestHead:
			v.requests = append(v.requests, *c.Request())
			v.log(from, fmt.Sprintf("%+v", *c.Request()))
		case ResponseHead:
			v.responses = append(v.responses, *c.Response())
			v.log(from, fmt.Sprintf("%+v", *c.Response()))
		case TableNames:
			v.log(from, "tables "+strings.Join(c.Request().Tables, ","))
		case Tunnelled:
			v.tunnel[from] = append(v.tunnel[from], data[n:]...)
			return
		case Unreadable:
			v.log(from, c.Err(from).Error())
		}
		data = data[n:]
	}
}

func (v *seen) log(from session.Side, what string) {
	v.events = append(v.events, from.String()+": "+what)
}

// summary is everything that may not depend on how the bytes were split.
func (v *seen) summary() string {
	return fmt.Sprintf("%s\ntunnel %t %q\nerrors %v %v\nstate %v\nskippable %d %d", strings.Join(v.events, "\n"), v.conn.Tunnel(), v.tunnel,
		v.conn.Err(0), v.conn.Err(1), v.conn, v.conn.Skippable(0), v.conn.Skippable(1))
}

// asks is "METHOD asked path" of every request.
func (v *seen) asks() (out []string) {
	for _, r := range v.requests {
		out = append(out, strings.TrimSpace(r.Method+" "+r.Asked()+" "+r.Path))
	}
	return out
}
