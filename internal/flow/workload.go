package flow

import "strings"

// Workload names what a process belongs to in a way that outlives the process: the controller of its pod, its systemd unit, its container,
// or its program. Kind is "pod", "unit", "container", "program", or "" when nothing is known.
type Workload struct {
	Kind, Namespace, Name string
}

// String is namespace/name for a pod, the bare name for the rest, and "unknown" for the zero value.
func (w Workload) String() string {
	switch {
	case w.Name == "":
		return "unknown"
	case w.Namespace != "":
		return w.Namespace + "/" + w.Name
	}
	return w.Name
}

// Workload is the workload of p, which may be nil. A pod's controller is told from the pod's name, since no API server is asked: the suffixes
// that Deployments, ReplicaSets, DaemonSets, Jobs, CronJobs and StatefulSets add are taken off. A pod that somebody named like that by
// hand loses the suffix, too.
func (p *Process) Workload() Workload {
	switch {
	case p == nil:
		return Workload{}
	case p.Pod != "":
		return Workload{Kind: "pod", Namespace: p.Namespace, Name: controllerOf(p.Pod)}
	case p.PodUID != "":
		return Workload{Kind: "pod", Name: p.PodUID}
	case p.ContainerID == "" && isService(p.Unit):
		return Workload{Kind: "unit", Name: p.Unit}
	case p.ContainerName != "":
		return Workload{Kind: "container", Name: p.ContainerName}
	case p.ContainerID != "":
		return Workload{Kind: "container", Name: p.ContainerID[:min(len(p.ContainerID), 12)]}
	case p.Exe != "":
		return Workload{Kind: "program", Name: p.Exe}
	case p.Comm != "":
		return Workload{Kind: "program", Name: p.Comm}
	}
	return Workload{}
}

// isService reports whether a unit outlives its processes and is more than the place where others are: scopes are one login's, a user's manager is
// whatever the user runs, and what a container's own manager started is told by the container.
func isService(unit string) bool {
	name := unit[strings.LastIndexByte(unit, '/')+1:]
	return strings.HasSuffix(name, ".service") && !strings.HasPrefix(name, "user@") && !strings.HasPrefix(unit, "container/")
}

// podSuffix are the characters that Kubernetes makes random suffixes of (k8s.io/apimachinery, util/rand).
const podSuffix = "bcdfghjklmnpqrstvwxz2456789"

func controllerOf(pod string) string {
	name, last, ok := cutLast(pod)
	if !ok {
		return pod
	}
	if digits(last) && len(last) <= 5 {
		return name // a StatefulSet's ordinal
	}
	if len(last) != 5 || strings.Trim(last, podSuffix) != "" {
		return pod
	}
	// A ReplicaSet has the hash of its template (up to ten of the same characters), a CronJob's Job the time in minutes.
	if owner, hash, ok := cutLast(name); ok && (len(hash) >= 6 && len(hash) <= 10 && strings.Trim(hash, podSuffix) == "" || len(hash) == 8 && digits(hash)) {
		return owner
	}
	return name
}

func cutLast(s string) (before, last string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 || i == len(s)-1 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
