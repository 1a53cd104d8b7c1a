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

// hook is where a program can be attached: to the root of all cgroups, or if it has a name, to that tracepoint.
type hook struct {
	at         ebpf.AttachType
	tracepoint string
}

// sourcesHooks are those of the source.
var sourcesHooks = []hook{
	{at: ebpf.AttachCGroupInetEgress}, {at: ebpf.AttachCGroupInetIngress}, {at: ebpf.AttachCGroupInet4Connect}, {at: ebpf.AttachCGroupInet6Connect},
}

// empty is a program at each of some hooks that does nothing, and allows everything.
type empty struct {
	called   string
	cgroup   string
	hooks    []hook
	programs []*ebpf.Program // one for each hook
	links    []link.Link
}

// emptyName is what the kernel knows these programs by.
const emptyName = "empty"

func emptyAt(called string, hooks ...hook) opener {
	return func() (watcher, error) {
		cgroup, err := bpf.FindCgroup()
		if err != nil {
			return nil, err
		}
		e := &empty{called: called, cgroup: cgroup, hooks: hooks}
		for _, h := range hooks {
			spec := &ebpf.ProgramSpec{
				Name: emptyName, Type: ebpf.CGroupSKB, AttachType: h.at, License: "GPL",
				Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
			}
			switch {
			case h.tracepoint != "":
				spec.Type, spec.AttachType, spec.AttachTo = ebpf.Tracing, ebpf.AttachTraceRawTp, h.tracepoint
				spec.Instructions[0] = asm.Mov.Imm(asm.R0, 0)
			case h.at == ebpf.AttachCGroupInet4Connect, h.at == ebpf.AttachCGroupInet6Connect:
				spec.Type = ebpf.CGroupSockAddr
			}
			p, err := ebpf.NewProgram(spec)
			if err != nil {
				e.close()
				return nil, err
			}
			e.programs = append(e.programs, p)
		}
		return e, nil
	}
}

// singleHooks are an empty program at each hook that every packet passes, and at tracepoints that see the same (since Linux 6.3, but for tcp_probe).
func singleHooks() []opener {
	list := []opener{emptyAt("cgroup_skb/egress", sourcesHooks[0]), emptyAt("cgroup_skb/ingress", sourcesHooks[1])}
	for _, name := range []string{"tcp_probe", "sk_data_ready", "sock_send_length", "sock_recv_length"} {
		list = append(list, emptyAt("tracepoint "+name, hook{tracepoint: name}))
	}
	return list
}

func (e *empty) name() string { return e.called }

func (e *empty) on() error {
	for i, h := range e.hooks {
		var l link.Link
		var err error
		if h.tracepoint != "" {
			l, err = link.AttachTracing(link.TracingOptions{Program: e.programs[i]})
		} else {
			l, err = link.AttachCgroup(link.CgroupOptions{Path: e.cgroup, Attach: h.at, Program: e.programs[i]})
		}
		if err != nil {
			return err
		}
		e.links = append(e.links, l)
	}
	return nil
}

func (e *empty) off() error {
	err := closeAll(e.links)
	e.links = nil
	return err
}

func closeAll(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
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
