package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// useColour decides on colours: asked for, or on a terminal that does not say no (https://no-color.org).
func useColour(when string, w io.Writer) bool {
	switch when {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// minProgress is the smallest input that is worth a progress bar, in bytes: less is done before anybody could read it.
const minProgress = 64 << 20

// newProgress returns a function that draws a progress bar on a terminal, or nil where there is none.
func newProgress(w io.Writer) func(read, total int64) {
	if !isTerminal(w) {
		return nil
	}
	start, last := time.Now(), time.Time{}
	return func(read, total int64) {
		if total < minProgress {
			return
		}
		now := time.Now()
		done := read >= total
		if !done && now.Sub(last) < 100*time.Millisecond {
			return
		}
		last = now
		if done {
			fmt.Fprintf(w, "\r\x1b[K")
			return
		}
		fmt.Fprintf(w, "\r\x1b[K%s", progressLine(read, total, now.Sub(start)))
	}
}

func progressLine(read, total int64, took time.Duration) string {
	const width = 30
	full := int(width * read / total)
	rate := float64(read) / max(took.Seconds(), 1e-3)
	left := time.Duration(float64(total-read) / max(rate, 1) * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("[%s%s] %3d %% %4.0f MB/s, %v left", strings.Repeat("=", full), strings.Repeat(" ", width-full), 100*read/total, rate/1e6, left)
}
