// Package decode turns one captured frame into a [flow.Segment]: it strips the link layer, tags, tunnels and IP headers, reassembles
// IP fragments, and stops at the first byte of TCP or DNS-over-UDP payload.
//
//	link type → Ethernet / SLL / PPP / raw → VLAN, LLC, PPPoE, MPLS → IPv4 / IPv6 → TCP → Segment
//	                    ▲                                              ▲     │
//	                    └───── VXLAN, GENEVE, GRE, ERSPAN, MPLS ───────┴─────┘ IP-in-IP, GRE, GTP-U
//
// A Decoder is one goroutine's. Reading a capture is:
//
//	d := decode.New(decode.Options{})
//	var seg flow.Segment
//	for each frame {
//		if d.Decode(link, data, wireLen, ts, &seg) == decode.Segment { use(&seg) }
//	}
//
// # Two lengths
//
// Every header is read with two lengths in hand: the bytes that were captured, and the bytes that the frame had on the wire. A header that
// ends behind the first but within the second was cut by the snap length (Truncated); one that ends behind both contradicts itself
// (Malformed). For the payload the first is len(Payload) and the second is Length, so that what is missing is known to the byte.
//
// # What is accepted
//
// An observer reads what the receiver would read, and a receiver is lenient. Checksums are not looked at (offloading leaves them wrong on the
// sending host), IP and TCP options are skipped unread, Ethernet padding behind the IP length is dropped, and an IP length of zero, as
// segmentation offload leaves it, means "to the end of the frame". What a host's IP stack would throw away is refused: an IP version that
// does not fit the EtherType, header lengths that contradict each other.
//
// Tunnels over UDP are recognised by their well-known destination port and a valid header, in whichever direction the packet goes (both ends
// of VXLAN, GENEVE and GTP-U send to that port). They are not guessed on other ports, however well a header may fit: who can send a
// tunnel packet can place a segment of their choice in any flow, and a firewall can keep strangers from five ports, not from all.
//
// # What it does not do
//
// No Teredo, L2TP, WireGuard, MPLS over UDP, 802.1ah, MACsec; no decryption of ESP. AH is skipped unverified. Routing headers are
// skipped, and the addresses are those of the IPv6 header. Frames of link types it cannot read are refused by name, see [Supported].
//
// Code reads headers with literal offsets, after one comparison with a named header length: a cursor that checks each field costs more
// than the rest of the work. FuzzDecode and the comparison with gopacket over the corpus stand in for its safety.
package decode
