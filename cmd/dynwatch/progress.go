package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// minProgress is the smallest input that is worth a progress bar, in bytes: less is done before anybody could read it.
const minProgress = 64 << 20

// redraw is how often the bar is drawn at most.
const redraw = 100 * time.Millisecond

// progress draws a bar in the last line of a terminal. A nil one draws nothing.
type progress struct {
	w           io.Writer
	now         func() time.Time
	start, last time.Time
	drawn       bool
}

// newProgress returns a bar on w, nil where w is no terminal.
func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return nil
	}
	return &progress{w: w, now: time.Now, start: time.Now()}
}

// update tells how many bytes of how many were read; a total of 0 is unknown.
func (p *progress) update(read, total int64) {
	if p == nil || total < minProgress {
		return
	}
	now := p.now()
	if now.Sub(p.last) < redraw {
		return
	}
	p.last, p.drawn = now, true
	fmt.Fprintf(p.w, "\r\x1b[K%s", progressLine(min(read, total), total, now.Sub(p.start)))
}

// clear takes the bar away, so that something else can be written where it stands.
func (p *progress) clear() {
	if p != nil && p.drawn {
		p.drawn = false
		io.WriteString(p.w, "\r\x1b[K")
	}
}

// progressLine is the bar: less than 80 characters.
func progressLine(read, total int64, took time.Duration) string {
	const width = 30
	share := float64(read) / float64(total)
	full := int(width * share)
	rate := float64(read) / max(took.Seconds(), 1e-3)
	left := "?"
	if read > 0 {
		left = time.Duration(float64(total-read) / rate * float64(time.Second)).Round(time.Second).String()
	}
	return fmt.Sprintf("[%s%s] %3.0f %%, %.0f MB/s, %s left", strings.Repeat("=", full), strings.Repeat(" ", width-full), 100*share, rate/1e6, left)
}

// aboveBar is a writer to the terminal on which a bar is drawn. What is written must end with a line.
type aboveBar struct {
	w   io.Writer
	bar *progress
}

func (a aboveBar) Write(b []byte) (int, error) {
	a.bar.clear()
	return a.w.Write(b)
}
