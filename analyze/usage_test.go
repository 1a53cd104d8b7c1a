package analyze

import (
	"testing"

	"github.com/dynwatch/dynwatch/internal/flow"
)

func TestUsageFollowsWhatIsHeld(t *testing.T) {
	d := handshake{max: 0x303}.dialogue(t)
	r := newRun(t, live(new([]string)))
	if got := r.Usage(); got != (Usage{}) {
		t.Fatalf("before the first packet: %+v", got)
	}
	w := newWire(clientAddr, dynamodbAddr).open().say(d[:2], 0)
	r.feedOpen(w.segs)
	if got := r.Usage(); got.Flows != 1 || got.Reading != 1 || got.Memory < connSize || got.Buffered != 0 {
		t.Errorf("in a handshake: %+v", got)
	}
	later := *w.add(0, flow.ACK, w.seq[0]+100, "bytes behind a hole")
	r.Segment(&later)
	if got := r.Usage(); got.Buffered == 0 {
		t.Errorf("with a hole: %+v", got)
	}
	r.Flush()
	if got := r.Usage(); got.Flows != 0 || got.Reading != 0 || got.Buffered != 0 {
		t.Errorf("at the end: %+v", got)
	}
}
