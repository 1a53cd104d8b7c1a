// Package synth makes traffic for tests, samples and benchmarks: it records real handshakes of crypto/tls in process, and wraps any
// dialogue of two ends in TCP, IP and Ethernet, with the segment sizes, acknowledgements and closing that a capture would show.
//
// Nothing here is used by the dynwatch program.
package synth
