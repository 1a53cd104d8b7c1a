package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestProgressLine(t *testing.T) {
	const mb = 1_000_000
	for _, tt := range []struct {
		read, total int64
		took        time.Duration
		want        string
	}{
		{0, 1000 * mb, 0, "[                              ]   0 %, 0 MB/s, ? left"},
		{250 * mb, 1000 * mb, time.Second, "[=======                       ]  25 %, 250 MB/s, 3s left"},
		{500 * mb, 1000 * mb, 100 * time.Second, "[===============               ]  50 %, 5 MB/s, 1m40s left"},
		{1000 * mb, 1000 * mb, 2 * time.Second, "[==============================] 100 %, 500 MB/s, 0s left"},
	} {
		if got := progressLine(tt.read, tt.total, tt.took); got != tt.want {
			t.Errorf("%d of %d: %q, want %q", tt.read, tt.total, got, tt.want)
		}
	}
	if n := utf8.RuneCountInString(progressLine(1, 1<<62, time.Hour)); n >= 80 {
		t.Errorf("the bar of a huge file has %d columns", n)
	}
}

func TestProgressDrawsSeldomAndMakesRoom(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{w: &b, now: func() time.Time { return now }, start: now, last: now.Add(-time.Hour)}
	p.update(1, minProgress-1)
	if b.Len() != 0 {
		t.Errorf("a small file has a bar: %q", &b)
	}
	p.update(1, 0)
	if b.Len() != 0 {
		t.Errorf("a pipe has a bar: %q", &b)
	}
	for range 100 {
		p.update(1<<20, 1<<30)
	}
	if n := strings.Count(b.String(), "MB/s"); n != 1 {
		t.Errorf("drawn %d times at the same time", n)
	}
	now = now.Add(redraw)
	p.update(2<<20, 1<<30)
	if n := strings.Count(b.String(), "MB/s"); n != 2 {
		t.Errorf("drawn %d times, want another one after a while", n)
	}
	b.Reset()
	w := aboveBar{&b, p}
	fmt.Fprint(w, "line\n")
	fmt.Fprint(w, "line\n")
	if got := b.String(); got != "\r\x1b[Kline\nline\n" {
		t.Errorf("a line over the bar is %q", got)
	}
	b.Reset()
	p.clear()
	if b.Len() != 0 {
		t.Errorf("nothing is drawn, and yet cleared: %q", &b)
	}
	var none *progress
	none.update(1<<29, 1<<30)
	none.clear()
	if newProgress(io.Discard) != nil {
		t.Error("a bar where there is no terminal")
	}
}

func TestAnswersStandAmongSessions(t *testing.T) {
	var order []string
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	o := &answerOrder{put: func(d *session.DNS) { order = append(order, d.Question) }}
	o.add(&session.DNS{Time: at(1), Question: "one"})
	o.add(&session.DNS{Time: at(5), Question: "five"})
	o.before(at(1))
	o.before(at(2))
	o.before(at(5))
	if got := strings.Join(order, " "); got != "one" {
		t.Errorf("before the session of second 5: %s", got)
	}
	o.rest()
	if got := strings.Join(order, " "); got != "one five" {
		t.Errorf("in the end: %s", got)
	}
	order = nil
	for i := range maxAnswers + 2 {
		o.add(&session.DNS{Time: at(i), Question: fmt.Sprint(i)})
	}
	if got := strings.Join(order, " "); got != "0 1" {
		t.Errorf("with more than may wait: %s", got)
	}
	var none *answerOrder
	none.before(at(1))
	none.rest()
}
