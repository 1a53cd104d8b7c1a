package analyze

import (
	"container/heap"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxWaiting is how many finished sessions wait for an earlier one that is still open, long lists of names counted as several. When there are
// more, the earliest is put out although an earlier one may follow, which then is late.
const maxWaiting = 16 << 10

// orderer puts sessions out in the order of their first packets, those that began at the same time in the order in which their flows first
// carried payload. A session waits while a flow that began before it may still become a session.
type orderer struct {
	emit    func(*session.Session, *kin)
	waiting waitingHeap
	open    openHeap
	// weight is the sum of the waiting sessions' weights.
	weight int
	serial uint64 // counts flows
	last   place  // of what was put out last
	late   uint64 // put out after one that began later
}

// place is where a session stands in the order.
type place struct {
	start  int64
	serial uint64
}

func (p place) before(q place) bool {
	return p.start < q.start || p.start == q.start && p.serial < q.serial
}

type waiting struct {
	place
	weight int
	s      *session.Session
	kin    *kin
}

type waitingHeap []waiting

func (h waitingHeap) Len() int           { return len(h) }
func (h waitingHeap) Less(i, j int) bool { return h[i].before(h[j].place) }
func (h waitingHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *waitingHeap) Push(x any)        { *h = append(*h, x.(waiting)) }
func (h *waitingHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = waiting{}
	*h = old[:len(old)-1]
	return w
}

// openHeap holds conns that may become sessions, the earliest first.
type openHeap []*conn

func (h openHeap) Len() int           { return len(h) }
func (h openHeap) Less(i, j int) bool { return h[i].place().before(h[j].place()) }
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

func (c *conn) place() place { return place{c.start, c.order} }

// opened tells that c may become a session.
func (o *orderer) opened(c *conn) {
	o.serial++
	c.order = o.serial
	heap.Push(&o.open, c)
}

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
func (o *orderer) finished(c *conn, s *session.Session) {
	w := waiting{place: c.place(), weight: weightOf(s), s: s, kin: c.kin}
	o.weight += w.weight
	heap.Push(&o.waiting, w)
}

// weightOf is 1 for an ordinary session of some 3 KiB.
func weightOf(s *session.Session) int {
	n := 0
	if s.Certificate != nil {
		for _, name := range s.Certificate.Names {
			n += len(name)
		}
	}
	return 1 + n/2048
}

// release puts out what need not wait any more.
func (o *orderer) release() {
	for len(o.waiting) > 0 {
		if len(o.open) > 0 && o.open[0].place().before(o.waiting[0].place) && o.weight <= maxWaiting {
			return
		}
		w := heap.Pop(&o.waiting).(waiting)
		o.weight -= w.weight
		if w.place.before(o.last) {
			o.late++
		} else {
			o.last = w.place
		}
		o.emit(w.s, w.kin)
	}
}
