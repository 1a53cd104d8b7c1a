package afpacket

import (
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// aside has packets that were taken out of the rings while there was no time to look at them, oldest first.
type aside struct {
	packets []asidePacket
	at      int // the next one
	data    []byte
}

type asidePacket struct {
	ring       *ring
	frame      frame // without data
	start, end int   // in data
}

// asideOverhead is what a packet takes beside its data, about.
const asideOverhead = 80

func (a *aside) len() int { return len(a.packets) - a.at }

func (a *aside) bytes() int { return len(a.data) + asideOverhead*len(a.packets) }

func (a *aside) add(r *ring, f frame) {
	start := len(a.data)
	a.data = append(a.data, f.data...)
	f.data = nil
	a.packets = append(a.packets, asidePacket{r, f, start, len(a.data)})
}

// next returns the next packet, as ring.next does.
func (a *aside) next() (*ring, frame, bool) {
	if a.at == len(a.packets) {
		*a = aside{} // long waits are rare: the memory is not kept for the next
		return nil, frame{}, false
	}
	p := &a.packets[a.at]
	a.at++
	f := p.frame
	f.data = a.data[p.start:p.end:p.end]
	return p.ring, f, true
}

// asideEvery is how often the rings are emptied while an answer is waited for. The ring of one of several interfaces may be full after some ten milliseconds.
const asideEvery = 10 * time.Millisecond

// ask returns the answer to a question that may take long: to find the owner of a socket, all processes may have to be looked at. Packets that come
// meanwhile are set aside, up to as much again as half the rings, because those are filled by time and not by bytes (see wantedBlocks).
func (s *Source) ask(question func() *flow.Opening) *flow.Opening {
	answer := make(chan *flow.Opening, 1)
	go func() { answer <- question() }()
	tick := time.NewTicker(asideEvery)
	defer tick.Stop()
	for {
		select {
		case o := <-answer:
			return o
		case <-tick.C:
			for _, r := range s.rings {
				for s.aside.bytes() < s.o.BufferBytes/2 {
					f, ok := r.next()
					if !ok {
						break
					}
					s.aside.add(r, f)
				}
			}
		}
	}
}
