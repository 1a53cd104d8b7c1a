// Package library looks inside the TLS libraries of this host's processes, by package bpf's probes: what certificates they are shown, which
// TLS 1.3 hides from the wire, and whether they verify them.
//
//	src, err := library.Open(library.Options{})
//	for every segment of the socket source, before it is analysed {
//		src.Poll(analyzer.Library)
//	}
//
// A probe serves every process that maps the file it is attached to, containers included. Open attaches to the libraries of the running
// processes, and to those in the usual directories of each mount namespace, so that a program that starts later is seen from its first
// handshake on; programs that start with other files get their probes as they start, which may be too late for their first handshake.
//
// No offsets into a library's structs are written down here, but for Go's: where OpenSSL keeps what is wanted is read from the machine code of its own
// exported getters. What is told of a handshake bears the random of its ClientHello; only where the wire shows the same one is it
// believed, so that a wrong offset makes silence, never a wrong statement. docs/libraries.md says what is seen of which library.
package library
