package bpf

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// needsEarlier is what the iterator asks of the kernel.
const needsEarlier = "Linux 5.12 with BTF (CONFIG_DEBUG_INFO_BTF), and no lockdown=confidentiality"

// FindEarlier finds the connections to followed addresses and ports that were open before Attach, and has the kernel follow them: each is an event
// without payload whose Opener is Earlier. Only processes of the caller's PID namespace are seen.
//
// An iterator in the kernel does it where there can be one, as the kernel says when it is loaded. Elsewhere they are looked up in /proc, and
// taken hold of one by one (pidfd_getfd, Linux 5.6), which wants CAP_SYS_PTRACE.
func (s *Socket) FindEarlier() error {
	refused := s.findByIterator()
	if refused == nil {
		return nil
	}
	if err := s.findByFiles("/proc"); err != nil {
		return errors.Join(err, refused)
	}
	return nil
}

func (s *Socket) findByIterator() (err error) {
	const what = "list connections that are open already"
	spec, err := loadEarlier()
	if err != nil {
		return err
	}
	if err := spec.Variables["ports"].Set(s.ports); err != nil {
		return err
	}
	spec.Maps["events"].MaxEntries = s.connect.Events.MaxEntries()
	var objects earlierObjects
	if err := spec.LoadAndAssign(&objects, &ebpf.CollectionOptions{MapReplacements: s.shared()}); err != nil {
		return explain(what, needsEarlier, err)
	}
	defer objects.Close()
	it, err := link.AttachIter(link.IterOptions{Program: objects.DynwatchEarlier})
	if err != nil {
		return explain(what, needsEarlier, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	r, err := it.Open()
	if err != nil {
		return explain(what, needsEarlier, err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil { // reading is what runs the program
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
