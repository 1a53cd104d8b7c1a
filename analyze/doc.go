// Package analyze turns segments into sessions with a verdict. It is pure: bytes and times in, values out; no files, clocks, sockets
// or globals, so a capture file replays the same for ever.
//
//	segments → flow table → ordered streams → TLS, HTTP, DAX or DNS → is it DynamoDB? → trust of the chain → rules → verdict
//
// One goroutine owns an Analyzer:
//
//	a := analyze.New(analyze.Options{Source: "file", Endpoints: set, Trust: store, Emit: print})
//	for segs := range source { a.Segments(segs) } // or a.Segment, where they come one at a time; a.Prepare helps ahead
//	a.Flush()
//
// With Options.Live, a.Advance tells the time several times a second, by a clock that is never set; packets' times only date what they show.
//
// A flow that is none of ours costs one look-up of a 64-byte slot per packet from the moment that this is known. Everything is bounded:
// flows, bytes held for reassembly, the memory of all flows that are read, sessions waiting to be put out in order; what a bound cost is
// counted in Stats.
//
// Sequence numbers, acknowledgements and times of packets are claims. They are believed as far as the other side, or the packets that
// follow, bear them out; bytes that the numbers prove to be missing are loss, and where bytes are missing less is said, never more.
//
// It does not decode packets (see capture/decode), attribute processes, or print.
package analyze
