package capture

import (
	"bytes"
	"io/fs"
	"sync"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Sizes of the queue between reading and analysis: so many batches of so many segments. A batch ends with a block of a file at the
// latest, which holds some 1000 packets of average length.
const (
	aheadBatches = 8
	batchLen     = 1024
)

// Ahead reads capture files in a goroutine of its own, some blocks ahead of who takes the segments, so that reading and decoding need
// no time of the analysis where there is a second processor. Callbacks of FileOptions are made by Next, in their place among the segments.
//
// One goroutine calls Next; Close may be called by another. Errs and Stats are complete and may be called once Next has returned an error or Close
// has returned.
type Ahead struct {
	file  *File
	o     FileOptions
	start sync.Once
	stop  sync.Once
	quit  chan struct{}
	done  chan struct{} // closed when the reading goroutine has ended, or never began

	ready chan *batch // never blocks the sender: there are no more batches than places
	free  chan *batch

	// What the reading goroutine fills.
	filling    *batch
	read, size int64 // progress

	// What the caller of Next has.
	given *batch
	spent []*batch
	err   error
}

// batch is a run of segments on its way to the analysis.
type batch struct {
	segs     []flow.Segment
	before   []func() // callbacks that come before the segments
	giveBack []func() // buffers that nobody needs after the segments
	err      error    // what comes after them

	read, size int64 // progress
}

// OpenAhead opens capture files as OpenFile does.
func OpenAhead(o FileOptions) (*Ahead, error) {
	a := &Ahead{
		o: o, quit: make(chan struct{}), done: make(chan struct{}),
		ready: make(chan *batch, aheadBatches+4), free: make(chan *batch, aheadBatches),
	}
	for range aheadBatches {
		a.free <- nil // allocated at first use
	}
	inner := o
	inner.passed = a.passed
	if o.Secrets != nil {
		inner.Secrets = a.secrets
	}
	if o.Progress != nil {
		inner.Progress = func(read, total int64) { a.read, a.size = read, total }
	}
	var err error
	if a.file, err = OpenFile(inner); err != nil {
		return nil, err
	}
	return a, nil
}

// run is the reading goroutine.
func (a *Ahead) run() {
	defer close(a.done)
	for {
		if err := a.file.take(); err != nil {
			a.batch().err = err
			a.ship()
			return
		}
		b := a.batch()
		n := len(b.segs)
		b.segs = b.segs[:n+1]
		seg := &b.segs[n]
		whole := a.file.dec.Stats.DatagramsReassembled
		if !a.file.decode(seg) {
			b.segs = b.segs[:n]
			continue
		}
		if a.file.packet.Passing || a.file.dec.Stats.DatagramsReassembled != whole {
			seg.Payload = bytes.Clone(seg.Payload) // its buffer is used again before the batch is
		}
		if n+1 == cap(b.segs) {
			a.ship()
		}
	}
}

// batch is the one that is being filled.
func (a *Ahead) batch() *batch {
	if a.filling != nil {
		return a.filling
	}
	var b *batch
	select {
	case b = <-a.free:
	case <-a.quit: // nobody may be there to give one back, and what was read is told
	}
	if b == nil {
		b = &batch{segs: make([]flow.Segment, 0, batchLen)}
	}
	b.segs, b.before, b.giveBack = b.segs[:0], b.before[:0], b.giveBack[:0]
	a.filling = b
	return b
}

// ship hands over what is filled.
func (a *Ahead) ship() {
	a.filling.read, a.filling.size = a.read, a.size
	a.ready <- a.filling
	a.filling = nil
}

// passed is called when a block has been gone through, and the next one may have to be waited for.
func (a *Ahead) passed(giveBack func()) {
	b := a.batch()
	b.giveBack = append(b.giveBack, giveBack)
	a.ship()
}

func (a *Ahead) secrets(kind uint32, data []byte) {
	if b := a.filling; b != nil && len(b.segs) > 0 {
		a.ship()
	}
	b, data := a.batch(), bytes.Clone(data)
	b.before = append(b.before, func() { a.o.Secrets(kind, data) })
}

// Next returns the next segments, valid until the next call; there may be none. io.EOF is the end of all files.
func (a *Ahead) Next() ([]flow.Segment, error) {
	a.start.Do(func() { go a.run() })
	if a.err != nil {
		return nil, a.err
	}
	if a.given != nil {
		// Giving back may wake the reading goroutine, which costs as much as a hundred packets: several at a time.
		if a.spent = append(a.spent, a.given); len(a.spent) >= aheadBatches/2 {
			a.giveBack()
		}
		a.given = nil
	}
	select {
	case a.given = <-a.ready:
	default:
		a.giveBack() // the reading goroutine may be waiting for it
		a.given = <-a.ready
	}
	b := a.given
	a.err = b.err
	for _, f := range b.before {
		f()
	}
	if a.o.Progress != nil {
		a.o.Progress(b.read, b.size)
	}
	if len(b.segs) == 0 && b.err != nil {
		return nil, b.err
	}
	return b.segs, nil
}

// giveBack returns the batches that were looked at.
func (a *Ahead) giveBack() {
	for _, b := range a.spent {
		for _, f := range b.giveBack {
			f()
		}
		select {
		case a.free <- b:
		default: // one more than usual, from the time of Close
		}
	}
	a.spent = a.spent[:0]
}

// Close ends the reading; Next still gives what was read before, and then fs.ErrClosed. It may be called twice.
func (a *Ahead) Close() error {
	a.start.Do(func() { // nothing was read, and nothing will be
		a.batch().err = fs.ErrClosed
		a.ship()
		close(a.done)
	})
	err := a.file.Close()
	a.stop.Do(func() { close(a.quit) })
	<-a.done
	return err
}

// Errs are what kept parts of the capture from being read.
func (a *Ahead) Errs() []error { return a.file.Errs() }

// Stats says what was read.
func (a *Ahead) Stats() Stats { return a.file.Stats() }
