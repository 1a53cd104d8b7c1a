package agent

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/live"
)

// TestProbesBeginAndEndWithTheConfiguration: without being asked for there are none, and all of it can change while the agent runs.
func TestProbesBeginAndEndWithTheConfiguration(t *testing.T) {
	var mu sync.Mutex // guards probe
	probe := config.Default().Probe
	j := judge(t)
	read := func() (*Settings, error) {
		mu.Lock()
		defer mu.Unlock()
		c := config.Default()
		c.Probe = probe
		return &Settings{Config: c, Judge: j}, nil
	}
	first, err := read()
	if err != nil {
		t.Fatal(err)
	}
	src, hangup := newFake(), make(chan os.Signal, 1)
	r := start(t, Options{
		Settings: first, Reload: read, Hangup: hangup,
		Open: func(live.Options) (*live.Watch, error) { return &live.Watch{Source: src, Kind: live.EBPF}, nil },
	})
	const begins, ends = "endpoints whose certificate nobody sees are probed", "endpoints are not probed any more"
	reloads := 0
	expect := func(what string, change func(), began, ended int) {
		t.Helper()
		if change != nil {
			mu.Lock()
			change()
			mu.Unlock()
			reloads++
			hangup <- os.Interrupt
		}
		r.await(what, func() bool { return strings.Count(r.log.String(), "a new configuration is in use") == reloads })
		if b, e := strings.Count(r.log.String(), begins), strings.Count(r.log.String(), ends); b != began || e != ended {
			t.Errorf("%s: began %d times, ended %d times", what, b, e)
		}
	}
	r.awaitMetric(`dynwatch_endpoint_probes_total{result="answered"} 0`)
	expect("at the start", nil, 0, 0)
	expect("switched on", func() { probe.Enabled = true }, 1, 0)
	expect("seldom", func() { probe.Every = "2h" }, 1, 0)
	expect("switched off", func() { probe.Enabled = false }, 1, 1)
	expect("switched off again", func() { probe.Every = "3h" }, 1, 1)
	expect("switched on again", func() { probe.Enabled = true }, 2, 1)
	if strings.Contains(r.log.String(), "started anew") {
		t.Error("a new start is asked for")
	}
}
