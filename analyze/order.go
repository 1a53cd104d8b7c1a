package analyze

import (
	"container/heap"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxWaiting is how many finished sessions wait for an earlier one that is still open. When there are more, the earliest is put out
// although an earlier one may follow, and that is counted.
const maxWaiting = 16 << 10

// orderer puts sessions out in the order of their first packets. A session waits while a flow that began before it may still become
// a session.
type orderer struct {
	emit    func(*session.Session)
	waiting waitingHeap
	open    openHeap
	late    uint64 // put out although an earlier flow was still open
	serial  uint64
}

type waiting struct {
	start  int64
	serial uint64 // order of finishing, for equal starts
	s      *session.Session
}

type waitingHeap []waiting

func (h waitingHeap) Len() int { return len(h) }
func (h waitingHeap) Less(i, j int) bool {
	return h[i].start < h[j].start || h[i].start == h[j].start && h[i].serial < h[j].serial
}
func (h waitingHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *waitingHeap) Push(x any)   { *h = append(*h, x.(waiting)) }
func (h *waitingHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = waiting{}
	*h = old[:len(old)-1]
	return w
}

// openHeap holds the starts of conns that may become sessions, lowest first; closed ones are dropped lazily.
type openHeap []*conn

func (h openHeap) Len() int           { return len(h) }
func (h openHeap) Less(i, j int) bool { return h[i].start < h[j].start }
func (h openHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].heapIndex = i; h[j].heapIndex = j }
func (h *openHeap) Push(x any) {
	c := x.(*conn)
	c.heapIndex = len(*h)
	*h = append(*h, c)
}
func (h *openHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	c.heapIndex = -1
	return c
}

// opened tells that c may become a session.
func (o *orderer) opened(c *conn) { heap.Push(&o.open, c) }

// dropped tells that c will not become a session any more, or has become one.
func (o *orderer) dropped(c *conn) {
	if c.heapIndex >= 0 {
		heap.Remove(&o.open, c.heapIndex)
	}
	if len(o.waiting) > 0 {
		o.release()
	}
}

// finished takes a session; c, its conn, must be dropped after it.
func (o *orderer) finished(start int64, s *session.Session) {
	o.serial++
	heap.Push(&o.waiting, waiting{start, o.serial, s})
}

// release puts out what need not wait any more.
func (o *orderer) release() {
	for len(o.waiting) > 0 {
		if len(o.open) > 0 && o.open[0].start <= o.waiting[0].start {
			if len(o.waiting) <= maxWaiting {
				return
			}
			o.late++
		}
		o.emit(heap.Pop(&o.waiting).(waiting).s)
	}
}
