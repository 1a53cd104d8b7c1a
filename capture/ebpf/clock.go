package ebpf

import (
	"time"

	"github.com/dynwatch/dynwatch/bpf"
)

// clock knows when its offset is to be measured anew.
type clock struct {
	bpf.Clock
	measured uint64 // when, by CLOCK_MONOTONIC; 0 if it is to be measured anew
}

// resync is how old the offset may be, in nanoseconds, while events come without a pause.
const resync = int64(100 * time.Millisecond)

// expire has the offset measured for the next event, because it will be waited for: see bpf.Clock.
func (c *clock) expire() { c.measured = 0 }

// follow measures the offset for an event that was just read, if it is to be measured anew or is old.
func (c *clock) follow(mono uint64) {
	if c.measured == 0 || int64(mono-c.measured) > resync {
		c.measured = c.Sync()
	}
}
