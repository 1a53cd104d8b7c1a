package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"

	"github.com/dynwatch/dynwatch/internal/synth"
)

const (
	// name is the server's, and what makes the played sessions DynamoDB's.
	name = "dynamodb.us-east-1.amazonaws.com"
	// different is how many recordings of each version are played in turn: each has its own keys and signatures, which are verified.
	different = 100
	request   = 400 // bytes
	answer    = 900
)

// conversation is what the two ends of one connection say.
type conversation struct {
	version   string // as dynwatch prints it
	verdict   string // that it deserves
	messages  synth.Dialogue
	handshake int // index of the message that ends the handshake
}

type recordings struct {
	all []conversation
	// root is the authority that signed everything, in PEM.
	root []byte
}

// record makes the recordings.
func record() (*recordings, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	root, err := synth.NewAuthority(pkix.Name{Organization: []string{"Benchmark"}, CommonName: "Benchmark Root"}, key)
	if err != nil {
		return nil, err
	}
	below, err := root.Intermediate(pkix.Name{Organization: []string{"Benchmark"}, CommonName: "Benchmark 1"}, key)
	if err != nil {
		return nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := below.Server(leafKey, name)
	if err != nil {
		return nil, err
	}
	r := &recordings{root: root.PEM()}
	for range different {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, err := converse(version, cert)
			if err != nil {
				return nil, err
			}
			r.all = append(r.all, c)
		}
	}
	return r, nil
}

func converse(version uint16, cert tls.Certificate) (conversation, error) {
	// Of one curve, so that the server never asks for another share.
	client := &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, CurvePreferences: []tls.CurveID{tls.X25519}}
	server := &tls.Config{Certificates: []tls.Certificate{cert}, CurvePreferences: []tls.CurveID{tls.X25519}, SessionTicketsDisabled: true}
	d, err := synth.TLS(client, server, make([]byte, request), make([]byte, answer))
	if err != nil {
		return conversation{}, err
	}
	c := conversation{version: tls.VersionName(version), messages: d}
	// TLS 1.2: hello, flight, key exchange to Finished, Finished. TLS 1.3: hello, flight to Finished, Finished.
	c.verdict, c.handshake = "ok", 3
	if version == tls.VersionTLS13 {
		c.verdict, c.handshake = "unverified", 2
	}
	if next := c.handshake + 1; len(d) <= next || !d[next].FromClient || d[next].Data[0] != 0x17 || len(d[next].Data) < request {
		return c, fmt.Errorf("a recording of %s does not have its request after message %d", c.version, c.handshake)
	}
	return c, nil
}
