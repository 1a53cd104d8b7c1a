package main

import (
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxAnswers is how many DNS answers wait for the sessions that began before them. A flow that lasts as long as the capture makes all wait.
const maxAnswers = 4096

// answerOrder puts DNS answers among the sessions where their time places them: the analysis tells an answer at once, and a session only at
// its end. A nil one holds nothing.
type answerOrder struct {
	put     func(*session.DNS)
	waiting []*session.DNS // in the order of the capture
}

func (o *answerOrder) add(d *session.DNS) {
	if len(o.waiting) == maxAnswers {
		o.put(o.waiting[0])
		o.waiting = append(o.waiting[:0], o.waiting[1:]...)
	}
	o.waiting = append(o.waiting, d)
}

// before puts out the answers from before a time.
func (o *answerOrder) before(t time.Time) {
	if o == nil {
		return
	}
	n := 0
	for n < len(o.waiting) && o.waiting[n].Time.Before(t) {
		o.put(o.waiting[n])
		n++
	}
	o.waiting = append(o.waiting[:0], o.waiting[n:]...)
}

// rest puts out all that wait.
func (o *answerOrder) rest() {
	if o == nil {
		return
	}
	for _, d := range o.waiting {
		o.put(d)
	}
	o.waiting = nil
}
