// Package ebpf is the source of segments that watches the sockets of this host, in the kernel, by package bpf.
//
// The kernel follows a connection from connect on, by the socket and not by its addresses, and copies the handshake's bytes. What comes out
// are the segments of the connection as its client sees them: to where it asked to connect, also where something on the way (iptables REDIRECT, a
// sidecar) sends the packets elsewhere, which Opening.RedirectedTo tells. Every segment has the Opening with the owner.
//
// Segments come in the order in which the kernel handed them over, over all CPUs: there is one ring buffer, an event takes its place in
// it when it is made, and whatever happens because of a packet (an answer, the next packet of the same socket) is made after it. So no
// window for sorting is needed. Times are taken a moment earlier, and may step back by microseconds between connections.
//
// After the handshake the kernel sends only a connection's end: bytes between are not there, by design, and the counters of Stats.Loss
// do not hold them.
package ebpf
