package ebpf

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock turns the kernel's monotonic times into wall-clock times.
type clock struct {
	offset   int64 // wall clock minus CLOCK_MONOTONIC, in nanoseconds
	measured int64 // when, by CLOCK_MONOTONIC; 0 if it is to be measured anew
}

// resync is how old the offset may be, in nanoseconds, while events come without a pause.
const resync = int64(100 * time.Millisecond)

// sync measures the offset.
func (c *clock) sync() {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return
	}
	c.measured = ts.Nano()
	c.offset = time.Now().UnixNano() - c.measured
}

// expire has the offset measured for the next event, because it will be waited for: CLOCK_MONOTONIC stands still while the host sleeps, and so cannot
// tell how old the offset is then.
func (c *clock) expire() { c.measured = 0 }

// follow measures the offset for an event that was just read, if it is to be measured anew or is old.
func (c *clock) follow(mono uint64) {
	if c.measured == 0 || int64(mono)-c.measured > resync {
		c.sync()
	}
}

// wall is a monotonic time as nanoseconds since the Unix epoch.
func (c *clock) wall(mono uint64) int64 { return int64(mono) + c.offset }
