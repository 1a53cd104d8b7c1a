package session

import (
	"net/netip"
	"time"
)

// Probe is what connections of our own to one address of an endpoint showed. It says what answered us, from here, at that time; it proves
// nothing about any other connection.
type Probe struct {
	// Start and End are when the first connection was opened and the last one closed.
	Start, End time.Time
	// Host is the name that was asked for, lower case; "" for a bare address. Port is the endpoint's.
	Host string
	Port uint16
	// Server is the address that was connected to; not valid when the name gave none. With Proxy, HOST:PORT, the proxy was given Host.
	Server netip.AddrPort
	Proxy  string
	// From tells where the connections came from when that is not this process's own network namespace: "pid 811".
	From string
	// Resolution is how Host became addresses; nil where nothing was resolved.
	Resolution *Resolution
	// Prefix, Region and Services are AWS's prefix that holds Server's address, as ip-ranges.json has it; empty if none does.
	Prefix, Region string
	Services       []string

	// Session is the handshake of an ordinary client of today, understood as a session on the wire is; of a server that this one found
	// nothing with, the best handshake that it did answer. nil if nothing did. Its Findings and Verdict are those of the probe.
	Session *Session
	// Chain describes the certificates as sent, leaf first, at most 16.
	Chain []Certificate
	// OCSP is the response that was stapled, nil without.
	OCSP *OCSP
	// Versions tells of every version whether the server takes it, the highest first.
	Versions []ProbedVersion
	// WeakSuite is the suite taken from a client that offers only weak ones, "" if none; WeakTried tells whether that was asked.
	WeakSuite string
	WeakTried bool
	// Fallback is the answer to TLS_FALLBACK_SCSV in a hello for less than the server's best (RFC 7507): "refused", "accepted", or "" where
	// nobody asked or the answer tells nothing. Sentinel: a hello for TLS 1.2 was marked as RFC 8446, Section 4.1.3, wants of a server of
	// TLS 1.3; Unknown where that is not due.
	Fallback string
	Sentinel Tri
	// Plaintext is the answer to cleartext HTTP, nil if nobody asked.
	Plaintext *PlaintextAnswer
	// Warnings are for people: what is no finding, yet worth a look.
	Warnings []string
	// Err says why there is no Session, "" if there is one. Unreachable: this host has no route to an address of that family.
	Err         string
	Unreachable bool
}

// Verdict is the probe's conclusion: its session's, or unverified where nothing answered.
func (p *Probe) Verdict() Verdict {
	if p.Session == nil {
		return VerdictUnverified
	}
	return p.Session.Verdict
}

// Findings are the probe's, the most severe first.
func (p *Probe) Findings() []Finding {
	if p.Session == nil {
		return nil
	}
	return p.Session.Findings
}

// Resolution is how a name became addresses.
type Resolution struct {
	// By is "dns", "hosts" (the hosts file) or "proxy" (left to it). Resolver answered, if it was DNS.
	By       string
	Resolver netip.AddrPort
	// Name is the name that had the addresses: the one asked for, or that with a search domain. Names are the aliases on the way.
	Name  string
	Names []string
	// Addrs are all addresses, Findings what is wrong with them.
	Addrs    []netip.Addr
	Findings []Finding
}

// ProbedVersion is the answer to a hello that offers one version alone, or, of the version that was negotiated with an ordinary hello, to that.
type ProbedVersion struct {
	Version Version
	// Taken is Unknown where no answer came; Answer then says what happened, and where it was refused, how: "alert protocol_version",
	// "closed", "reset", "no answer", "not tried", "not TLS".
	Taken  Tri
	Answer string
	// Cipher and Group are what the server chose. Ciphers are all suites that it takes, in the order of its choice, where that was asked.
	Cipher, Group string
	Ciphers       []string
}

// OCSP is a stapled response.
type OCSP struct {
	// Status is "good", "revoked", "unknown", or "unreadable". Verified: the signature was checked with the issuer's key as sent.
	Status                 string
	Verified               bool
	ThisUpdate, NextUpdate time.Time
}

// PlaintextAnswer is how a server answers cleartext HTTP.
type PlaintextAnswer struct {
	Port uint16
	// Answer is "http", "refused", "closed", "no answer" or "not HTTP".
	Answer string
	// Status and Location are of the response.
	Status   int
	Location string
}
