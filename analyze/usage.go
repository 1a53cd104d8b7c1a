package analyze

// Usage is what an Analyzer holds at the moment. Options bounds Flows, Buffered and Memory.
type Usage struct {
	// Flows are in the table, Reading those of them that are being read.
	Flows, Reading int
	// Memory is what the flows take that are being read, about, in bytes; Buffered the bytes of it that wait behind holes.
	Memory, Buffered int
}

// Usage tells what is held. Like the other methods it is not safe for concurrent use.
func (a *Analyzer) Usage() Usage {
	return Usage{Flows: a.table.used, Reading: len(a.conns) - len(a.free), Memory: a.memory, Buffered: a.buffered}
}
