package flow

// Process is who opened a connection. Zero fields are unknown.
type Process struct {
	// PID is the thread group id in the initial PID namespace, TID the thread that called connect.
	PID, TID int
	// Comm is the kernel's name of the task, at most 15 bytes; Exe the path of its program as its mount namespace names it.
	Comm, Exe string
	// UID is the real user id; valid only when UIDKnown. User is its name on this host.
	UID      uint32
	UIDKnown bool
	User     string
	// Cmdline is the command line with arguments that look like secrets masked. Parents are the names of the ancestors, nearest first.
	Cmdline string
	Parents []string
	// CgroupID is the inode of the socket's cgroup directory (cgroup v2), NetNS that of the network namespace; 0 if unknown.
	CgroupID, NetNS uint64
	// StartTime is when the process started, in nanoseconds since boot (CLOCK_BOOTTIME): with PID it tells a process from a later one
	// that was given the same number.
	StartTime uint64
	// Exited: the process was gone when its details were looked up, so little more than what the kernel knew at connect is here.
	Exited bool
	// SDK is a guess at the AWS SDK, HTTP library or language of the program, SDKBy what it rests on: program (its path and arguments),
	// libraries (that it has mapped), modules (of which a Go program is made).
	SDK, SDKBy string
	// ContainerID is the 64 hex digits that the container runtime uses; Pod and Namespace are Kubernetes names, Unit is systemd's. A unit that is
	// not the host's has before it who vouches for it, and a slash: user@1000.service, or container.
	ContainerID, Pod, Namespace, Unit string
	// ContainerName is the container's name in its pod, Runtime the container runtime's word for itself (docker, containerd, cri-o, podman).
	ContainerName, Runtime string
	// PodUID is what the cgroup's path says of the pod: it is known before the pod's name is, and without the kubelet's directories.
	PodUID string
}
