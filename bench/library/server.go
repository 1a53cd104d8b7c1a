package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/dynwatch/dynwatch/internal/synth"
)

const (
	host       = "localhost" // the name that the server's certificate bears
	rootFile   = "root.pem"
	bundleFile = "bundle.pem"
	dataPath   = "/data"
	dataBytes  = 64 << 20
)

// startServer starts this program again as the server, so that its work is not the client's nor the probes'.
func startServer(dir string) (c *client, address string, err error) {
	if c, err = start("/proc/self/exe", "-serve", dir); err != nil {
		return nil, "", err
	}
	line, err := c.out.ReadString('\n')
	return c, strings.TrimSpace(line), err
}

// serve answers every request as DynamoDB's ListTables and closes the connection, but for dataPath, until its input ends.
func serve(dir string) error {
	root, certificate, err := synth.NewHost("Benchmark", host)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, rootFile), root.PEM(), 0o644); err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, `{"TableNames":[]}`)
	})
	zeros := make([]byte, 64<<10)
	mux.HandleFunc(dataPath, func(w http.ResponseWriter, r *http.Request) {
		for range dataBytes / len(zeros) {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	})
	server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(l) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	fmt.Println(net.JoinHostPort(host, port))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
