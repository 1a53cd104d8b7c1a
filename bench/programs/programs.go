// Package programs reads the kernel's own count of how often the eBPF programs of this process run, and for how long.
package programs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Tally is how often a program ran, and for how long.
type Tally struct {
	Name  string // in full, where the program has BTF
	Type  ebpf.ProgramType
	Count uint64
	Time  time.Duration
}

// Enable has the kernel count until what it returns is closed. That takes time of its own, some 30 ns a run.
func Enable() (io.Closer, error) { return ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME)) }

// Read reads the counts of the programs that this process has open, by their number.
func Read() (map[ebpf.ProgramID]Tally, error) {
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		return nil, err
	}
	all := map[ebpf.ProgramID]Tally{}
	for _, file := range files {
		about, _ := os.ReadFile(file) // one that is closed meanwhile is no program
		for line := range strings.Lines(string(about)) {
			var id ebpf.ProgramID
			if _, err := fmt.Sscanf(line, "prog_id: %d", &id); err != nil {
				continue
			}
			if all[id], err = tally(id); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func tally(id ebpf.ProgramID) (Tally, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return Tally{}, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return Tally{}, err
	}
	s, err := p.Stats()
	if err != nil {
		return Tally{}, err
	}
	t := Tally{Name: info.Name, Type: info.Type, Count: s.RunCount, Time: s.Runtime}
	// Names are cut to 15 bytes, functions are not; the first is the program.
	if functions, err := info.FuncInfos(); err == nil && len(functions) > 0 {
		t.Name = functions[0].Func.Name
	}
	return t, nil
}
