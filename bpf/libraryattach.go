package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
)

// variant are the programs for libraries with the same offsets.
type variant struct {
	*ebpf.Collection
	// users are attachments; with the last one the programs go, as files that come and go would pile them up.
	users int
}

// variants are the programs that are loaded. Those for no offsets stay.
type variants struct {
	// multi: one link holds all places that a program has in a file (Linux 6.6). Without it each place is a perf event of its own.
	multi bool

	// mu guards what follows.
	mu       sync.Mutex
	byOffset map[SSLOffsets]*variant
}

// load loads the programs that are in a specification, for some offsets.
func (v *variants) load(spec *ebpf.CollectionSpec, o SSLOffsets, opts ebpf.CollectionOptions) (*variant, error) {
	if v.multi {
		for _, p := range probes {
			if s := spec.Programs[p.Program]; s != nil {
				s.AttachType = ebpf.AttachTraceUprobeMulti
			}
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return nil, explain("load the library probes", needsLibrary, err)
	}
	x := &variant{Collection: coll}
	v.byOffset[o] = x
	return x, nil
}

// release undoes a use.
func (v *variants) release(o SSLOffsets) {
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.byOffset[o]
	if x == nil { // closed before
		return
	}
	if x.users--; x.users == 0 && o != (SSLOffsets{}) {
		x.Close()
		delete(v.byOffset, o)
	}
}

func (v *variants) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for o, x := range v.byOffset {
		x.Close()
		delete(v.byOffset, o)
	}
}

// attachment is a probe in a file.
type attachment struct {
	links  []io.Closer
	loaded *variants
	of     SSLOffsets
	once   sync.Once
}

// Close detaches, which waits for the kernel (RCU): each link for itself.
func (a *attachment) Close() error {
	var err error
	a.once.Do(func() {
		errs := make([]error, len(a.links))
		var wg sync.WaitGroup
		for i, l := range a.links {
			wg.Go(func() { errs[i] = l.Close() })
		}
		wg.Wait()
		a.loaded.release(a.of)
		err = errors.Join(errs...)
	})
	return err
}

// Attach attaches a probe at offsets of a file, for every process that maps it now or later. Closing what is returned detaches it; that may be
// done by any goroutine.
func (l *Library) Attach(file *os.File, p Probe, at []uint64, o SSLOffsets) (io.Closer, error) {
	if !p.Offsets {
		o = SSLOffsets{}
	}
	prog, err := l.program(p, o)
	if err != nil {
		return nil, err
	}
	a := &attachment{loaded: &l.loaded, of: o}
	if err := a.attach(file, p, prog, at); err != nil {
		err = explainTo("attach "+p.Program, needsLibrary, err, lackingForProbes(l.loaded.multi))
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *attachment) attach(file *os.File, p Probe, prog *ebpf.Program, at []uint64) error {
	// By the open file: its name may mean another one in this mount namespace, or be gone.
	ex, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return err
	}
	if a.loaded.multi {
		attach := ex.UprobeMulti
		if p.Return {
			attach = ex.UretprobeMulti
		}
		l, err := attach(nil, prog, &link.UprobeMultiOptions{Addresses: at})
		if err == nil {
			a.links = append(a.links, l)
		}
		return err
	}
	attach := ex.Uprobe
	if p.Return {
		attach = ex.Uretprobe
	}
	for _, address := range at {
		l, err := attach("", prog, &link.UprobeOptions{Address: address})
		if err != nil {
			return err
		}
		a.links = append(a.links, l)
	}
	return nil
}

// program gives the program of a probe, for a library's offsets, and counts its use.
func (l *Library) program(p Probe, o SSLOffsets) (*ebpf.Program, error) {
	v := &l.loaded
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.byOffset[o]
	if x == nil {
		spec, err := loadLibrary()
		if err != nil {
			return nil, err
		}
		for _, other := range probes {
			if !other.Offsets || other.of != p.of {
				delete(spec.Programs, other.Program)
			}
		}
		delete(spec.Programs, execProgram)
		if err := o.apply(spec); err != nil {
			return nil, err
		}
		if x, err = v.load(spec, o, ebpf.CollectionOptions{MapReplacements: l.shared()}); err != nil {
			return nil, err
		}
	}
	prog := x.Programs[p.Program]
	if prog == nil {
		return nil, fmt.Errorf("no program %s", p.Program)
	}
	x.users++
	return prog, nil
}

// haveMulti tells whether the kernel has links of many uprobes. Where it cannot be told there is the older way.
func haveMulti() bool { return features.HaveBPFLinkUprobeMulti() == nil }
