package pcapfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// large is a file of many blocks.
func large(t testing.TB) string {
	return writeFile(t, "large.pcap", cat(samples()["pcap"], bytes.Repeat(samples()["pcap"][24:], 30000)))
}

// In each of these tests synctest fails if a goroutine is left over.

func TestGoroutinesEndOnClose(t *testing.T) {
	a, b := large(t), writeFile(t, "b.gz", gz(timed(2, 9, 10)))
	synctest.Test(t, func(t *testing.T) {
		r, err := Open([]string{a, a, b}, Options{block: 1024})
		if err != nil {
			t.Fatal(err)
		}
		var p Packet
		for range 100 {
			if err := r.Next(&p); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := r.Next(&p); err != fs.ErrClosed {
			t.Errorf("Next after Close: %v", err)
		}
		if e := r.Errs(); len(e) > 0 {
			t.Errorf("Close made errors: %v", e)
		}
	})
}

func TestGoroutinesEndWithTheFile(t *testing.T) {
	name := large(t)
	synctest.Test(t, func(t *testing.T) {
		r, err := Open([]string{name}, Options{}) // and no Close
		if err != nil {
			t.Fatal(err)
		}
		var p Packet
		for err == nil {
			err = r.Next(&p)
		}
		if err != io.EOF {
			t.Error(err)
		}
	})
}

// Who gives no block back makes Next wait, until Close.
func TestCloseEndsTheWaitForABlock(t *testing.T) {
	plain := large(t)
	packed := writeFile(t, "large.pcap.gz", gz(cat(samples()["pcap"], bytes.Repeat(samples()["pcap"][24:], 30000))))
	for _, name := range []string{plain, packed} {
		synctest.Test(t, func(t *testing.T) {
			blocks := 0
			r, err := Open([]string{name}, Options{block: 1024, Passed: func(func()) { blocks++ }})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() {
				var p Packet
				for err == nil {
					err = r.Next(&p)
				}
				ended <- err
			}()
			synctest.Wait()
			if blocks != 2 {
				t.Errorf("%s: %d blocks were passed, of 2 that there are", name, blocks)
			}
			r.Close()
			if err := <-ended; err != fs.ErrClosed {
				t.Errorf("%s: Next: %v", name, err)
			}
		})
	}
}

func TestCloseBeforeTheFirstNext(t *testing.T) {
	name := large(t)
	synctest.Test(t, func(t *testing.T) {
		r, err := Open([]string{name, name}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		var p Packet
		if err := r.Next(&p); err != fs.ErrClosed {
			t.Error(err)
		}
	})
}

func TestCloseFreesANextThatWaits(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		testenv.Lacks(t, "mkfifo: %v", err)
	}
	head := samples()["pcap"][:30]
	for name, open := range map[string]func(t *testing.T) (*Reader, io.WriteCloser){
		"a pipe of the system": func(t *testing.T) (*Reader, io.WriteCloser) {
			in, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { in.Close() })
			r, err := Open([]string{"-"}, Options{Stdin: in})
			if err != nil {
				t.Fatal(err)
			}
			return r, out
		},
		"a named pipe": func(t *testing.T) (*Reader, io.WriteCloser) {
			r, err := Open([]string{fifo}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			out, err := os.OpenFile(fifo, os.O_RDWR, 0) // opens at once, and so does the reader then
			if err != nil {
				t.Fatal(err)
			}
			return r, out
		},
		"a reader that cannot be interrupted": func(t *testing.T) (*Reader, io.WriteCloser) {
			in, out := io.Pipe()
			r, err := Open([]string{"-"}, Options{Stdin: in})
			if err != nil {
				t.Fatal(err)
			}
			return r, out
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, out := open(t)
				done := make(chan error)
				go func() {
					var p Packet
					done <- r.Next(&p)
				}()
				if _, err := out.Write(head); err != nil {
					t.Fatal(err)
				}
				r.Close()
				if err := <-done; !errors.Is(err, fs.ErrClosed) {
					t.Errorf("Next gave %v", err)
				}
				r.Close()
				out.Close() // ends the goroutine of the reader that cannot be interrupted
				if e := r.Errs(); len(e) > 0 {
					t.Errorf("Close made errors: %v", e)
				}
			})
		})
	}
}

func TestAPipeGivesItsPacketsAtOnce(t *testing.T) {
	in, out := io.Pipe()
	file := samples()["pcap"]
	synctest.Test(t, func(t *testing.T) {
		r, err := Open([]string{"-"}, Options{Stdin: in})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() { out.Write(file[:24+76]) }() // the first packet, and the pipe stays open
		var p Packet
		if err := r.Next(&p); err != nil || p.Number != 1 || len(p.Data) != 60 {
			t.Errorf("%v %+v", err, p)
		}
		go func() { out.Write(file[24+76:]); out.Close() }()
		for err == nil {
			err = r.Next(&p)
		}
		if err != io.EOF || r.Stats().Packets != 3 {
			t.Errorf("%v, %d packets", err, r.Stats().Packets)
		}
	})
}
