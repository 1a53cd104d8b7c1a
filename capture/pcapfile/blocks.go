package pcapfile

import (
	"io/fs"
	"sync"
)

// Block sizes in bytes. Measured on plain pcap files in the page cache, 256 and 512 KiB are fastest where a block is done with before the next;
// larger blocks leave the processor's second-level cache, smaller ones cost more handing over. Where several are on their way, it is half
// a MiB and more.
const (
	hugeBlock  = 512 << 10
	largeBlock = 256 << 10
	smallBlock = 64 << 10
	// roomShare is which part of a block lies free in front of it, for the rest of the previous block: 64 KiB for a large one,
	// enough for any packet that an interface with segmentation offload shows.
	roomShare = 4
)

// blocks reads a file block by block, either in the caller or ahead of it in a goroutine.
//
// Ownership of a buffer goes from free to the goroutine, through full to the caller, and back when the caller asks for the next
// block; or, where passed is set, when it gives the buffer back.
type blocks struct {
	in   *input
	size int // bytes of data in a block
	room int // bytes in front of it

	held []byte // the buffer that the caller has
	err  error  // sticky

	// passed, if set, takes a function that gives a buffer back, each time that the caller asks for the block after it.
	passed func(giveBack func())

	free chan []byte // buffers, or nil for those that are not allocated yet

	// Reading ahead; full is nil if the caller reads.
	start sync.Once
	full  chan block
	done  chan struct{} // closed by the goroutine, which has closed the file before

	halt sync.Once
	quit chan struct{}
	// mu is held while the caller reads, and by stop when it closes the file. Only for files that a read cannot hang on.
	mu sync.Mutex
}

// block is a whole buffer with n bytes of data after the room.
type block struct {
	buf []byte
	n   int
	err error
}

// shape is how many buffers there are, of how many bytes of data each, and whether a goroutine fills them ahead of the caller of next.
type shape struct {
	size, count int
	ahead       bool
}

func newBlocks(in *input, s shape) *blocks {
	b := &blocks{
		in: in, size: s.size, room: s.size / roomShare, free: make(chan []byte, s.count), quit: make(chan struct{}), done: make(chan struct{}),
	}
	for range s.count {
		b.free <- nil // allocated at first use: a short file needs one only
	}
	if s.ahead {
		b.full = make(chan block, s.count)
	}
	return b
}

// next returns the next block: buf[room:] is data, buf[:room] is free for use. It is valid until the next call. err is what
// follows the data.
func (b *blocks) next() (buf []byte, room int, err error) {
	if b.err != nil {
		return nil, 0, b.err
	}
	if held := b.held; held != nil {
		b.held = nil
		giveBack := func() { b.free <- held } // never blocks: there are no more buffers than places
		if b.passed != nil {
			b.passed(giveBack)
		} else {
			giveBack()
		}
	}
	if b.full == nil {
		buf, b.err = b.readHere()
		return buf, min(b.room, len(buf)), b.err
	}
	b.start.Do(func() { go b.readAhead() })
	select {
	case full := <-b.full:
		b.held, b.err = full.buf, full.err
		return b.held[:b.room+full.n], b.room, b.err
	case <-b.quit:
		b.err = fs.ErrClosed
		return nil, 0, b.err
	}
}

func (b *blocks) readHere() ([]byte, error) {
	select {
	case b.held = <-b.free:
	case <-b.quit:
		return nil, fs.ErrClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.quit:
		return nil, fs.ErrClosed
	default:
	}
	if b.held == nil {
		b.held = make([]byte, b.room+b.size)
	}
	n, err := b.in.fill(b.held[b.room:])
	return b.held[:b.room+n], err
}

// readAhead is the reading goroutine: started by next, ended by stop or by the end of the file.
func (b *blocks) readAhead() {
	defer close(b.done)
	defer b.in.close()
	for {
		var buf []byte
		select {
		case buf = <-b.free:
		case <-b.quit:
			return
		}
		if buf == nil {
			buf = make([]byte, b.room+b.size)
		}
		n, err := b.in.fill(buf[b.room:])
		b.full <- block{buf, n, err} // never blocks
		if err != nil {
			return
		}
	}
}

// stop ends the reading goroutine and closes the file. It may be called several times and from any goroutine; next gives
// fs.ErrClosed from then on. A read from a pipe is interrupted. Where the system cannot do this (a terminal, a reader of the
// caller's) the goroutine ends when that read returns, and stop does not wait for it.
func (b *blocks) stop() {
	b.halt.Do(func() {
		close(b.quit)
		running := true
		b.start.Do(func() { running = false }) // and never start it from now on
		if !running {
			b.mu.Lock()
			b.in.close()
			b.mu.Unlock()
			return
		}
		if b.in.interrupt(true) {
			<-b.done
			b.in.interrupt(false)
		}
	})
}
