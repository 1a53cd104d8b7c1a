// Package sockdiag finds the process that owns a local TCP socket.
//
//	f, err := sockdiag.Open(sockdiag.Options{})
//	opening := f.Opening(syn.FiveTuple) // nil: no socket of this host
//
// The kernel is asked for the socket by its addresses and ports (netlink, inet_diag; sock_diag(7)). It tells the socket's inode, user id and
// cgroup. Which process holds the inode is found by looking through /proc/PID/fd. The socket may be in any network namespace: namespaces
// are found from /proc/PID/ns/net, and asked from a thread that enters them. No file of another namespace stays open, for that would keep
// a container's network alive after its end.
//
// # Cost and bounds
//
// A look-up in the own namespace is one exchange with the kernel. If there is no such socket, the namespaces that have the address are asked, the
// own one too, for sockets that are bound to an interface, one interface after the other. Which addresses the
// namespaces have is read at most once in a second, when one is unknown, so that packets from the outside cost little. Then files are looked
// at, some of each process: of those in the socket's cgroup, of those that owned a socket lately, of the youngest, of all others; and at last more of
// those that have very many. A search that runs out of budget is gone on with by the next one, where it stopped. Both this search and the one through namespaces have a
// budget per second; what it does not allow is counted, and the answer has what is known up to there: a user and a cgroup without
// a process, or nothing.
//
// # What it does not see
//
// A socket that is closed before it is looked up has no owner any more: the shortest connections are missed. A socket that several processes
// hold, after fork, is given to one of them. The names of threads are not known. In another namespace, a socket whose address is none of the
// namespace's own (transparent proxies) is not found; in any, one that is bound to an interface beyond the first 64.
//
// Other users' files need CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, other namespaces CAP_SYS_ADMIN.
package sockdiag
