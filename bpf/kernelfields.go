package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// kernelFields are offsets of kernel fields in bytes, for the variables of the same names in connect.bpf.c; all 0 if unknown.
type kernelFields struct {
	taskGroupLeader, taskStartBoottime uint32
	sockNet, netInum                   uint32
}

// apply puts the offsets into the objects.
func (f kernelFields) apply(connect, packet *ebpf.CollectionSpec) error {
	return errors.Join(
		connect.Variables["task_group_leader"].Set(f.taskGroupLeader),
		connect.Variables["task_start_boottime"].Set(f.taskStartBoottime),
		connect.Variables["sock_net"].Set(f.sockNet),
		connect.Variables["net_inum"].Set(f.netInum),
		packet.Variables["sock_net"].Set(f.sockNet),
		packet.Variables["net_inum"].Set(f.netInum),
	)
}

// readKernelFields looks the offsets up in the kernel's BTF. They are looked up here rather than relocated in the program (CO-RE), because
// an object with relocations does not load at all where there is no BTF.
func readKernelFields() (kernelFields, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return kernelFields{}, fmt.Errorf("kernel BTF: %w", err)
	}
	var f kernelFields
	for _, w := range []struct {
		to   *uint32
		in   string
		path []string
	}{
		{&f.taskGroupLeader, "task_struct", []string{"group_leader"}},
		{&f.taskStartBoottime, "task_struct", []string{"start_boottime"}},
		{&f.sockNet, "sock", []string{"__sk_common", "skc_net", "net"}},
		{&f.netInum, "net", []string{"ns", "inum"}},
	} {
		var s *btf.Struct
		if err := spec.TypeByName(w.in, &s); err != nil {
			return kernelFields{}, fmt.Errorf("kernel BTF: struct %s: %w", w.in, err)
		}
		off, err := offsetOf(s.Members, w.path)
		if err != nil {
			return kernelFields{}, fmt.Errorf("kernel BTF: struct %s: %w", w.in, err)
		}
		*w.to = off
	}
	return f, nil
}

// offsetOf follows a path of member names, through anonymous structs and unions too.
func offsetOf(members []btf.Member, path []string) (uint32, error) {
	for _, m := range members {
		inner := membersOf(m.Type)
		switch {
		case m.Name == path[0] && len(path) == 1:
			return m.Offset.Bytes(), nil
		case m.Name == path[0]:
			off, err := offsetOf(inner, path[1:])
			return m.Offset.Bytes() + off, err
		case m.Name == "":
			if off, err := offsetOf(inner, path); err == nil {
				return m.Offset.Bytes() + off, nil
			}
		}
	}
	return 0, fmt.Errorf("no member %s", path[0])
}

func membersOf(t btf.Type) []btf.Member {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}
