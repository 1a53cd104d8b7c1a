package alert

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestMain is also the process that TestKilledWhileFindingsArrive kills.
func TestMain(m *testing.M) {
	if path := os.Getenv("ALERTS_TO_KILL"); path != "" {
		if err := alertUntilKilled(path, os.Getenv("ALERTS_TO"), os.Getenv("ALERTS_ROUND")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// alertUntilKilled makes findings, each of a kind of its own, and tells of each that it is taken over. Without a round it only sends what waits, and ends
// when nothing does.
func alertUntilKilled(path, to, round string) error {
	hook, err := NewWebhook(WebhookOptions{URL: to})
	if err != nil {
		return err
	}
	// Findings come faster than a receiver that flaps takes them: the queue must hold those of all rounds, and none
	// may be folded away.
	m, err := Open(Options{Path: path, Sinks: sink(hook), Window: 2 * time.Second, Burst: 1 << 30, MaxQueued: 1 << 20, MaxBytes: 1 << 30, MaxKinds: 1 << 20})
	if err != nil {
		return err
	}
	if st := m.Stats(); st.DamagedRecords > 0 {
		return fmt.Errorf("%d damaged records", st.DamagedRecords)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	if round == "" {
		for m.Stats().Queued > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		return <-done
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d", round, i)
		m.Add(weak(id))
		if i%3 == 0 { // others come in between
			continue
		}
		if err := m.Sync(); err != nil {
			return err
		}
		if st := m.Stats(); st.Limited+st.Folded+st.Dropped > 0 {
			return fmt.Errorf("not every finding is an alert: %+v", st)
		}
		fmt.Println(i)
	}
}

// flapping is a receiver that is away now and then, in one way or another, and counts what it took by endpoint.
type flapping struct {
	mu  sync.Mutex
	got map[string]int
	up  bool // it stays
}

func (f *flapping) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.mu.Lock(); !f.up {
		f.mu.Unlock()
		switch time.Now().UnixMilli() / 40 % 25 {
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 11:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		case 19:
			panic(http.ErrAbortHandler) // the connection breaks
		}
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	var a Alert
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil || a.Count != 1 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	f.got[a.Endpoint]++
}

// TestKilledWhileFindingsArrive kills a process at random points while findings arrive and the receiver comes and goes. Every finding that the
// process had taken over arrives, and fewer than one in a hundred twice. DYNWATCH_CHAOS_ROUNDS says how many times (make soak: 100).
func TestKilledWhileFindingsArrive(t *testing.T) {
	rounds := 20
	if s := os.Getenv("DYNWATCH_CHAOS_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		rounds = n
	}
	receiver := &flapping{got: make(map[string]int)}
	srv := httptest.NewServer(receiver)
	defer srv.Close()
	path := filepath.Join(t.TempDir(), FileName)
	process := func(round string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ALERTS_TO_KILL="+path, "ALERTS_TO="+srv.URL, "ALERTS_ROUND="+round)
		cmd.Stderr = os.Stderr
		return cmd
	}
	taken := make(map[string]bool)
	for round := range rounds {
		cmd := process(strconv.Itoa(round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killAt := 60 + rand.IntN(120)
		in := bufio.NewScanner(out)
		for n := 0; in.Scan(); n++ {
			i, err := strconv.Atoi(in.Text())
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			for ; i >= 0 && !taken[fmt.Sprintf("%d-%d", round, i)]; i-- { // a Sync covers all before it
				taken[fmt.Sprintf("%d-%d", round, i)] = true
			}
			if n == killAt {
				time.Sleep(time.Duration(rand.IntN(int(5 * time.Millisecond))))
				_ = cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("round %d: it ended by itself: %v", round, err)
		}
	}
	receiver.mu.Lock()
	receiver.up = true
	receiver.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	last := process("")
	if err := last.Start(); err != nil {
		t.Fatal(err)
	}
	defer context.AfterFunc(ctx, func() { _ = last.Process.Kill() })()
	if err := last.Wait(); err != nil {
		t.Fatalf("the last process did not send all: %v", err)
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	lost, twice := 0, 0
	for id := range taken {
		if receiver.got[id] == 0 {
			lost++
		}
	}
	for _, n := range receiver.got {
		twice += n - 1
	}
	t.Logf("%d kills, %d findings taken over, %d arrived, %d a second time (%.2f %%)", rounds, len(taken), len(receiver.got), twice, 100*float64(twice)/float64(len(receiver.got)))
	if lost > 0 {
		t.Errorf("%d findings did not arrive", lost)
	}
	if len(taken) < 100*rounds {
		t.Errorf("only %d findings: the test says little", len(taken))
	}
	if twice*100 >= len(receiver.got) {
		t.Errorf("%d of %d arrived twice", twice, len(receiver.got))
	}
}
