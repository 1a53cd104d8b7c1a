package pcapfile

// Packet is one captured packet.
type Packet struct {
	// Time is when it was captured, in nanoseconds since the Unix epoch. Finer units of the file are cut off.
	Time int64
	// Data is what was captured, from the link layer header on. It aliases a buffer of the Reader and is valid until the next
	// Next.
	Data []byte
	// Length is the packet's length on the wire in bytes, never less than len(Data): more where a snap length cut it.
	Length int
	// Number counts the packets of the Reader from 1, over all files, in the order delivered.
	Number uint64
	// File is the index of its file among the names given to Open.
	File int
	// Interface is the interface id within the file's section; always 0 for pcap. Reader.InterfaceName has its name.
	Interface int
	// Link says what Data begins with.
	Link LinkType
	// Passing says that Data is overwritten by the next Next all the same, where Options.Passed promises more: a record that lies across
	// blocks and is longer than most.
	Passing bool
	// TimeKnown says that the file holds a time. pcapng's simple packets have none, and a time outside of the years 1677 to 2262
	// cannot be told; Time is 0 then.
	TimeKnown bool
}
