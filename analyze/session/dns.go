package session

import (
	"net/netip"
	"time"
)

// DNS is an answer that gave addresses, or an error, for a DynamoDB name.
type DNS struct {
	Time   time.Time
	Source string
	// Client asked, Server (the resolver) answered.
	Client, Server netip.AddrPort
	// Question is the name that was asked for, lower case without trailing dot; QueryType is A, AAAA, HTTPS…
	Question, QueryType string
	RCode               string // NOERROR, NXDOMAIN, …
	// Names are the question and every CNAME target on the way to the addresses.
	Names    []string
	Addrs    []netip.Addr
	Findings []Finding
}
