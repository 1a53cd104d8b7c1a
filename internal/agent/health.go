package agent

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// How long the loop may take to come round before the agent is not well. It comes round ten times a second; reading a large list of
// addresses, or a host that swaps, takes longer.
const stuckAfter = 30 * time.Second

// health is what /livez and /readyz tell.
type health struct {
	now func() time.Time

	mu    sync.Mutex
	beat  time.Time // guarded by mu, as all below
	kind  string    // of the source that is attached, "" without one
	why   string    // there is none
	note  string    // how library probes stand
	lacks string    // what of them is missing for the agent to be ready
	ended bool
}

func newHealth(now func() time.Time) *health {
	return &health{now: now, beat: now(), why: "no source was opened yet"}
}

// beats tells that the loop came round.
func (h *health) beats(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beat = at
}

func (h *health) attached(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kind, h.why = kind, ""
}

func (h *health) detached(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kind, h.why = "", why
}

// probing tells how library probes stand.
func (h *health) probing(note, lacks string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note, h.lacks = note, lacks
}

func (h *health) ending() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
}

// live returns why the process should be started anew, "" if it should not.
func (h *health) live() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if silent := h.now().Sub(h.beat); silent > stuckAfter && !h.ended {
		return fmt.Sprintf("the loop has not come round for %v", silent.Truncate(time.Second))
	}
	return ""
}

// ready returns why the agent does not watch, "" if it does.
func (h *health) ready() string {
	if why := h.live(); why != "" {
		return why
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return "the agent is ending"
	case h.kind == "":
		return "no source is attached: " + h.why
	}
	return h.lacks
}

// notes are what there is to say of an agent that is ready.
func (h *health) notes() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.note
}

// answer is a handler that gives 200, ok and what notes say, or 503 and why not.
func answer(check, notes func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if why := check(); why != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, why)
			return
		}
		fmt.Fprintln(w, "ok")
		if text := notes(); text != "" {
			fmt.Fprintln(w, text)
		}
	})
}
