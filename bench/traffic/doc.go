// Package traffic makes the capture files that the benchmarks read: classic pcap, Ethernet, microseconds, as tcpdump writes it.
//
//	f, err := os.Create("mixed.pcap")
//	manifest, err := traffic.Generate(f, traffic.Options{Kind: traffic.Mixed, Size: 1 << 30, Flows: 200_000, Seed: 1})
//
// A Manifest says what is in the file, so that a run over it can be checked: how many flows, how many sessions are DynamoDB's, and which
// verdicts they deserve.
//
// # How traffic is made
//
// A conversation is a script: packets with direction, payload and pace. Scripts of TLS are recorded handshakes of crypto/tls
// (internal/synth); 200 of them stand for ordinary traffic and are played again and again under other addresses, ports, sequence
// numbers and times. Each of DynamoDB's sessions is a recording of its own, because its key exchange is signed over fresh random numbers
// and a reader that checks signatures must not meet the same one twice. All else is made up: cleartext HTTP, database and shell
// protocols, connections without a byte, port scans, bulk downloads in full segments, DNS, QUIC, ICMP, ARP.
//
// Flows begin at uniformly distributed times and overlap by the thousand; see replay.go for pace, retransmissions, reordering and loss.
//
// # What is the same for a seed
//
// Everything but the bytes that crypto/tls draws: keys, random numbers and signatures are fresh each time, and an ECDSA signature is a
// byte or two longer or shorter. Two files of a seed have the same sessions, and in a Mixed one the same flows; how many small flows fill a Dense one
// up, and all sizes, differ by less than 2 %.
//
// # What it is not
//
// A model of any network. Mixed has many more, and smaller, flows for its size than a server's usual traffic (5 kB each), which is the
// harder case for a reader that follows flows; Dense is the extreme of it.
package traffic
