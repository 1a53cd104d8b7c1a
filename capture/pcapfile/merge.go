package pcapfile

import (
	"cmp"
	"container/heap"
	"io"
	"math"
)

// noTime stands for the time of what has none: it comes first.
const noTime = math.MinInt64

// maxOpen is how many files are read at the same time. With more than these overlapping in time the further ones wait, and their
// packets come later than their time; a warning says so. It bounds buffers (some 60 MiB in all) and descriptors.
const maxOpen = 256

// waiting is a file that was not opened yet: start is the time of its first packet, plain says that it is a regular one and not compressed.
type waiting struct {
	index int
	start int64
	plain bool
}

func compareWaiting(a, b waiting) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.index, b.index))
}

// sourceHeap has the open sources apart from the current one, each with its next packet in head; the earliest is first, in the
// order of the arguments among equals.
type sourceHeap []*source

func (h sourceHeap) Len() int { return len(h) }
func (h sourceHeap) Less(i, j int) bool {
	return h[i].key < h[j].key || h[i].key == h[j].key && h[i].index < h[j].index
}
func (h sourceHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *sourceHeap) Push(x any)   { *h = append(*h, x.(*source)) }
func (h *sourceHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}

// pick makes the source with the earliest next packet the current one and puts that packet into p. Sources are opened as late as
// their first packet allows. The error is io.EOF when there is none left.
func (r *Reader) pick(p *Packet) error {
	r.cur = nil
	for len(r.waiting) > 0 && len(r.heap) < maxOpen && (len(r.heap) == 0 || r.waiting[0].start <= r.heap[0].key) {
		w := r.waiting[0]
		r.waiting = r.waiting[1:]
		s, err := r.start(w)
		if err != nil {
			return err
		}
		if s == nil {
			continue
		}
		if err := s.next(&s.head); err != nil {
			if err := r.finish(s, err); err != nil {
				return err
			}
			continue
		}
		if s.head.TimeKnown {
			s.key = s.head.Time
			if s.key < r.last && w.start < r.last {
				s.rep.warn("more than 256 captures overlap in time: this one had to wait, and its packets come late")
			}
		}
		heap.Push(&r.heap, s)
	}
	if len(r.heap) == 0 {
		return io.EOF
	}
	s := heap.Pop(&r.heap).(*source)
	r.cur, *p = s, s.head
	r.last = max(r.last, s.key)
	// Up to here the current source may go on without looking at the others.
	r.limit, r.limitIndex = math.MaxInt64, math.MaxInt
	if len(r.heap) > 0 {
		r.limit, r.limitIndex = r.heap[0].key, r.heap[0].index
	}
	if len(r.waiting) > 0 && r.waiting[0].start <= r.limit && len(r.heap)+1 < maxOpen {
		r.limit, r.limitIndex = r.waiting[0].start, -1
	}
	return nil
}
