package sockdiag

import (
	"slices"
	"strconv"
)

// holder finds a process that has the socket open, 0 if none was found.
//
// First it looks at some files of each process: of those in the socket's cgroup, of those that owned one lately, of the youngest, of all others.
// Then at the rest of those that have more. No part may use up what the others need, or a process with very many files would hide the owners
// that come after it for good; and where the budget ends a search, the next one goes on, whatever socket that is for.
func (f *Finder) holder(s Socket) int {
	link := strconv.AppendUint([]byte("socket:["), uint64(s.Inode), 10)
	link = append(link, ']')
	f.files.refill(f.o.Now())
	if f.files.left < 1 {
		f.limited = true
		return 0
	}
	var more []place
	seen := make(map[int]bool)
	// look looks at files of each process until the budget is down to reserve. It returns who has the socket, or where it stopped.
	look := func(pids []int, limit int, reserve float64) (found, stopped int) {
		for _, pid := range pids {
			if seen[pid] {
				continue
			}
			if f.files.left-reserve < 1 {
				return 0, pid
			}
			seen[pid] = true
			found, next := f.holds(place{pid: pid}, link, limit)
			if found {
				return pid, 0
			}
			if next != 0 {
				more = append(more, place{pid, next})
			}
		}
		return 0, 0
	}
	members := cgroupMembers(f.cgroups, s.CgroupID, maxMembers)
	slices.SortStableFunc(members, func(a, b int) int { return f.rank(a) - f.rank(b) })
	if pid, _ := look(members, memberFiles, f.files.left/2); pid != 0 {
		return pid
	}
	if pid, _ := look(slices.Clone(f.recent), f.first, f.files.left/2); pid != 0 {
		return pid
	}
	all := listPids(f.o.ProcRoot)
	young := all[:min(maxYoung, len(all))]
	if pid, _ := look(young, f.first, f.files.left/2); pid != 0 {
		return pid
	}
	pid, stopped := look(from(all, f.stopped), f.first, 0)
	if pid != 0 {
		return pid
	}
	if f.stopped = stopped; stopped != 0 {
		f.limited = true
		return 0
	}
	return f.holderOfMany(more, link)
}

// rank is the place among the processes that owned a socket lately, which comes before all others.
func (f *Finder) rank(pid int) int {
	if i := slices.Index(f.recent, pid); i >= 0 {
		return i
	}
	return maxRecent
}

// holderOfMany looks at the rest of the files of processes that have many, and leaves a quarter of a second's budget to other searches.
func (f *Finder) holderOfMany(more []place, link []byte) int {
	if i := slices.IndexFunc(more, func(p place) bool { return p.pid == f.deep.pid }); i >= 0 {
		more = slices.Concat([]place{f.deep}, more[i+1:], more[:i], more[i:i+1])
	}
	reserve := float64(f.o.FilesPerSecond / 4)
	for _, p := range more {
		next := p.offset
		if n := f.files.left - reserve; n >= 1 {
			var found bool
			if found, next = f.holds(p, link, int(n)); found {
				return p.pid
			}
		}
		if next != 0 {
			f.deep, f.limited = place{p.pid, next}, true
			return 0
		}
	}
	f.deep = place{}
	return 0
}

// from turns the list so that it begins with the process, or with the one that follows in its place if it has ended.
func from(pids []int, pid int) []int {
	i := slices.Index(pids, pid)
	if i < 0 {
		i = slices.IndexFunc(pids, func(p int) bool { return p < pid })
	}
	return slices.Concat(pids[max(i, 0):], pids[:max(i, 0)])
}

// holds looks at files of one process, remembers it if it has the socket, and returns where more of its files are, 0 if there are none.
func (f *Finder) holds(p place, link []byte, limit int) (found bool, next int64) {
	found, looked, next := holds(f.o.ProcRoot, p, link, min(limit, max(int(f.files.left), 1)))
	f.files.left -= float64(looked)
	f.stats.Files += uint64(looked)
	if found {
		f.recent = slices.DeleteFunc(f.recent, func(pid int) bool { return pid == p.pid })
		f.recent = slices.Insert(f.recent, 0, p.pid)
		f.recent = f.recent[:min(len(f.recent), maxRecent)]
	}
	return found, next
}
