package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// NotSupportedError: the kernel lacks what a part needs.
type NotSupportedError struct {
	// What could not be done, such as "load dynwatch_egress".
	What string
	// Needs is the kernel version or setting that has it.
	Needs string
	Err   error
}

func (e *NotSupportedError) Error() string {
	return fmt.Sprintf("%s: not supported by this kernel (needs %s): %v", e.What, e.Needs, e.Err)
}

func (e *NotSupportedError) Unwrap() error { return e.Err }

// PermissionError: the process lacks rights.
type PermissionError struct {
	What string
	// Capabilities that are enough, such as "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON".
	Capabilities string
	// Missing are those that this process does not have. It is empty if it has enough, as far as it can know: then something else forbids it,
	// such as a user namespace, a seccomp profile or lockdown.
	Missing []string
	Err     error
}

func (e *PermissionError) Error() string {
	missing := ""
	if len(e.Missing) > 0 {
		missing = "; missing: " + strings.Join(e.Missing, ", ")
	}
	return fmt.Sprintf("%s: not permitted (needs %s%s): %v", e.What, e.Capabilities, missing, e.Err)
}

func (e *PermissionError) Unwrap() error { return e.Err }

// Capabilities is what the loader asks for. Kernels before 5.8 have only CAP_SYS_ADMIN for all of it, and are not supported.
const Capabilities = "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or CAP_SYS_ADMIN"

// explain turns what the kernel said into an error that a caller can act on. Verifier logs are cut to their last line: the error keeps the
// whole one for errors.As with *ebpf.VerifierError.
//
// What a helper needs the verifier tells with the same words as that it does not exist: without all rights it is those that are missing.
func explain(what, needs string, err error) error {
	if err == nil {
		return nil
	}
	return explainTo(what, needs, err, lacking())
}

func explainTo(what, needs string, err error, missing []string) error {
	switch {
	case errors.Is(err, unix.EPERM) && len(missing) > 0:
		// Where it may not ask, cilium/ebpf guesses at the limit on locked memory.
		return &PermissionError{What: what, Capabilities: Capabilities, Missing: missing, Err: &briefError{unix.EPERM.Error(), err}}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && !isVerifier(err), errors.Is(err, fs.ErrPermission) && !isVerifier(err),
		isVerifier(err) && len(missing) > 0:
		return &PermissionError{What: what, Capabilities: Capabilities, Missing: missing, Err: brief(err)}
	case errors.Is(err, ebpf.ErrNotSupported), isVerifier(err):
		return &NotSupportedError{What: what, Needs: needs, Err: brief(err)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func isVerifier(err error) bool {
	var v *ebpf.VerifierError
	return errors.As(err, &v)
}

// briefError prints one line of an error and keeps all of it.
type briefError struct {
	text string
	err  error
}

func (e *briefError) Error() string { return e.text }
func (e *briefError) Unwrap() error { return e.err }

func brief(err error) error {
	var v *ebpf.VerifierError
	if !errors.As(err, &v) {
		return err
	}
	text := v.Cause.Error()
	for i := len(v.Log) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(v.Log[i]); line != "" && !strings.HasPrefix(line, "processed ") {
			text += ": " + line
			break
		}
	}
	return &briefError{text, err}
}
