package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

var testOptions = Options{Kind: "test", Schema: 1, Reserve: 64 << 10, Now: func() time.Time { return time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC) }}

// open opens a journal and returns what it held.
func open(t *testing.T, path string) (*Journal, Recovery, []string) {
	t.Helper()
	var got []string
	j, rec, err := Open(path, testOptions, func(r []byte) error {
		if strings.Contains(string(r), "refuse") {
			return errors.New("refused")
		}
		got = append(got, string(r))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, rec, got
}

func read(t *testing.T, path string) ([]string, Found) {
	t.Helper()
	var got []string
	found, err := Read(path, "test", 1, func(r []byte) error {
		got = append(got, string(r))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, found
}

func add(t *testing.T, j *Journal, records ...string) {
	t.Helper()
	var list [][]byte
	for _, r := range records {
		list = append(list, []byte(r))
	}
	if err := j.Append(Lines(list...)); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsOutliveTheirWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "x.journal")
	j, rec, got := open(t, path)
	if rec != (Recovery{}) || got != nil {
		t.Fatalf("a new journal has %+v %q", rec, got)
	}
	add(t, j, `{"a":1}`, `{"a":2}`)
	add(t, j)
	add(t, j, `{"a":3}`)
	want := []string{`{"a":1}`, `{"a":2}`, `{"a":3}`}
	if got, found := read(t, path); !slices.Equal(got, want) || found.Records != 3 || found.Damaged != 0 {
		t.Errorf("read while it is open: %q %+v", got, found)
	}
	j.Close()
	j, rec, got = open(t, path)
	if !slices.Equal(got, want) || rec.Records != 3 || rec.SetAside != "" {
		t.Errorf("%q %+v", got, rec)
	}
	if err := j.Rewrite(Lines([]byte(`{"b":1}`))); err != nil {
		t.Fatal(err)
	}
	add(t, j, `{"b":2}`)
	if got, _ := read(t, path); !slices.Equal(got, []string{`{"b":1}`, `{"b":2}`}) {
		t.Errorf("after a rewrite: %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != j.Size() || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, size %d", info.Mode(), err, j.Size())
	}
}

func TestRecordsAreLinesOfBoundedLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	j, _, _ := open(t, path)
	if err := j.Append(Lines([]byte("a\nb"))); err == nil {
		t.Error("a record of two lines was taken")
	}
	// A batch with one that cannot be written adds nothing, however much of it was written before.
	long := bytes.Repeat([]byte("y"), 2*step)
	if err := j.Append(Lines(long, long, []byte("a\nb"))); err == nil {
		t.Error("a batch with a record of two lines was taken")
	}
	if err := j.Append(func(yield func([]byte, error) bool) { _ = yield(long, nil) && yield(nil, io.ErrNoProgress) }); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a record that could not be made: %v", err)
	}
	if got, found := read(t, path); len(got) != 0 || found.Damaged != 0 {
		t.Errorf("%d records, %+v", len(got), found)
	}
	longest := strings.Repeat("x", MaxRecord)
	add(t, j, longest, "{}")
	if got, _ := read(t, path); !slices.Equal(got, []string{longest, "{}"}) {
		t.Errorf("%d records", len(got))
	}
	// One that is too long is left out, and what comes with it is not.
	tooLong := longest + "x"
	add(t, j, "[1]", tooLong, "[2]")
	add(t, j, tooLong)
	if got, found := read(t, path); !slices.Equal(got, []string{longest, "{}", "[1]", "[2]"}) || found.Damaged != 0 || j.TooLong() != 2 {
		t.Errorf("%d records, %+v, %d too long", len(got), found, j.TooLong())
	}
	if err := j.Rewrite(Lines([]byte("[1]"), []byte(tooLong), []byte("[2]"))); err != nil {
		t.Error(err)
	}
	if got, found := read(t, path); !slices.Equal(got, []string{"[1]", "[2]"}) || found.Damaged != 0 || j.TooLong() != 3 {
		t.Errorf("after a rewrite: %d records, %+v, %d too long", len(got), found, j.TooLong())
	}
}

func TestOneProcessWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	j, _, _ := open(t, path)
	if _, _, err := Open(path, testOptions, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("a second writer: %v", err)
	}
	j.Close()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if err := j.Append(Lines([]byte("{}"))); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append after Close: %v", err)
	}
	open(t, path)
}

