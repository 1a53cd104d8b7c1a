package bpf

import "golang.org/x/sys/unix"

// rights are the capabilities of which Capabilities tells.
var rights = []struct {
	number int
	name   string
}{
	{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_PERFMON, "CAP_PERFMON"},
}

// lacking are those of the rights that are not among the effective capabilities of the calling thread; none if they cannot be read.
func lacking() []string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return nil
	}
	return lackingOf(uint64(data[0].Effective) | uint64(data[1].Effective)<<32)
}

func lackingOf(effective uint64) []string {
	if effective&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return nil
	}
	var names []string
	for _, r := range rights {
		if effective&(1<<r.number) == 0 {
			names = append(names, r.name)
		}
	}
	return names
}
