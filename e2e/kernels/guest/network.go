package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/synth"
)

// Addresses of the guest's loopback; all are for documentation (RFC 5737). The machine has no other interface.
const (
	listed  = "192.0.2.10"    // in the ranges that dynwatch is given
	foreign = "198.51.100.10" // not
	near    = "203.0.113.10"  // the clients'
)

const (
	endpoint   = "dynamodb.us-east-1.amazonaws.com"
	authority  = "Kernel Test Root"
	caFile     = "/tmp/ca.pem"
	rangesFile = "/tmp/ip-ranges.json"
	ranges     = `{"syncToken": "1700000000", "createDate": "2026-01-01-00-00-00", "ipv6_prefixes": [], "prefixes": [
{"ip_prefix": "192.0.2.0/24", "region": "us-east-1", "service": "DYNAMODB", "network_border_group": "us-east-1"}]}`
)

// addresses brings loopback up with them.
func addresses() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	up, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	for i, a := range []string{listed, foreign, near} {
		req, err := unix.NewIfreq(fmt.Sprintf("lo:%d", i+1))
		if err != nil {
			return err
		}
		if err := req.SetInet4Addr(net.ParseIP(a).To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, req); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return nil
}

// server answers every request on both addresses.
type server struct{}

func serve() (*server, error) {
	root, leaf, err := synth.NewHost(authority, endpoint)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(caFile, root.PEM(), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(rangesFile, []byte(ranges), 0o644); err != nil {
		return nil, err
	}
	for _, a := range []string{listed, foreign} {
		ln, err := tls.Listen("tcp", a+":443", &tls.Config{Certificates: []tls.Certificate{leaf}, MinVersion: tls.VersionTLS12})
		if err != nil {
			return nil, err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					r := bufio.NewReader(c)
					for {
						line, err := r.ReadString('\n')
						if err != nil {
							return
						}
						if strings.TrimSpace(line) == "" {
							fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
						}
					}
				}()
			}
		}()
	}
	return &server{}, nil
}

// Clients by the names of their processes.
const (
	clientName  = "kernelclient" // this program, with crypto/tls
	opensslName = "openssl"
)

// client is a client of the server: its arguments are an address, the highest version (1.2 or 1.3), and "insecure" if it is not to verify. It makes
// a request, says "done", and makes another one for each line of standard input. It stays connected until that ends.
func client(args []string) {
	if err := ask(args); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func ask(args []string) error {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	version := uint16(tls.VersionTLS13)
	if args[1] == "1.2" {
		version = tls.VersionTLS12
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(near)}}
	c, err := tls.DialWithDialer(from, "tcp", args[0]+":443", &tls.Config{ServerName: endpoint, RootCAs: pool, MaxVersion: version,
		InsecureSkipVerify: slices.Contains(args, "insecure")})
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	request := func() error {
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", endpoint); err != nil {
			return err
		}
		for { // the answer ends with its body, which has no newline
			line, err := r.ReadString('}')
			if err != nil {
				return err
			}
			if strings.HasSuffix(line, "{}") {
				return nil
			}
		}
	}
	orders := bufio.NewScanner(os.Stdin)
	for {
		if err := request(); err != nil {
			return err
		}
		fmt.Println("done")
		if !orders.Scan() {
			return orders.Err()
		}
	}
}

// started is a client that is connected.
type started struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a client of ours and waits for the end of its first request.
func start(args ...string) (*started, error) {
	s, err := begin("/bin/"+clientName, args...)
	if err != nil {
		return nil, err
	}
	return s, s.done()
}

// startOpenSSL starts a client with OpenSSL and waits for the answer to its request.
func startOpenSSL(address, version string) (*started, error) {
	s, err := begin("/usr/bin/"+opensslName, "s_client", "-connect", address+":443", "-bind", near, "-servername", endpoint, "-CAfile", caFile,
		"-verify_return_error", "-verify_hostname", endpoint, "-tls"+strings.ReplaceAll(version, ".", "_"))
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(s.in, "POST / HTTP/1.1\nHost: %s\n\n", endpoint); err != nil {
		return nil, err
	}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("openssl: %w", err)
		}
		if strings.HasPrefix(line, "HTTP/1.1 200") {
			return s, nil
		}
	}
}

func begin(program string, args ...string) (*started, error) {
	s := &started{cmd: exec.Command(program, args...)}
	s.cmd.Stderr = os.Stderr
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	return s, s.cmd.Start()
}

func (s *started) done() error {
	if _, err := s.out.ReadString('\n'); err != nil {
		return fmt.Errorf("client %d: %w", s.cmd.Process.Pid, err)
	}
	return nil
}

// again has it make another request.
func (s *started) again() error {
	if _, err := io.WriteString(s.in, "again\n"); err != nil {
		return err
	}
	return s.done()
}

// end has it close its connection.
func (s *started) end() error {
	err := s.in.Close()
	_, rest := io.Copy(io.Discard, s.out)
	return errors.Join(err, rest, s.cmd.Wait())
}
