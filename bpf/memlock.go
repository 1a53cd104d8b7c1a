package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// raiseMemlock lifts the limit on locked memory, against which Linux before 5.11 counts maps: altogether, or without CAP_SYS_RESOURCE as far as the
// hard limit allows, and then gives an error. What there is may be enough all the same.
func raiseMemlock() error {
	if v, err := features.LinuxVersionCode(); err == nil && v >= 5<<16|11<<8 {
		return nil // not counted; without rights to make a map, package rlimit would take it for counted
	}
	err := rlimit.RemoveMemlock()
	if err == nil {
		return nil
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur < limit.Max {
		limit.Cur = limit.Max
		if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil {
			return fmt.Errorf("RLIMIT_MEMLOCK raised to %d bytes only: %w", limit.Max, err)
		}
	}
	return fmt.Errorf("RLIMIT_MEMLOCK stays at %d bytes: %w", limit.Cur, err)
}

// withMemlock says that the limit may be why something was not permitted: the kernel has one error for both.
func withMemlock(err, limited error) error {
	var p *PermissionError
	if limited == nil || !errors.As(err, &p) {
		return err
	}
	p.Capabilities += "; before Linux 5.11 also CAP_SYS_RESOURCE, or an unlimited RLIMIT_MEMLOCK"
	p.Err = fmt.Errorf("%w (%w)", p.Err, limited)
	return err
}
