package ebpf

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock turns the kernel's monotonic times into wall-clock times.
type clock struct {
	offset int64 // wall clock minus CLOCK_MONOTONIC, in nanoseconds
	synced time.Time
}

// resync is how often the offset is measured: often enough to follow a clock that is being set.
const resync = time.Second

// sync measures the offset, if it is time to.
func (c *clock) sync() {
	now := time.Now()
	if !c.synced.IsZero() && now.Sub(c.synced) < resync {
		return
	}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return
	}
	c.offset = time.Now().UnixNano() - ts.Nano()
	c.synced = now
}

// wall is a monotonic time as nanoseconds since the Unix epoch.
func (c *clock) wall(mono uint64) int64 { return int64(mono) + c.offset }
