package afpacket

import "fmt"

// PermissionError: the process has no right to open packet sockets. It wraps the system's error.
type PermissionError struct {
	// Op is what was refused, Capability what would allow it.
	Op, Capability string
	Err            error
}

// Error names the capability.
func (e *PermissionError) Error() string {
	return fmt.Sprintf("%s: %v (needs %s)", e.Op, e.Err, e.Capability)
}

// Unwrap returns the system's error.
func (e *PermissionError) Unwrap() error { return e.Err }

// InterfaceError: an interface cannot be used, or not any more.
type InterfaceError struct {
	Name string
	Err  error
}

// Error names the interface.
func (e *InterfaceError) Error() string { return fmt.Sprintf("interface %s: %v", e.Name, e.Err) }

// Unwrap returns what is wrong with it.
func (e *InterfaceError) Unwrap() error { return e.Err }
