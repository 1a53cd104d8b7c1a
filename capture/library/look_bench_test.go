package library

import (
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

// BenchmarkLook is what a look at a process costs whose libraries have their probes: each process that starts is looked at a few times.
func BenchmarkLook(b *testing.B) {
	testenv.Root(b)
	c := testenv.Command(b, "/usr/bin/python3", "-c", "import ssl, sys; print(flush=True); sys.stdin.read()")
	in, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	defer c.Wait()
	defer in.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	kernel, err := bpf.LoadLibrary()
	if err != nil {
		b.Fatal(err)
	}
	defer kernel.Close()
	a := newAttacher(kernel)
	defer a.close()
	if _, err := a.process(c.Process.Pid); err != nil {
		b.Fatal(err)
	}
	if a.stats.Files == 0 {
		b.Fatal("no file has probes")
	}
	b.ReportAllocs()
	for b.Loop() {
		has, err := a.process(c.Process.Pid)
		if err != nil {
			b.Fatal(err)
		}
		a.remember(c.Process.Pid, has)
	}
}
