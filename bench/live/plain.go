package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/dynwatch/dynwatch/bpf"
)

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -go-package main -target bpfel -type prefix plain plain.bpf.c

// plain is a prototype of the source, the plainest programs that do its main work: see plain.bpf.c. What they cost on a machine is what any such
// tool does, and dynwatch's cost can be held against it there.
type plain struct {
	cgroup  string
	objects plainObjects
	reader  *ringbuf.Reader
	links   []link.Link
	done    chan struct{}
}

// plainly watches connections to one prefix of IPv4 addresses.
func plainly(followed netip.Prefix) opener {
	return func() (watcher, error) {
		cgroup, err := bpf.FindCgroup()
		if err != nil {
			return nil, err
		}
		p := &plain{cgroup: cgroup, done: make(chan struct{})}
		if err := loadPlainObjects(&p.objects, nil); err != nil {
			return nil, err
		}
		key := plainPrefix{Bits: uint32(followed.Bits()), Addr: binary.NativeEndian.Uint32(followed.Addr().AsSlice())}
		if err := p.objects.PlainSet.Put(key, uint32(1)); err != nil {
			p.objects.Close()
			return nil, err
		}
		if p.reader, err = ringbuf.NewReader(p.objects.PlainEvents); err != nil {
			p.objects.Close()
			return nil, err
		}
		go p.drain()
		return p, nil
	}
}

// drain reads what there is every 10 ms: the programs wake up nobody.
func (p *plain) drain() {
	defer close(p.done)
	var r ringbuf.Record
	for {
		p.reader.SetDeadline(time.Now().Add(10 * time.Millisecond))
		if err := p.reader.ReadInto(&r); errors.Is(err, ringbuf.ErrClosed) {
			return
		}
	}
}

func (p *plain) name() string { return "a prototype" }

func (p *plain) on() error {
	for at, program := range map[ebpf.AttachType]*ebpf.Program{
		ebpf.AttachCGroupInetEgress: p.objects.PlainEgress, ebpf.AttachCGroupInetIngress: p.objects.PlainIngress,
		ebpf.AttachCGroupInet4Connect: p.objects.PlainConnect4, ebpf.AttachCGroupSockOps: p.objects.PlainSockops,
	} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: p.cgroup, Attach: at, Program: program})
		if err != nil {
			return err
		}
		p.links = append(p.links, l)
	}
	return nil
}

func (p *plain) off() error {
	err := closeAll(p.links)
	p.links = nil
	return err
}

func (p *plain) close() {
	p.off()
	p.reader.Close()
	<-p.done
	p.objects.Close()
}
