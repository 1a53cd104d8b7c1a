package bpf

import (
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the time of the kernel's events (CLOCK_MONOTONIC, bpf_ktime_get_ns), in nanoseconds. It stands still while the host sleeps.
func Monotonic() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // which every Linux has
	return uint64(ts.Nano())
}

// Clock turns times of events into wall-clock times.
type Clock struct {
	Offset int64 // wall clock minus CLOCK_MONOTONIC, in nanoseconds
}

// Sync measures the offset, and returns when, by CLOCK_MONOTONIC. It changes where the wall clock is set and while the host sleeps: there
// CLOCK_MONOTONIC stands still, so it cannot tell how long ago the last time was.
func (c *Clock) Sync() uint64 {
	now := Monotonic()
	c.Offset = time.Now().UnixNano() - int64(now)
	return now
}

// Wall is the time of an event as nanoseconds since the Unix epoch.
func (c *Clock) Wall(ns uint64) int64 { return int64(ns) + c.Offset }
