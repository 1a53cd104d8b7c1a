package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// kind is what a conversation has to come out as.
func (c *conversation) kind() string { return c.version + " " + c.verdict }

// loss plays handshakes at a rate beside connections of others.
func loss(o *options, rec *recordings) error {
	w, err := watch(o, rec)
	if err != nil {
		return err
	}
	var (
		wg            sync.WaitGroup
		others        int
		othersIn      time.Duration
		othersErr     error
		played        = map[string]int{}
		ours, foreign *player
	)
	if ours, err = newPlayer(tracked); err != nil {
		return err
	}
	defer ours.close()
	if foreign, err = newPlayer(untracked); err != nil {
		return err
	}
	defer foreign.close()
	wg.Go(func() {
		others, othersIn, othersErr = pace(o.untracked, o.duration, func(int) error { return foreign.other() })
	})
	n, in, err := pace(o.tracked, o.duration, func(i int) error {
		c := &rec.all[i%len(rec.all)]
		played[c.kind()]++
		return ours.whole(c)
	})
	wg.Wait()
	if err != nil {
		return err
	}
	if othersErr != nil {
		return othersErr
	}
	e, missing, err := w.finish(played)
	if err != nil {
		return err
	}
	_, counters := e.lost()
	slices.Sort(counters)
	fmt.Printf("loss: %d handshakes, %.0f a second (asked for: %d), beside %d connections of others, %.0f a second (asked for: %d)\n",
		n, float64(n)/in.Seconds(), o.tracked, others, float64(others)/othersIn.Seconds(), o.untracked)
	fmt.Printf("      not seen whole: %d; counters of loss: %s\n", missing, or(strings.Join(counters, ", "), "all 0"))
	fmt.Printf("      dynwatch took %.0f us of processor time a handshake, peak RSS %.1f MiB\n", e.cpu.Seconds()/float64(n)*1e6, e.peak)
	return nil
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// latency plays handshakes at a moderate rate and compares when they were complete with when their line came.
func latency(o *options, rec *recordings) error {
	w, err := watch(o, rec)
	if err != nil {
		return err
	}
	p, err := newPlayer(tracked)
	if err != nil {
		return err
	}
	defer p.close()
	sent := map[int][]time.Time{} // by port
	p.finished = func(port int, at time.Time) { sent[port] = append(sent[port], at) }
	played := map[string]int{}
	n, in, err := pace(o.paced, o.duration, func(i int) error {
		c := &rec.all[i%len(rec.all)]
		played[c.kind()]++
		return p.whole(c)
	})
	if err != nil {
		return err
	}
	e, missing, err := w.finish(played)
	if err != nil {
		return err
	}
	var took []time.Duration
	for i := range e.sessions {
		l := &e.sessions[i]
		at := sent[l.Flow.ClientPort]
		// Lines of a port come in the order of its connections, unless some are missing.
		if len(at) == 0 {
			return fmt.Errorf("a session from port %d, from which nothing was played", l.Flow.ClientPort)
		}
		if missing == 0 {
			took = append(took, l.at.Sub(at[0]))
			sent[l.Flow.ClientPort] = at[1:]
		}
	}
	fmt.Printf("latency: %d handshakes, %.0f a second (asked for: %d), not seen whole: %d\n", n, float64(n)/in.Seconds(), o.paced, missing)
	if missing == 0 {
		slices.Sort(took)
		at := func(q float64) float64 { return took[int(q*float64(len(took)-1)+0.5)].Seconds() * 1e3 }
		fmt.Printf("      from its last byte to its line: median %.2f ms, p90 %.2f, p99 %.2f, p99.9 %.2f, longest %.2f\n", at(0.5), at(0.9), at(0.99), at(0.999), at(1))
	}
	fmt.Printf("      dynwatch took %.0f us of processor time a handshake\n", e.cpu.Seconds()/float64(n)*1e6)
	return nil
}

// memory opens connections, each with its handshake and one request, and leaves them open.
func memory(o *options, rec *recordings) error {
	k, err := startKeeper()
	if err != nil {
		return err
	}
	defer k.end()
	w, err := watch(o, rec)
	if err != nil {
		return err
	}
	before, err := w.status("VmRSS")
	if err != nil {
		return err
	}
	p, err := newPlayer(tracked)
	if err != nil {
		return err
	}
	defer p.close()
	var open []int
	played := map[string]int{}
	for i := range o.open {
		c := &rec.all[i%len(rec.all)]
		played[c.kind()]++
		client, server, err := p.open()
		if err != nil {
			return err
		}
		if err := p.play(client, server, c, 0, len(c.messages)-1); err != nil { // all but the client's closing
			return err
		}
		if err := k.keep(server); err != nil {
			return err
		}
		open = append(open, client)
		if i%10 == 9 {
			time.Sleep(5 * time.Millisecond) // 2,000 a second: this measures no rate
		}
	}
	w.settle()
	with, err := w.status("VmRSS")
	if err != nil {
		return err
	}
	for _, client := range open {
		if err := p.end(client); err != nil {
			return err
		}
	}
	e, missing, err := w.finish(played)
	if err != nil {
		return err
	}
	fmt.Printf("memory: RSS %.1f MiB with %d connections open, %.1f MiB before, peak %.1f MiB; not seen whole: %d\n", with, o.open, before, e.peak, missing)
	return nil
}
