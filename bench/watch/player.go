package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// tracked is where the handshakes go: dynwatch is told that it is an endpoint's address.
	tracked = netip.MustParseAddr("127.0.9.11")
	// untracked is where everything else goes.
	untracked = netip.MustParseAddr("127.0.9.12")
)

// player plays both ends of connections to one listening socket, with plain system calls.
type player struct {
	listener int
	addr     *unix.SockaddrInet4
	buf      []byte
	// finished is told, before the last bytes of a handshake are sent, when that was and from which port; nil tells nobody.
	finished func(port int, at time.Time)
}

func newPlayer(at netip.Addr) (*player, error) {
	p := &player{buf: make([]byte, 64<<10)}
	var err error
	if p.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if err := unix.Bind(p.listener, &unix.SockaddrInet4{Addr: at.As4()}); err != nil {
		return nil, err
	}
	if err := unix.Listen(p.listener, 64); err != nil {
		return nil, err
	}
	name, err := unix.Getsockname(p.listener)
	if err != nil {
		return nil, err
	}
	p.addr = name.(*unix.SockaddrInet4)
	return p, nil
}

func (p *player) close() { unix.Close(p.listener) }

// open makes a connection and returns its ends.
func (p *player) open() (client, server int, err error) {
	if client, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	if err = unix.Connect(client, p.addr); err != nil {
		return 0, 0, fmt.Errorf("connect: %w", err)
	}
	if server, _, err = unix.Accept4(p.listener, unix.SOCK_CLOEXEC); err != nil {
		return 0, 0, err
	}
	for _, fd := range []int{client, server} { // messages one after the other of one side are not to wait for each other
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return 0, 0, err
		}
	}
	return client, server, nil
}

// play plays messages from from to to, the latter not included.
func (p *player) play(client, server int, c *conversation, from, to int) error {
	for i := from; i < to; i++ {
		m := c.messages[i]
		if p.finished != nil && i == c.handshake {
			name, err := unix.Getsockname(client)
			if err != nil {
				return err
			}
			p.finished(name.(*unix.SockaddrInet4).Port, time.Now())
		}
		a, b := server, client
		if m.FromClient {
			a, b = client, server
		}
		if err := p.pass(a, b, m.Data); err != nil {
			return err
		}
	}
	return nil
}

// pass sends data and receives it at the other end.
func (p *player) pass(from, to int, data []byte) error {
	if n, err := unix.Write(from, data); err != nil || n < len(data) {
		return fmt.Errorf("write %d of %d bytes: %w", n, len(data), err)
	}
	for got := 0; got < len(data); {
		n, err := unix.Read(to, p.buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("connection ended after %d of %d bytes", got, len(data))
		}
		got += n
	}
	return nil
}

// end closes the client's end, with a reset, so that none waits in TIME-WAIT until ports are used up.
func (p *player) end(client int) error {
	if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	return unix.Close(client)
}

// endBoth closes both ends.
func (p *player) endBoth(client, server int) error {
	return errors.Join(p.end(client), unix.Close(server))
}

// whole plays a whole connection.
func (p *player) whole(c *conversation) error {
	client, server, err := p.open()
	if err != nil {
		return err
	}
	if err := p.play(client, server, c, 0, len(c.messages)); err != nil {
		return err
	}
	return p.endBoth(client, server)
}

var (
	anyBytes = []byte("a message of a protocol that nobody here speaks, sixty-four by.")
	anyReply = make([]byte, 64)
)

// other makes a connection that is none of DynamoDB's.
func (p *player) other() error {
	client, server, err := p.open()
	if err != nil {
		return err
	}
	if err := p.pass(client, server, anyBytes); err != nil {
		return err
	}
	if err := p.pass(server, client, anyReply); err != nil {
		return err
	}
	return p.endBoth(client, server)
}

// pace calls f rate times a second for d, evenly over milliseconds, and returns how often. Where f is too slow for that, it is called as often as it can be.
func pace(rate int, d time.Duration, f func(i int) error) (n int, took time.Duration, err error) {
	const tick = time.Millisecond
	begin := time.Now()
	for {
		since := time.Since(begin)
		if since >= d {
			return n, since, nil
		}
		for due := int(since.Seconds() * float64(rate)); n < due && time.Since(begin) < d; n++ {
			if err := f(n); err != nil {
				return n, time.Since(begin), err
			}
		}
		time.Sleep(tick - time.Since(begin)%tick)
	}
}
