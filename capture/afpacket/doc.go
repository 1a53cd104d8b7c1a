// Package afpacket is the source of packets from network interfaces: AF_PACKET sockets with a TPACKET_V3 ring that the kernel fills and
// this package reads in place (packet(7); Documentation/networking/packet_mmap.rst), without cgo.
//
//	src, err := afpacket.Open(afpacket.Options{Interfaces: []string{"any"}, Prefixes: prefixes})
//	var seg flow.Segment
//	for { err := src.Next(&seg); … }
//
// It sees the interfaces of its own network namespace. Those of containers are in others; what leaves the host passes one that is here.
//
// # What the kernel lets through
//
// A filter program runs in the kernel for each packet, before anything is copied. It keeps no state, so it cannot follow a connection that
// began with a DynamoDB name at a foreign address: such connections are found by letting all of certain ports through. Without a filter of
// the user's that is
//
//   - TCP from or to the given prefixes, on any port;
//   - TCP from or to the given ports ([DefaultPorts]), at any address;
//   - answers of DNS, over UDP and TCP;
//   - with Tunnels, everything that may be a tunnel.
//
// With a filter of the user's it is TCP and DNS answers that match the filter, on any port. Fragments of IP datagrams but the first have no
// ports, and are let through only by addresses. Packets with a VLAN tag are treated like those without, as far as one tag goes,
// unless a filter asks for tags, MPLS or PPPoE itself.
//
// With the published prefixes, merged, and the default ports the program has some 500 instructions for Ethernet, half of them for frames with a
// tag, and 250 for "any". Linux takes 4096, and no more than net.core.optmem_max has room for: 20480 bytes before Linux 6.7, which is some 390
// instructions, 131072 since. Where that is not enough, frames with a tag inside are no more chosen by address; then, when learned addresses make it
// longer still, all TCP is let through, and a warning says so. A filter of the user's that is too long is evaluated here.
//
// # What is seen twice
//
// On loopback the kernel shows every packet on its way out and on its way in; the first is left out. On "any", a packet that
// passes several interfaces of the host (a veth pair, a bridge, a VLAN device and the one below it) is seen on each. That does no harm: the
// analysis takes the second for a retransmission. With address translation in between it has two five-tuples, and is two flows.
package afpacket
