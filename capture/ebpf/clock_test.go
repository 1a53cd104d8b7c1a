package ebpf

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// asleep is for how long a host slept: the wall clock went on, CLOCK_MONOTONIC did not.
const asleep = 8 * time.Hour

func TestTheOffsetOfTheClocksIsMeasuredWhereItMayHaveChanged(t *testing.T) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	now := uint64(ts.Nano())
	for name, test := range map[string]struct {
		mono   uint64
		waited bool
		want   bool // measured
	}{
		"right after the last":            {now, false, false},
		"right after a wait":              {now, true, true},
		"while events come without pause": {now + 2*uint64(resync), false, true},
		"an event from before the last":   {now - uint64(time.Second), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var c clock
			c.Sync()
			c.measured = uint64(now)
			c.Offset -= int64(asleep)
			if test.waited {
				c.expire()
			}
			c.follow(test.mono)
			if behind := time.Since(time.Unix(0, c.Wall(now))); (behind < time.Hour) != test.want {
				t.Errorf("it is %v behind", behind.Round(time.Second))
			}
		})
	}
}

func TestSegmentsAreDatedByTheClockAfterAHostSlept(t *testing.T) {
	ln, addr := listen(t, "127.0.7.36:0")
	s := open(t, Options{Prefixes: prefixes("127.0.7.36/32")})
	c, p := connect(t, ln)
	next := func() (n int) {
		t.Helper()
		var seg flow.Segment
		for s.Next(&seg) == nil { // until nothing comes for a moment
			if seg.Dst() != addr && seg.Src() != addr {
				continue
			}
			if n++; time.Since(time.Unix(0, seg.Time)).Abs() > time.Minute {
				t.Errorf("%v > %v is dated %v", seg.Src(), seg.Dst(), time.Unix(0, seg.Time))
			}
		}
		return n
	}
	transfer(t, c, p, []byte("in the evening"))
	if next() == 0 {
		t.Fatal("nothing was seen")
	}
	s.clock.Offset -= int64(asleep) // what was measured before
	transfer(t, c, p, []byte("in the morning"))
	if next() == 0 {
		t.Error("nothing was seen in the end")
	}
}
