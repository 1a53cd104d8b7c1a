package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture"
	dynwatch "github.com/dynwatch/dynwatch/capture/ebpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// watcher is something that watches the load, and can stop and go on.
type watcher interface {
	name() string
	on() error
	off() error
	close()
}

type opener func() (watcher, error)

// source is dynwatch's.
type source struct {
	called string
	*dynwatch.Source
	done chan struct{}
}

func watching(called string, o dynwatch.Options) opener {
	return func() (watcher, error) {
		src, err := dynwatch.Open(o)
		if err != nil {
			return nil, err
		}
		s := &source{called, src, make(chan struct{})}
		go s.drain()
		return s, src.Pause()
	}
}

func (s *source) name() string { return s.called }
func (s *source) on() error    { return s.Resume() }
func (s *source) off() error   { return s.Pause() }

func (s *source) close() {
	s.Close()
	<-s.done
	s.Close()
}

// drain reads a source until its end.
func (s *source) drain() {
	defer close(s.done)
	for {
		var seg flow.Segment
		if err := s.Next(&seg); err != nil && !errors.Is(err, capture.ErrIdle) {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "live: error:", err)
			}
			return
		}
	}
}

// empty is a program that allows everything on each of the source's hooks.
type empty struct {
	cgroup   string
	programs map[ebpf.AttachType]*ebpf.Program
	links    []link.Link
}

// emptyName is what the kernel knows these programs by.
const emptyName = "empty"

func emptyPrograms() (watcher, error) {
	cgroup, err := bpf.FindCgroup()
	if err != nil {
		return nil, err
	}
	e := &empty{cgroup: cgroup, programs: make(map[ebpf.AttachType]*ebpf.Program)}
	for at, typ := range map[ebpf.AttachType]ebpf.ProgramType{
		ebpf.AttachCGroupInetEgress: ebpf.CGroupSKB, ebpf.AttachCGroupInetIngress: ebpf.CGroupSKB,
		ebpf.AttachCGroupInet4Connect: ebpf.CGroupSockAddr, ebpf.AttachCGroupInet6Connect: ebpf.CGroupSockAddr,
	} {
		e.programs[at], err = ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: emptyName, Type: typ, AttachType: at, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
		})
		if err != nil {
			e.close()
			return nil, err
		}
	}
	return e, nil
}

func (e *empty) name() string { return "empty programs on the same hooks" }

func (e *empty) on() error {
	for at, p := range e.programs {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: e.cgroup, Attach: at, Program: p})
		if err != nil {
			return err
		}
		e.links = append(e.links, l)
	}
	return nil
}

func (e *empty) off() error {
	var errs []error
	for _, l := range e.links {
		errs = append(errs, l.Close())
	}
	e.links = nil
	return errors.Join(errs...)
}

func (e *empty) close() {
	e.off()
	for _, p := range e.programs {
		p.Close()
	}
}

// tcpdump watches the loopback interface with a filter that nothing of the load matches.
type tcpdump struct {
	cmd *exec.Cmd
}

func tcpdumps() (watcher, error) { return &tcpdump{}, nil }

func (t *tcpdump) name() string { return "tcpdump, filter matches nothing" }

func (t *tcpdump) on() error {
	t.cmd = exec.Command("tcpdump", "-i", "lo", "-n", "-w", "/dev/null", "net 192.0.2.0/24 and tcp port 443")
	messages, err := t.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := t.cmd.Start(); err != nil {
		return err
	}
	var said bytes.Buffer
	for s := bufio.NewScanner(messages); s.Scan(); {
		if strings.Contains(s.Text(), "listening on") {
			go io.Copy(io.Discard, messages)
			return nil
		}
		fmt.Fprintln(&said, s.Text())
	}
	return fmt.Errorf("tcpdump ended: %w: %s", t.cmd.Wait(), said.String())
}

func (t *tcpdump) off() error {
	if t.cmd == nil {
		return nil
	}
	err := t.cmd.Process.Signal(unix.SIGINT)
	t.cmd.Wait() // a tcpdump that was interrupted has nothing to complain of that matters here
	t.cmd = nil
	return err
}

func (t *tcpdump) close() { t.off() }
