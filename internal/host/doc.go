// Package host completes what the kernel says of a process that opened a connection: its program and command line, its user, its
// ancestors, and the container, pod or systemd unit that it belongs to.
//
//	r := host.New(host.Options{})
//	p := opening.Process // pid, start time, uid, comm and cgroup id, from the kernel
//	complete := r.Lookup(&p)
//
// Everything comes from files: /proc/PID, /etc/passwd, and the names of the directories in which the kubelet keeps the logs of pods. No API
// server, no container runtime and no systemd is asked, so that it works while they do not, and needs no credentials.
//
// # What it relies on
//
//   - A pid alone names nobody: it is reused. /proc/PID is opened once and everything is read through that directory, which the kernel ties to
//     the process and not to the number; the start time (field 22 of stat) is compared with the kernel's.
//   - A process may be gone before it is looked up. What the kernel knew stays, and its cgroup, which lives longer, still names the container.
//   - The owner of a process can make reading of some files in /proc/PID take for ever (a program on a file system of theirs, say). The others,
//     with name, program, user and cgroup, are read first. Command line and libraries are read aside, with a deadline; a few such readers
//     may be left behind, half of them for one user, and while there are no more, it is done without these at once.
//   - A command line holds secrets. [MaskSecrets] takes out what looks like one, and rather too much than too little.
//
// # What it does not do
//
// It tells what the program files say; a process can write anything to its own command line and name. Programs in containers are named as
// their own mount namespace names them. User names are this host's, whatever a container's own /etc/passwd says.
package host
