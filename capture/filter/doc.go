// Package filter compiles tcpdump's filter expressions (man 7 pcap-filter) to classic BPF and runs them over packets of a file.
//
// An expression is parsed once and compiled once per link type:
//
//	f, err := filter.Compile("tcp port 443 and host 10.0.0.5", filter.Options{Link: filter.LinkEthernet})
//	f.Match(frame, wireLen)         // packets of a file
//	f.Program()                     // SO_ATTACH_FILTER of a live packet socket
//	sll, err := f.For(filter.LinkLinuxSLL) // the same expression for another interface of the same file
//
// The way of an expression: tokens (lexer.go), a syntax tree (parser.go), a tree of conditions over packet bytes for one link type
// (generate.go and its neighbours), a graph of two-way tests (graph.go), a smaller graph with the same meaning (optimize.go), and
// instructions (assemble.go), which Match runs (machine.go).
//
// The meaning is libpcap's 1.10, tests compare both over hundreds of expressions: a load beyond the captured bytes ends the program
// with "no match" wherever it stands, even under a "not"; ports are read from an IPv4 packet only at fragment offset zero and from an
// IPv6 packet only when TCP, UDP or SCTP is its first next header; "vlan", "mpls" and "pppoes" move the offsets for everything to
// their right. docs/filter.md lists what is supported and where this package differs.
//
// The filter sees the outer packet, as tcpdump's does: addresses and ports inside a tunnel are not looked at. No name is ever looked
// up: host names are refused, service and protocol names come from small tables in this package.
//
// Everything is bounded: length and nesting of the expression, tests and instructions of a program, and the work spent on making it
// smaller. A Filter is immutable after Compile, except for For's cache, and may be used by several goroutines.
package filter
