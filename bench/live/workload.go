package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A workload does the same again and again.
type workload interface {
	step() error
	close()
}

const (
	anyBytes = "a message of a protocol that nobody here speaks, sixty-four by."
	request  = "GET /index.html?with=some&query=too HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\r\n"
)

// clientHello is what crypto/tls sends first.
func clientHello() []byte {
	a, b := net.Pipe()
	defer b.Close()
	go tls.Client(a, &tls.Config{ServerName: "an-ordinary-service.eu-west-1.example.com"}).Handshake()
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		panic(err)
	}
	return bytes.Clone(buf[:n])
}

// pin keeps the calling thread on one CPU.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// listen opens a listening socket with plain system calls: the runtime's poller would be measured otherwise.
func listen(at netip.Addr) (fd int, addr *unix.SockaddrInet4, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		return 0, nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: at.As4()}); err != nil {
		return 0, nil, err
	}
	if err := unix.Listen(fd, 64); err != nil {
		return 0, nil, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, nil, err
	}
	return fd, name.(*unix.SockaddrInet4), nil
}

// connect makes a connection and returns both its ends.
func connect(ln int, addr *unix.SockaddrInet4) (client, server int, err error) {
	if client, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		return 0, 0, err
	}
	if err = unix.Connect(client, addr); err != nil {
		return 0, 0, err
	}
	server, _, err = unix.Accept(ln)
	return client, server, err
}

// long is a workload over one connection: n bytes there, m back.
type long struct {
	listener, client, server int
	there, back, buf         []byte
}

func newLong(at netip.Addr, there, back int) (workload, error) {
	ln, addr, err := listen(at)
	if err != nil {
		return nil, err
	}
	l := &long{listener: ln, there: bytes.Repeat([]byte("x"), there), back: bytes.Repeat([]byte("y"), back), buf: make([]byte, 256<<10)}
	l.client, l.server, err = connect(ln, addr)
	if err != nil {
		return nil, err
	}
	return l, unix.SetsockoptInt(l.client, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func bulk(at netip.Addr) (workload, error)     { return newLong(at, 64<<10, 0) }
func pingPong(at netip.Addr) (workload, error) { return newLong(at, 64, 64) }

func (l *long) step() error {
	if err := pass(l.client, l.server, l.there, l.buf); err != nil {
		return err
	}
	return pass(l.server, l.client, l.back, l.buf)
}

// pass sends data and receives it at the other end.
func pass(from, to int, data, buf []byte) error {
	if len(data) == 0 {
		return nil
	}
	for sent, got := 0, 0; got < len(data); {
		if sent < len(data) {
			n, err := unix.Write(from, data[sent:])
			if err != nil {
				return err
			}
			sent += n
		}
		n, err := unix.Read(to, buf)
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

func (l *long) close() {
	unix.Close(l.client)
	unix.Close(l.server)
	unix.Close(l.listener)
}

// short is a workload of connections that send something, get 64 bytes back, and end with a reset, so that none waits in TIME-WAIT.
type short struct {
	listener   int
	addr       *unix.SockaddrInet4
	first, buf []byte
}

func connections(first []byte) func(netip.Addr) (workload, error) {
	return func(at netip.Addr) (workload, error) {
		ln, addr, err := listen(at)
		return &short{listener: ln, addr: addr, first: first, buf: make([]byte, 64<<10)}, err
	}
}

func (s *short) step() error {
	client, server, err := connect(s.listener, s.addr)
	if err != nil {
		return err
	}
	if err := pass(client, server, s.first, s.buf); err != nil {
		return err
	}
	if err := pass(server, client, s.buf[:64], s.buf[64:]); err != nil {
		return err
	}
	if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	unix.Close(client)
	return unix.Close(server)
}

func (s *short) close() { unix.Close(s.listener) }
