package doctor

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/capture/afpacket"
	"github.com/dynwatch/dynwatch/capture/library"
	"github.com/dynwatch/dynwatch/internal/sockdiag"
)

// Hook is one attachment to the kernel that can be tried.
type Hook struct {
	Name string
	// Try attaches and detaches it.
	Try func() error
	// Optional: without it the eBPF source works, and sees less; Without says what.
	Optional bool
	Without  string
	// Remedy is told when it fails for another cause than those that are known: missing rights, no cgroup2, or not its root.
	Remedy string
}

// Options say what to try, and where to read. Zero fields take the defaults.
type Options struct {
	// Hooks are of the eBPF source. Without any it is not said to work.
	Hooks []Hook
	// Root is put before /proc and /sys; tests set it.
	Root string
	// Look looks at the TLS libraries of running processes. Without it nothing is said of them.
	Look func() (*library.Survey, error)
	// Packet and Owners try the packet source and the search for owners; by default they are opened and closed.
	Packet, Owners func() error
}

// Run does all checks.
func Run(o Options) *Report {
	if o.Packet == nil {
		o.Packet = tryPacket
	}
	if o.Owners == nil {
		o.Owners = tryOwners
	}
	h := host{root: o.Root}
	r := &Report{Checks: []Check{h.kernel(), h.btf(), h.cgroup2(), h.lockdown()}}
	r.Checks = append(r.Checks, h.capabilities()...)
	r.Checks = append(r.Checks, h.memlock(), h.pidNamespace(), h.hidepid(),
		h.mounted("bpffs", "bpf", "/sys/fs/bpf", "not needed today: nothing is pinned"),
		h.mounted("tracefs", "tracefs", "/sys/kernel/tracing", "needed by probes in TLS libraries only"))

	r.EBPF = len(o.Hooks) > 0
	for _, hook := range o.Hooks {
		err := hook.Try()
		c := tried("hook "+hook.Name, "ebpf", err, hook.remedy(err))
		if c.Status == Missing && hook.Optional {
			c.Status = Degraded
		}
		r.EBPF = r.EBPF && c.Status != Missing
		r.Checks = append(r.Checks, c)
	}
	if o.Look != nil {
		r.look(o.Look)
	}
	packet := tried("packet socket", "packet", o.Packet(), rightsRemedy)
	r.Packet = packet.Status == OK
	owners := tried("socket owners", "owners", o.Owners(), "modprobe tcp_diag inet_diag")
	if owners.Status == Missing {
		owners.Status = Degraded
	}
	r.Checks = append(r.Checks, packet, owners)
	return r
}

// remedy is that of the cause.
func (k *Hook) remedy(err error) string {
	var (
		permission *bpf.PermissionError
		root       *bpf.NotRootError
	)
	text := k.Remedy
	switch {
	case errors.As(err, &permission) && slices.Contains(permission.Missing, "CAP_SYS_ADMIN"):
		text = "run as root: this kernel wants CAP_SYS_ADMIN for it"
	case errors.As(err, &permission) && len(permission.Missing) > 0:
		text = rightsRemedy
	case errors.As(err, &permission):
		text = "it has the capabilities that it needs: a user namespace, a seccomp profile or the kernel's lockdown may forbid it"
	case errors.As(err, &root):
		text = namespaceRemedy
	case errors.Is(err, bpf.ErrNoCgroup2):
		text = mountRemedy
	}
	if k.Without != "" && text != "" {
		text += "; without the hook " + k.Without
	}
	return text
}

// look tells of TLS libraries without probes.
func (r *Report) look(look func() (*library.Survey, error)) {
	c := Check{Name: "tls libraries", Source: "ebpf", Status: OK}
	s, err := look()
	if err != nil {
		c.Status, c.Detail = Degraded, err.Error()
		r.Checks = append(r.Checks, c)
		return
	}
	r.Libraries = &Libraries{Processes: s.Processes, Without: s.Without, Unprobed: append([]library.Unprobed{}, s.Unprobed...), Others: s.Others}
	c.Detail = fmt.Sprintf("of %d processes none has a library without probes", s.Processes)
	if s.Without > 0 {
		c.Status = Degraded
		c.Detail = fmt.Sprintf("of %d processes %d have a library without probes, or are closed: certificates that it gets in TLS 1.3 are not seen", s.Processes, s.Without)
		c.Remedy = "docs/libraries.md says which libraries are known; dynwatch probe shows what an endpoint answers"
	}
	r.Checks = append(r.Checks, c)
}

func tried(name, source string, err error, remedy string) Check {
	if err == nil {
		return Check{Name: name, Status: OK, Source: source, Detail: "tried, works"}
	}
	return Check{Name: name, Status: Missing, Source: source, Detail: err.Error(), Remedy: remedy}
}

func tryPacket() error {
	s, err := afpacket.Open(afpacket.Options{BufferBytes: 1, SnapLen: 1024})
	if err != nil {
		return err
	}
	return errors.Join(s.Close(), s.Close()) // the second does not wait for what was received
}

func tryOwners() error {
	f, err := sockdiag.Open(sockdiag.Options{})
	if err != nil {
		return fmt.Errorf("ask for a socket: %w", err)
	}
	return f.Close()
}