// Whatever the length at which the file was cut, all whole records stand and nothing is set aside.
func TestATornEndIsCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	j, _, _ := open(t, path)
	add(t, j, `{"a":1}`)
	whole := j.Size()
	add(t, j, `{"a":2}`)
	j.Close()
	data, _ := os.ReadFile(path)
	for cut := whole; cut < int64(len(data)); cut++ {
		for _, tail := range [][]byte{nil, make([]byte, 40)} {
			at := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(at, append(bytes.Clone(data[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, found := read(t, at); !slices.Equal(got, []string{`{"a":1}`}) || found.Damaged != 0 {
				t.Fatalf("cut at %d: a reader sees %q %+v", cut, got, found)
			}
			j, rec, got := open(t, at)
			if !slices.Equal(got, []string{`{"a":1}`}) || rec.SetAside != "" || rec.TornBytes != cut-whole+int64(len(tail)) {
				t.Fatalf("cut at %d: %q %+v", cut, got, rec)
			}
			add(t, j, `{"a":3}`)
			if got, _ := read(t, at); !slices.Equal(got, []string{`{"a":1}`, `{"a":3}`}) {
				t.Fatalf("cut at %d, then: %q", cut, got)
			}
			j.Close()
		}
	}
}

// Any change of a byte costs the record that it is in, is said, and the damaged file is kept.
func TestDamageIsSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	j, _, _ := open(t, path)
	for i := range 20 {
		add(t, j, fmt.Sprintf(`{"a":%d}`, i+100))
	}
	j.Close()
	good, _ := os.ReadFile(path)
	last := int64(bytes.LastIndexByte(good[:len(good)-1], '\n'))
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		data := bytes.Clone(good)
		at := r.Int64N(last)
		data[at] ^= byte(1 << r.IntN(8))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		j, rec, got := open(t, path)
		if len(got) < 18 || rec.Damaged == 0 || rec.SetAside == "" || rec.Reason == "" {
			t.Fatalf("round %d, byte %d: %d records, %+v", round, at, len(got), rec)
		}
		if kept, err := os.ReadFile(rec.SetAside); err != nil || !bytes.Equal(kept, data) {
			t.Fatalf("round %d: the damaged file is not kept: %v", round, err)
		}
		j.Close()
		j, rec, again := open(t, path)
		if rec.SetAside != "" || !slices.Equal(again, got) {
			t.Fatalf("round %d: opened again: %+v, %d records of %d", round, rec, len(again), len(got))
		}
		j.Close()
	}
	if kept, _ := filepath.Glob(path + ".damaged-*"); len(kept) > keepAside+1 {
		t.Errorf("%d damaged files are kept", len(kept))
	}
}

func TestWhatIsNoJournalIsSetAside(t *testing.T) {
	long := append([]byte(nil), appendLine(nil, []byte(`{"journal":"test","schema":1}`))...)
	long = append(long, bytes.Repeat([]byte("x"), 3*MaxRecord)...)
	long = appendLine(append(long, '\n'), []byte(`{"a":1}`))
	for name, tt := range map[string]struct {
		data   []byte
		reason string
		got    []string
	}{
		"text":             {[]byte("hello\nworld\n"), "cannot be read", nil},
		"zeros":            {make([]byte, 5000), "cannot be read", nil},
		"another kind":     {appendLine(nil, []byte(`{"journal":"other","schema":1}`)), `"other"`, nil},
		"a newer schema":   {appendLine(appendLine(nil, []byte(`{"journal":"test","schema":2}`)), []byte(`{"a":1}`)), "schema 2", nil},
		"a lost header":    {appendLine(nil, []byte(`{"a":1}`)), "1 of 2", []string{`{"a":1}`}},
		"a refused record": {appendLine(appendLine(appendLine(nil, []byte(`{"journal":"test","schema":1}`)), []byte(`{"refuse":1}`)), []byte(`{"a":1}`)), "1 of 2", []string{`{"a":1}`}},
		"a line too long":  {long, "1 of 2", []string{`{"a":1}`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(path, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			j, rec, got := open(t, path)
			if rec.SetAside == "" || !strings.Contains(rec.Reason, tt.reason) || !slices.Equal(got, tt.got) {
				t.Errorf("%+v %q", rec, got)
			}
			add(t, j, `{"a":2}`)
			j.Close()
			if _, rec, got := open(t, path); rec.SetAside != "" || !slices.Equal(got, append(tt.got, `{"a":2}`)) {
				t.Errorf("then %+v %q", rec, got)
			}
		})
	}
}

func TestReadersNeedTheRightKind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	open(t, path)
	var foreign *ForeignError
	if _, err := Read(path, "test", 2, nil); !errors.As(err, &foreign) || foreign.Schema != 1 {
		t.Errorf("%v", err)
	}
	if _, err := Read(path+"no", "test", 1, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestAFullDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, 1<<20)
	path := filepath.Join(dir, "x")
	j, _, _ := open(t, path)
	record := `{"a":"` + strings.Repeat("x", 1000) + `"}`
	add(t, j, record)
	full := testenv.FillDisk(t, dir)
	var appended int
	var err error
	for err == nil && appended < 10_000 {
		if err = j.Append(Lines([]byte(record))); err == nil {
			appended++
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("after %d appends: %v", appended, err)
	}
	if appended < 30 {
		t.Errorf("the reserve lasted for %d appends", appended)
	}
	if err := j.Rewrite(Lines([]byte(record), bytes.Repeat([]byte("9"), MaxRecord-10))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("rewrite on a full disk: %v", err)
	}
	if got, found := read(t, path); len(got) != appended+1 || found.Damaged != 0 {
		t.Errorf("%d records, want %d, %+v", len(got), appended+1, found)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	add(t, j, record)
	j.Close()
	if _, rec, got := open(t, path); len(got) != appended+2 || rec.SetAside != "" || rec.TornBytes != 0 {
		t.Errorf("%d records, want %d, %+v", len(got), appended+2, rec)
	}
}

// A reader in its loop never sees a record that was not written, nor misses one that stood in the file before it began.
func TestReadingWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	j, _, _ := open(t, path)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		high := 0
		for {
			select {
			case <-stop:
				return
			default:
			}
			n := 0
			found, err := Read(path, "test", 1, func(r []byte) error {
				fmt.Sscanf(string(r), `{"n":%d}`, &n)
				return nil
			})
			if err != nil || found.Damaged != 0 || n < high {
				done <- fmt.Errorf("%+v, %v, %d after %d", found, err, n, high)
				return
			}
			high = n
		}
	}()
	for i := range 2000 {
		add(t, j, fmt.Sprintf(`{"n":%d}`, i+1))
		if i%100 == 99 {
			if err := j.Rewrite(Lines(fmt.Appendf(nil, `{"n":%d}`, i+1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestMain is also the process that TestKilledWhileWriting kills.
func TestMain(m *testing.M) {
	if path := os.Getenv("JOURNAL_TO_WRITE"); path != "" {
		writeForEver(path)
	}
	os.Exit(m.Run())
}

// writeForEver appends counted records, tells of each that it is on the disk, and rewrites the journal now and then.
func writeForEver(path string) {
	n := 0
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	j, rec, err := Open(path, testOptions, func(r []byte) error {
		_, err := fmt.Sscanf(string(r), `{"n":%d}`, &n)
		return err
	})
	check(err)
	if rec.SetAside != "" {
		check(errors.New(rec.Reason))
	}
	for {
		n++
		check(j.Append(Lines(fmt.Appendf(nil, `{"n":%d}`, n))))
		fmt.Println(n)
		if n%50 == 0 {
			check(j.Rewrite(Lines(fmt.Appendf(nil, `{"n":%d}`, n))))
		}
	}
}

func TestKilledWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	acknowledged := 0
	for round := range 20 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "JOURNAL_TO_WRITE="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Killed in the middle of whatever it does once it has told so many.
		for range 1 + rand.IntN(150) {
			n := 0
			if _, err := fmt.Fscanln(out, &n); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			acknowledged = n
		}
		_ = cmd.Process.Kill()
		for {
			n := 0
			if _, err := fmt.Fscanln(out, &n); err != nil {
				break
			}
			acknowledged = n
		}
		_ = cmd.Wait()
		got, found := read(t, path)
		last := 0
		fmt.Sscanf(got[len(got)-1], `{"n":%d}`, &last)
		if last < acknowledged || found.Damaged != 0 {
			t.Fatalf("round %d: %d is the last, %d was acknowledged, %+v", round, last, acknowledged, found)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("hello\n"))
	f.Add(appendLine(appendLine(nil, []byte(`{"journal":"test","schema":1}`)), []byte(`{"a":1}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		got, err := scan(bytes.NewReader(data), "test", 1, func(r []byte) error {
			if len(r) > MaxRecord {
				t.Fatal("a record beyond the limit")
			}
			n++
			return nil
		})
		if got.Records != n || got.end+got.torn > int64(len(data)) || err == nil && got.torn > 0 && got.end+got.torn != int64(len(data)) {
			t.Fatalf("%+v for %d bytes, %d records, %v", got, len(data), n, err)
		}
		// A good line behind anything is found.
		more := appendLine(append(bytes.Clone(data), '\n'), []byte(`{"z":1}`))
		found := false
		_, err = scan(bytes.NewReader(more), "test", 1, func(r []byte) error {
			found = string(r) == `{"z":1}`
			return nil
		})
		if err == nil && !found {
			t.Fatal("a good line was not read")
		}
	})
}

func TestValuesAreEncodedOneAfterAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	j, _, _ := open(t, path)
	if err := j.Append(Encode(slices.Values([]any{map[string]int{"a": 1}, "<two>", []int{3}}))); err != nil {
		t.Fatal(err)
	}
	if got, _ := read(t, path); !slices.Equal(got, []string{`{"a":1}`, `"<two>"`, `[3]`}) {
		t.Errorf("%q", got)
	}
	if err := j.Append(Encode(slices.Values([]any{1, make(chan int), 2}))); err == nil {
		t.Error("a value without JSON was taken")
	}
	if got, _ := read(t, path); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

// Appends come every second, most of them with little or nothing.
func TestASmallAppendTakesLittleMemory(t *testing.T) {
	j, _, _ := open(t, filepath.Join(t.TempDir(), "x"))
	for name, records := range map[string]Records{"nothing": Lines(), "a record": Lines([]byte(`{"a":1}`)), "no value": Encode(slices.Values([]int(nil)))} {
		const n = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			if err := j.Append(records); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 4<<10 {
			t.Errorf("%s: %d bytes each", name, each)
		}
	}
}

// Whatever a text has in it, it is one line in the journal, and the same when it is read.
func TestTextsAreReadAsTheyWere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	j, _, _ := open(t, path)
	texts := []string{"<a href=\"x\">&amp;</a>", "two\nlines\r\n", "\u2028\u2029", "\x00\x1b\\", "\U0001f600é"}
	type value struct {
		Text string
		Raw  json.RawMessage
	}
	var values []value
	for _, s := range texts {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		// An object as another encoder may write it.
		values = append(values, value{s, fmt.Appendf(nil, "{\n\t\"html\": \"<&>\", \"text\": %s\n}", b)})
	}
	if err := j.Append(Encode(slices.Values(values))); err != nil {
		t.Fatal(err)
	}
	got, found := read(t, path)
	if len(got) != len(texts) || found.Damaged != 0 {
		t.Fatalf("%d records, %+v", len(got), found)
	}
	for i, r := range got {
		var v value
		var raw struct{ HTML, Text string }
		if err := errors.Join(json.Unmarshal([]byte(r), &v), json.Unmarshal(v.Raw, &raw)); err != nil || v.Text != texts[i] || raw.Text != texts[i] || raw.HTML != "<&>" {
			t.Errorf("%q: %s, %v", texts[i], r, err)
		}
	}
	// What takes less than a record may before it is encoded takes no more then.
	if err := j.Append(Encode(slices.Values([]string{strings.Repeat("<&>", MaxRecord/4)}))); err != nil {
		t.Error(err)
	}
}
