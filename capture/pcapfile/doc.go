// Package pcapfile reads and writes capture files: pcap in all its common variants and pcapng, plain or compressed by gzip or
// zstd, one file or many merged in time order, from disk or from a pipe.
//
//	r, err := pcapfile.Open([]string{"a.pcapng", "b.pcap.gz"}, pcapfile.Options{})
//	if err != nil { ... }
//	defer r.Close()
//	var p pcapfile.Packet
//	for r.Next(&p) == nil {
//		... // p.Data is valid until the next call of Next
//	}
//	for _, e := range r.Errs() { ... } // what could not be read, with file and offset
//
// # Data flow
//
// A file is read in blocks of 64 to 512 KiB. Where that pays a goroutine of its own reads ahead, so that the kernel's copy and decompression
// overlap with the analysis; not for a plain file whose reader gives blocks back late, and so is ahead of the analysis itself. Packets are
// handed out in place; only one that lies across two blocks is copied. There is no mmap: mapped pages count as resident memory, and a
// mapped file that somebody cuts short kills the reader with SIGBUS.
//
// # Damage
//
// A file that ends early or is corrupt yields every packet before the damage; then the other files go on. Reader.Errs names file
// and offset of what was wrong. Where the framing of a pcapng block is intact but its content makes no sense, only this block is
// skipped.
//
// # Why not a library
//
// gopacket's pcapgo is the oracle of this package's tests. It is not used here because it copies or allocates per packet, trusts
// lengths in the file when it allocates, stops at the first odd value (a nanosecond field of more than a second, a record longer
// than the snap length), drops pcapng's decryption secrets and loss counters, and gives no offsets in errors.
//
// # What it does not do
//
// It never asks what a packet means: link types are named, not decoded. It reads no other capture formats (ERF, snoop, NetMon),
// but says which one it sees. Damaged files are not searched for the next good packet.
package pcapfile
