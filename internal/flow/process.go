package flow

// Process is who opened a connection. Zero fields are unknown.
type Process struct {
	// PID is the thread group id in the initial PID namespace, TID the thread that called connect.
	PID, TID int
	// Comm is the kernel's name of the task, at most 15 bytes; Exe the path of its program as its mount namespace names it.
	Comm, Exe string
	// UID is the real user id; valid only when UIDKnown.
	UID      uint32
	UIDKnown bool
	// ContainerID is the 64 hex digits that the container runtime uses; Pod and Namespace are Kubernetes names, Unit is systemd's.
	ContainerID, Pod, Namespace, Unit string
}
