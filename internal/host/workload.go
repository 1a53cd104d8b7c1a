package host

import (
	"path"
	"strings"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// maxWorkload bounds a workload's name, in bytes.
const maxWorkload = 128

// Workload names what a process belongs to, so that it stays the same when the process is started again or moved: its pod without the parts
// that a controller makes up, else its container's name, else its systemd unit, else its program. namespace is Kubernetes's and empty
// without a pod; both are empty when nothing is known.
//
// What a controller makes up is told by its form alone, without asking the API server: a pod that somebody named like that loses its ending.
func Workload(p *flow.Process) (namespace, name string) {
	switch {
	case p == nil:
		return "", ""
	case p.Pod != "":
		namespace, name = p.Namespace, podWorkload(p.Pod)
	case p.ContainerName != "":
		name = p.ContainerName
	case unitWorkload(p.Unit) != "":
		name = unitWorkload(p.Unit)
	case p.Exe != "":
		name = path.Base(p.Exe)
	default:
		name = p.Comm
	}
	return shorten(namespace, maxWorkload), shorten(name, maxWorkload)
}

// suffixLetters are the letters that Kubernetes makes names up from: no vowels, and nothing that reads like another (apimachinery's util/rand).
const suffixLetters = "bcdfghjklmnpqrstvwxz2456789"

// podWorkload takes from a pod's name what its controller added: NAME-HASH-RANDOM of a Deployment, NAME-MINUTES-RANDOM of a CronJob,
// NAME-RANDOM of a DaemonSet or Job, NAME-ORDINAL of a StatefulSet.
func podWorkload(pod string) string {
	rest, last, ok := cutLast(pod)
	switch {
	case !ok:
		return pod
	case isDigits(last) && len(last) <= 4:
		return rest
	case len(last) != 5 || !isSuffix(last):
		return pod
	}
	name, hash, ok := cutLast(rest)
	if ok && (len(hash) >= 6 && len(hash) <= 10 && isSuffix(hash) && strings.ContainsAny(hash, "2456789") || len(hash) == 8 && isDigits(hash)) {
		return name
	}
	return rest
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func isSuffix(s string) bool {
	return strings.Trim(s, suffixLetters) == ""
}

// unitWorkload is a unit without its instance: getty@tty1.service is getty@.service. A scope has a name made up for one run of something.
func unitWorkload(unit string) string {
	name, instance, ok := strings.Cut(unit, "@")
	switch {
	case strings.HasSuffix(unit, ".scope"):
		return ""
	case !ok:
		return unit
	}
	if i := strings.LastIndexByte(instance, '.'); i >= 0 {
		return name + "@" + instance[i:]
	}
	return unit
}
