// Command library measures what the library probes cost clients that make handshakes.
//
// A client program makes connection after connection to a server in this process; each round lets it make so many with the probes attached
// and so many without, in alternating order, and the ratio of the two times is what counts. The A/A control compares two rounds without.
//
//	go run ./bench/library -rounds 12
//
// It needs the rights of the probes, and the Debian packages python3-boto3 and curl. Ratios above 1 are time lost.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/flow"
)

func main() {
	rounds := flag.Int("rounds", 12, "rounds of each measurement")
	handshakes := flag.Int("handshakes", 100, "handshakes in a round")
	only := flag.String("only", "", "measure only this client, boto3 or curl")
	flag.Parse()
	if err := run(*rounds, *handshakes, *only); err != nil {
		fmt.Fprintln(os.Stderr, "library: error:", err)
		os.Exit(1)
	}
}

// host is the name that the server's certificate bears.
const host = "localhost"

func run(rounds, handshakes int, only string) error {
	dir, err := os.MkdirTemp("", "dynwatch-bench-library-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	address, err := serve(dir)
	if err != nil {
		return err
	}
	fmt.Printf("%-8s %8s %8s %8s %8s   %s\n", "client", "median", "q1", "q3", "A/A", "without, per handshake")
	for _, c := range []struct {
		name  string
		start func(dir, address string) (*client, error)
	}{{"boto3", startBoto3}, {"curl", startCurl}} {
		if only != "" && only != c.name {
			continue
		}
		if err := measure(c.name, c.start, dir, address, rounds, handshakes); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// serve answers every request as DynamoDB's ListTables, and closes the connection. The root that signs its certificate is dir/root.pem.
func serve(dir string) (address string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", err
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "root.pem"), root, 0o644); err != nil {
		return "", err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true,
	})
	if err != nil {
		return "", err
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, `{"TableNames":[]}`)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(l) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort(host, port), err
}

// client is a program that makes handshakes when it is told how many, and says how many seconds they took.
type client struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(name string, args ...string) (*client, error) {
	c := &client{cmd: exec.Command(name, args...)}
	c.cmd.Stderr = os.Stderr
	c.cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true")
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	return c, c.cmd.Start()
}

// round has the client make n handshakes.
func (c *client) round(n int) (time.Duration, error) {
	if _, err := fmt.Fprintln(c.in, n); err != nil {
		return 0, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	return time.Duration(seconds * float64(time.Second)), err
}

func (c *client) end() {
	c.in.Close()
	_ = c.cmd.Wait()
}

const boto3Program = `
import sys, time, boto3
client = boto3.client("dynamodb", region_name="us-east-1", endpoint_url="https://" + sys.argv[2], verify=sys.argv[1])
for line in sys.stdin:
    begin = time.monotonic()
    for _ in range(int(line)):
        client.list_tables()
    print(time.monotonic() - begin, flush=True)
`

func startBoto3(dir, address string) (*client, error) {
	return start("/usr/bin/python3", "-c", boto3Program, filepath.Join(dir, "root.pem"), address)
}

// curl makes all connections of a round in one process; how long it takes to start is a part of the round, with and without probes.
const curlProgram = `
import subprocess, sys, time
for line in sys.stdin:
    urls = ["https://%s/%d" % (sys.argv[2], i) for i in range(int(line))]
    begin = time.monotonic()
    subprocess.run(["curl", "--silent", "--fail", "--cacert", sys.argv[1], "--parallel-max", "1", "--output", "/dev/null"] +
                   [x for u in urls for x in ("--output", "/dev/null", u)][2:], check=True)
    print(time.monotonic() - begin, flush=True)
`

func startCurl(dir, address string) (*client, error) {
	return start("/usr/bin/python3", "-c", curlProgram, filepath.Join(dir, "root.pem"), address)
}

func measure(name string, open func(dir, address string) (*client, error), dir, address string, rounds, handshakes int) error {
	c, err := open(dir, address)
	if err != nil {
		return err
	}
	defer c.end()
	if _, err := c.round(handshakes); err != nil { // imports, caches
		return err
	}
	var ratios, control []float64
	var without []time.Duration
	var seen uint64
	for i := range rounds {
		var with, off, again time.Duration
		steps := []func() error{
			func() (err error) { with, seen, err = probed(c, handshakes); return err },
			func() (err error) { off, err = c.round(handshakes); return err },
			func() (err error) { again, err = c.round(handshakes); return err },
		}
		if i%2 == 1 {
			slices.Reverse(steps)
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		if seen < uint64(handshakes) {
			return fmt.Errorf("the probes saw %d of %d handshakes: nothing was measured", seen, handshakes)
		}
		ratios = append(ratios, float64(with)/float64(off))
		control = append(control, float64(again)/float64(off))
		without = append(without, off/time.Duration(handshakes))
	}
	slices.Sort(ratios)
	slices.Sort(control)
	slices.Sort(without)
	n := len(ratios)
	fmt.Printf("%-8s %8.3f %8.3f %8.3f %8.3f   %v\n", name, ratios[n/2], ratios[n/4], ratios[n*3/4], control[n/2], without[n/2].Round(time.Microsecond))
	return nil
}

// probed is a round with the probes attached, polled as a capture does.
func probed(c *client, handshakes int) (took time.Duration, seen uint64, err error) {
	s, err := library.Open(library.Options{All: true})
	if err != nil {
		return 0, 0, err
	}
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		for !stop.Load() {
			if err := s.Poll(func(*flow.Library) {}); err != nil {
				done <- err
				return
			}
			time.Sleep(3 * time.Millisecond)
		}
		done <- s.Poll(func(*flow.Library) {})
	}()
	took, err = c.round(handshakes)
	stop.Store(true)
	err = errors.Join(err, <-done)
	seen = s.Stats().Handshakes
	return took, seen, errors.Join(err, s.Release())
}
