package host

import (
	"strings"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Identity is what the path of a cgroup says of the processes in it. What it does not say is empty.
type Identity struct {
	// ContainerID is the runtime's id, 64 hex digits; on Fargate the task id, a dash and a number. Of nested containers it is the innermost, in a
	// pod the pod's own.
	ContainerID string
	// ContainerName is known from the path for LXC and systemd-nspawn only.
	ContainerName string
	// Runtime is docker, containerd, cri-o, podman, lxc or systemd-nspawn.
	Runtime string
	// PodUID is a UUID, or the 32 hex digits that the kubelet gives to a static pod.
	PodUID string
	// Unit is the systemd service or scope, in systemd's own spelling (escapes such as \x2d stay). One that is not the host's has before it who
	// vouches for it: "user@1000.service/app.service", "systemd-nspawn@web.service/nginx.service", and "container/nginx.service" in
	// other containers that run systemd themselves. It is empty for other containers of a container engine, unless the container is a service
	// itself (podman's quadlets).
	Unit string
}

// rank orders identities by how much they tell, for hosts where a process is in several hierarchies.
func (id Identity) rank() int {
	switch {
	case id.ContainerID != "":
		return 4
	case id.ContainerName != "":
		return 3
	case id.PodUID != "":
		return 2
	case id.Unit != "":
		return 1
	}
	return 0
}

// maxCgroupLines bounds the reading of a /proc/PID/cgroup: Linux has some 14 controllers, and named hierarchies are rare.
const maxCgroupLines = 64

// ParseCgroup reads a /proc/PID/cgroup file: one line for each hierarchy, "id:controllers:path" (cgroups(7)). With version 1, and on hybrid
// hosts, the lines may differ, and some may be "/"; the line that tells most is taken, the unified hierarchy's first, then systemd's.
func ParseCgroup(content string) Identity {
	var best Identity
	bestRank := -1
	for n := 0; content != "" && n < maxCgroupLines; n++ {
		var line string
		line, content, _ = strings.Cut(content, "\n")
		_, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		controllers, path, ok := strings.Cut(rest, ":") // a path may hold further colons
		if !ok {
			continue
		}
		id := ParseCgroupPath(path)
		rank := 3 * id.rank()
		switch controllers {
		case "":
			rank += 2
		case "name=systemd":
			rank++
		}
		if rank > bestRank {
			best, bestRank = id, rank
		}
	}
	return best
}

// ParseCgroupPath reads one path of a cgroup, below any mount point or cgroup namespace: parts that say nothing are skipped, so that
// "/../../x.scope", as a private cgroup namespace shows a cgroup outside of it, is read as well as the whole path.
//
// Where the shapes come from: Kubernetes pkg/kubelet/cm (kubepods, kubepods-burstable-pod<uid>.slice), containerd's CRI ("cri-containerd-<id>.scope" and
// "slice:cri-containerd:<id>"), CRI-O ("crio-<id>.scope", "crio-conmon-<id>.scope", crun's child "container"), podman ("libpod-<id>.scope",
// "libpod-payload-<id>" with --cgroups=split), Amazon ECS agent ("/ecs/<task>/<id>", "ecstasks-<task>.slice/docker-<id>.scope"),
// LXC ("lxc/<name>", "lxc.payload.<name>"), systemd.unit(5), systemd-nspawn(1), machinectl(1).
//
// Who may make a cgroup may give it any name, and not all of a path is made by the host: below its user@N.service a user makes what they
// like, as does a service below its own cgroup if it was given it (Delegate= in systemd.resource-control(5)), or who controls a container below the container's.
// So a name counts for what stands before it. A pod is one only where the host made all the rest of the path, or a container engine's node such as kind's;
// within a pod's container nothing changes pod or container; and a unit that the host's service manager did not make is told with who did.
func ParseCgroupPath(path string) Identity {
	path = strings.TrimSuffix(path, " (deleted)") // of a cgroup that was removed under the process
	r := pathReader{pods: true}
	for path != "" {
		var part string
		part, path, _ = strings.Cut(path, "/")
		if part == "" || part == "." || part == ".." {
			continue
		}
		r.read(part)
		r.before = part
	}
	id := r.id
	id.ContainerName, id.Unit = flow.Printable(id.ContainerName), flow.Printable(id.Unit) // whoever may make a cgroup may name it in any bytes but / and \n
	return id
}

// pathReader reads a path from the outside in.
type pathReader struct {
	id     Identity
	before string // the part before the one that is read
	ecs    bool
	// pods: what was read so far vouches for a pod that is named next.
	pods bool
	// place is who makes units here, as it stands before their names: "" for the host's service manager. named: one was named, and what is below is
	// its own doing. user: place is a user's service manager.
	place       string
	named, user bool
}

func (r *pathReader) read(part string) {
	r.ecs = r.ecs || r.before == "" && part == "ecs"
	if uid := podUID(part); uid != "" && r.pods && r.id.PodUID == "" {
		// The pod is what is inside of the container that plays its node, as kind and minikube do.
		r.id = Identity{PodUID: uid}
	}
	settled := r.id.PodUID != "" && r.id.ContainerID != "" // the kubelet's directories are asked by both
	if cid, runtime := containerOf(part); cid != "" {
		if !settled {
			r.container(cid, runtime)
		}
		return
	}
	if name := lxcName(r.before, part); name != "" {
		if !settled {
			r.id = Identity{PodUID: r.id.PodUID, ContainerName: name, Runtime: "lxc"}
			r.pods, r.place, r.named, r.user = false, insideContainer, false, false
		}
		return
	}
	machine := nspawnName(r.before, part)
	if machine != "" && !settled {
		r.id = Identity{PodUID: r.id.PodUID, ContainerName: machine, Runtime: "systemd-nspawn", Unit: r.id.Unit}
		r.pods = false
	}
	if isUnit(part) && !r.named && !(r.user && part == "init.scope") {
		r.id.Unit = r.place + part
		r.pods = r.pods && runsPods(part)
		// One manager inside of another, no deeper: a path of them must not make a name of any length.
		manager := strings.HasPrefix(part, "user@") || machine != ""
		if manager && strings.Count(r.place, "/") < 2 {
			r.place, r.user = r.place+part+"/", machine == ""
		} else {
			r.named = true
		}
	}
}

// insideContainer stands before the names of units of a container's own service manager.
const insideContainer = "container/"

func (r *pathReader) container(id, runtime string) {
	if runtime == "" {
		runtime = runtimeByPlace(r.before, id, r.ecs)
	}
	r.id.ContainerID, r.id.Runtime, r.id.ContainerName = id, runtime, ""
	// The engine's own unit says nothing of the container. podman has none: where it runs inside a service, that is the service's.
	if runtime != "podman" || r.user && !r.named {
		r.id.Unit = ""
	}
	r.pods = r.pods && r.id.PodUID == ""
	r.place, r.named, r.user = insideContainer, r.id.Unit != "", false
}

// runsPods reports whether a unit of the host is one that keeps the cgroups of pods inside its own: a Kubernetes that comes as one program, or
// the engine where the kubelet and it have different drivers for cgroups.
func runsPods(unit string) bool {
	switch unit {
	case "kubelet.service", "containerd.service", "crio.service", "docker.service", "k3s.service":
		return true
	}
	for _, prefix := range []string{"k3s-", "rke2-", "k0s", "snap.microk8s."} {
		if strings.HasPrefix(unit, prefix) && strings.HasSuffix(unit, ".service") {
			return true
		}
	}
	return false
}

// enginePrefixes are what container engines put before the id. The longer of two that begin alike comes first.
var enginePrefixes = []struct{ prefix, runtime string }{
	{"docker-", "docker"},
	{"cri-containerd-", "containerd"},
	{"containerd-", "containerd"},
	{"nerdctl-", "containerd"},
	{"crio-conmon-", "cri-o"},
	{"crio-", "cri-o"},
	{"libpod-conmon-", "podman"},
	{"libpod-payload-", "podman"},
	{"libpod-", "podman"},
}

// containerOf returns the container id that one part of a path holds, and its runtime if the part tells.
func containerOf(part string) (id, runtime string) {
	// The cgroupfs driver of containerd, given a path in systemd's form, makes a directory with two colons.
	if i := strings.LastIndexByte(part, ':'); i >= 0 {
		engine := part[:i]
		part = part[i+1:]
		if j := strings.LastIndexByte(engine, ':'); j >= 0 {
			part = engine[j+1:] + "-" + part
		}
	}
	part = strings.TrimSuffix(part, ".scope")
	for _, e := range enginePrefixes {
		if rest, ok := strings.CutPrefix(part, e.prefix); ok && isHex(rest, 64) {
			return rest, e.runtime
		}
	}
	if isHex(part, 64) {
		return part, ""
	}
	// Fargate: the task's id, a dash, and a number.
	if len(part) > 33 && part[32] == '-' && isHex(part[:32], 32) && isDigits(part[33:]) {
		return part, ""
	}
	return "", ""
}

// runtimeByPlace tells the runtime of a container whose directory is named by the id alone, where the directories around it tell.
func runtimeByPlace(parent, id string, ecs bool) string {
	// ECS's agent on EC2 knows no other engine than docker; Fargate has containerd since platform version 1.4 and docker before.
	if parent == "docker" || ecs && len(id) == 64 {
		return "docker"
	}
	return ""
}

// podUID returns the UID of the pod that one part of a path names: pod<uid>, kubepods-pod<uid>.slice, kubepods-besteffort-pod<uid>.slice,
// with another prefix before where the kubelet has a cgroup root.
func podUID(part string) string {
	if i := strings.IndexByte(part, ':'); i >= 0 {
		part = part[:i]
	}
	if rest, ok := strings.CutSuffix(part, ".slice"); ok {
		i := strings.LastIndex(rest, "-pod")
		if i < 0 || !strings.Contains(rest[:i], "kubepods") {
			return ""
		}
		part = strings.ReplaceAll(rest[i+1:], "_", "-") // systemd takes a dash for a level of the tree
	}
	uid, ok := strings.CutPrefix(part, "pod")
	if !ok || !isPodUID(uid) {
		return ""
	}
	return uid
}

func isPodUID(s string) bool {
	if isHex(s, 32) {
		return true
	}
	return len(s) == 36 && isHex(s[:8], 8) && s[8] == '-' && isHex(s[9:13], 4) && s[13] == '-' && isHex(s[14:18], 4) && s[18] == '-' &&
		isHex(s[19:23], 4) && s[23] == '-' && isHex(s[24:], 12)
}

func lxcName(parent, part string) string {
	for _, prefix := range []string{"lxc.payload.", "lxc.monitor."} {
		if name, ok := strings.CutPrefix(part, prefix); ok {
			return name
		}
	}
	switch parent {
	case "lxc", "lxc.payload", "lxc.monitor":
		return part
	}
	return ""
}

// nspawnName returns the name of the machine that a unit is for. libvirt registers virtual machines in the same way, with the driver's
// name before the machine's.
func nspawnName(parent, part string) string {
	if rest, ok := strings.CutPrefix(part, "systemd-nspawn@"); ok {
		name, _ := strings.CutSuffix(rest, ".service")
		return name
	}
	if parent != "machine.slice" {
		return ""
	}
	rest, ok := strings.CutPrefix(part, "machine-")
	name, scope := strings.CutSuffix(rest, ".scope")
	if !ok || !scope || strings.HasPrefix(name, `qemu\x2d`) || strings.HasPrefix(name, `lxc\x2d`) {
		return ""
	}
	return name
}

func isUnit(part string) bool {
	return len(part) <= 255 && (strings.HasSuffix(part, ".service") && part != ".service" || strings.HasSuffix(part, ".scope") && part != ".scope")
}

// isHex reports whether s is n lower-case hex digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
