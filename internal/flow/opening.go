package flow

import "net/netip"

// Opening is how a connection was opened: by whom, when, and whether its packets go where the client asked.
type Opening struct {
	Process Process
	// Time is when the client called connect, in nanoseconds since the Unix epoch; 0 if unknown.
	Time int64
	// RedirectedTo is where the packets really go, when that is not where the client asked the kernel to connect to (iptables REDIRECT, a
	// sidecar, a local interceptor); else it is not valid. The segment's five-tuple has what the client asked for.
	RedirectedTo netip.AddrPort
	// Earlier: the connection was open before the source started, so its handshake was not seen.
	Earlier bool
}
