// Package capture holds the sources of traffic: each yields flow.Segments, and counts what it could not deliver. No source has an
// opinion on what a segment means.
//
//	src, err := capture.OpenFile(capture.FileOptions{Names: []string{"trace.pcap"}})
//	var seg flow.Segment
//	for src.Next(&seg) == nil { … }
//	src.Close()
//
// OpenAhead reads files in a goroutine of its own, and gives segments in batches.
//
// Below it, pcapfile reads and writes capture files, decode goes from a frame to its segment, and filter compiles tcpdump's expressions.
package capture
