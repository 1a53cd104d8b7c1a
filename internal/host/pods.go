package host

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// podName is what the kubelet's log directories tell of a container or pod.
type podName struct{ namespace, pod, container string }

// parsePodLogDir reads the name of a directory below /var/log/pods: <namespace>_<pod>_<uid> (Kubernetes, pkg/kubelet/kuberuntime,
// BuildPodLogsDirectory). None of the three can hold an underscore.
func parsePodLogDir(name string) (uid string, p podName, ok bool) {
	namespace, rest, ok1 := strings.Cut(name, "_")
	pod, uid, ok2 := strings.Cut(rest, "_")
	if !ok1 || !ok2 || namespace == "" || pod == "" || !isPodUID(uid) || flow.Printable(name) != name {
		return "", podName{}, false
	}
	return uid, podName{namespace: namespace, pod: pod}, true
}

// parseContainerLog reads the name of a link in /var/log/containers: <pod>_<namespace>_<container>-<container id>.log (Kubernetes,
// pkg/kubelet/kuberuntime/legacy.go).
func parseContainerLog(name string) (id string, p podName, ok bool) {
	name, ok = strings.CutSuffix(name, ".log")
	if !ok || len(name) < 66 || name[len(name)-65] != '-' || flow.Printable(name) != name {
		return "", podName{}, false
	}
	id = name[len(name)-64:]
	pod, rest, ok1 := strings.Cut(name[:len(name)-65], "_")
	namespace, container, ok2 := strings.Cut(rest, "_")
	if !ok1 || !ok2 || pod == "" || namespace == "" || container == "" || !isHex(id, 64) {
		return "", podName{}, false
	}
	return id, podName{namespace: namespace, pod: pod, container: container}, true
}

const (
	// maxDirEntries bounds how much of one directory is read.
	maxDirEntries = 32768
	// scanPause is the least time between two readings of one directory.
	scanPause = 100 * time.Millisecond
	// mtimeGrain is how far apart two changes of a directory must be to be told apart by its modification time. The clock of file systems
	// moves with the timer interrupt, every 10 ms at most.
	mtimeGrain = 20 * time.Millisecond
)

// dirIndex is a directory whose entries' names tell something by key. It is read again when it has changed and a key is missing, so
// that an entry which appears late is found by a later call.
type dirIndex struct {
	path  string
	parse func(name string) (key string, p podName, ok bool)

	names   map[string]dirEntry
	scanned time.Time
	changed time.Time // modification time of the directory when it was read
	// scans counts readings; skipped counts entries beyond maxDirEntries.
	scans, skipped uint64
}

type dirEntry struct {
	podName
	file string
}

// find returns what the directory tells of key.
func (x *dirIndex) find(key string, now time.Time) (dirEntry, bool) {
	if e, ok := x.names[key]; ok {
		return e, true
	}
	if x.names != nil && now.Sub(x.scanned) < scanPause {
		return dirEntry{}, false
	}
	info, err := os.Stat(x.path)
	if err != nil {
		x.names = nil
		return dirEntry{}, false
	}
	if x.names != nil && info.ModTime().Equal(x.changed) && x.scanned.Sub(x.changed) > mtimeGrain {
		return dirEntry{}, false
	}
	x.scan(now, info.ModTime())
	e, ok := x.names[key]
	return e, ok
}

func (x *dirIndex) scan(now, changed time.Time) {
	x.scans++
	x.names, x.scanned, x.changed = make(map[string]dirEntry), now, changed
	d, err := os.Open(x.path)
	if err != nil {
		return
	}
	defer d.Close()
	for n := 0; ; {
		files, err := d.Readdirnames(512)
		for _, file := range files {
			n++
			if n > maxDirEntries {
				x.skipped++
				continue
			}
			if key, p, ok := x.parse(file); ok {
				x.names[key] = dirEntry{p, file}
			}
		}
		if err != nil || n > maxDirEntries {
			if err != nil && !errors.Is(err, io.EOF) {
				x.changed = time.Time{} // half read: read again
			}
			return
		}
	}
}

// onlyContainer returns the name of the pod's container when its log directory has just one. Of several, nothing tells which it is.
func onlyContainer(dir string) string {
	d, err := os.Open(dir)
	if err != nil {
		return ""
	}
	defer d.Close()
	files, err := d.ReadDir(2)
	if (err != nil && !errors.Is(err, io.EOF)) || len(files) != 1 || !files[0].IsDir() {
		return ""
	}
	return flow.Printable(files[0].Name())
}

// pods answers for pods and containers, also for those whose directories are gone again. Not safe for concurrent use.
type pods struct {
	byUID       dirIndex
	byContainer dirIndex
	// known keeps answers by pod UID and container id.
	known *lru[[2]string, podName]
}

func newPods(podLogs, containerLogs string, max int) *pods {
	return &pods{
		byUID:       dirIndex{path: podLogs, parse: parsePodLogDir},
		byContainer: dirIndex{path: containerLogs, parse: parseContainerLog},
		known:       newLRU[[2]string, podName](max),
	}
}

// find returns the names of a pod and of one of its containers. late reports that more may be known later: the kubelet makes the
// directory of a pod shortly before its containers start, and the link in the other when a container has started.
func (p *pods) find(uid, containerID string, now time.Time) (name podName, late bool) {
	key := [2]string{uid, containerID}
	if name, ok := p.known.get(key); ok {
		return name, false
	}
	if containerID != "" {
		if e, ok := p.byContainer.find(containerID, now); ok {
			p.known.put(key, e.podName)
			return e.podName, false
		}
	}
	if uid == "" {
		return podName{}, false
	}
	e, ok := p.byUID.find(uid, now)
	if !ok {
		return podName{}, true
	}
	name = e.podName
	if containerID != "" {
		name.container = onlyContainer(filepath.Join(p.byUID.path, e.file))
	}
	if name.container == "" && containerID != "" {
		return name, true
	}
	p.known.put(key, name)
	return name, false
}
