package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// The link between the two namespaces. The client of the i-th scenario comes from 192.0.2.i, so that each is a client of its own.
const (
	nearLink  = "192.0.2.1"
	farLink   = "192.0.2.254"
	nearLink6 = "2001:db8::1"
	farLink6  = "2001:db8::fe"
)

// makeNamespaces gives this process, which is alone in new network and mount namespaces, its link to a second network namespace, and
// the address of every scenario. It fails if either namespace has a way out.
func (r *rig) makeNamespaces() error {
	// What is mounted from here on stays here.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	var info syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/net", &info); err != nil {
		return err
	}
	r.netNS = info.Ino
	// The process holds the namespace open until it ends.
	holder, err := r.startIn(here, "", "namespace", []string{"unshare", "--net", "sleep", "infinity"}, nil)
	if err != nil {
		return err
	}
	r.farPID = holder.Process.Pid
	if err := r.waitForNamespace(); err != nil {
		return err
	}
	near := []string{
		"link set lo up",
		fmt.Sprintf("link add near type veth peer name far netns %d", r.farPID),
		"link set near up",
		"address add " + nearLink + "/24 dev near",
		"-6 address add " + nearLink6 + "/64 dev near nodad",
	}
	for _, o := range origins {
		near = append(near, fmt.Sprintf("route add %s/32 via %s dev near", o.address(), farLink))
	}
	near = append(near, fmt.Sprintf("route add %s/32 via %s dev near", markerAddress, farLink))
	away := []string{
		"link set lo up", "link set far up",
		"address add " + farLink + "/24 dev far",
		"-6 address add " + farLink6 + "/64 dev far nodad",
		// Servers may listen at any address of these. IPv6 wants every one by itself, below.
		"route add local 198.51.100.0/24 dev lo",
		"route add local 203.0.113.0/24 dev lo",
	}
	for i, s := range r.scenarios {
		switch {
		case s.at == loopback:
			s.from = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // the client of all
		case s.addr.Is4():
			s.from = netip.AddrFrom4([4]byte{192, 0, 2, byte(firstAddress + i)})
			near = append(near, fmt.Sprintf("address add %s/32 dev near", s.from),
				fmt.Sprintf("route add %s/32 via %s dev near src %s", s.addr, farLink, s.from))
		default:
			a := netip.MustParseAddr("2001:db8::1:0").As16()
			a[15] = byte(firstAddress + i)
			s.from = netip.AddrFrom16(a)
			away = append(away, "-6 address add "+s.addr.String()+"/128 dev lo nodad")
			near = append(near, fmt.Sprintf("-6 address add %s/128 dev near nodad", s.from),
				fmt.Sprintf("-6 route add %s/128 via %s dev near src %s", s.addr, farLink6, s.from))
		}
	}
	if err := ipBatch(near); err != nil {
		return err
	}
	if err := ipBatch(away, r.inFar()...); err != nil {
		return err
	}
	for _, prefix := range [][]string{nil, r.inFar()} {
		for _, family := range []string{"-4", "-6"} {
			out, err := command(append(prefix, "ip", family, "route", "show", "default")).CombinedOutput()
			if err != nil || len(out) > 0 {
				return fmt.Errorf("the namespace has a way out: %s %v", out, err)
			}
		}
	}
	return nil
}

// inFar is the beginning of a command that runs in the servers' namespace.
func (r *rig) inFar() []string {
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", r.farPID), "--"}
}

// waitForNamespace waits until the holder has left this process's network namespace.
func (r *rig) waitForNamespace() error {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	return r.wait("the second namespace", func() error {
		other, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", r.farPID))
		if err == nil && other == own {
			err = fmt.Errorf("still %s", own)
		}
		return err
	})
}

// ipBatch runs ip(8) commands; those that begin with -6 need a run of their own.
func ipBatch(lines []string, prefix ...string) error {
	var four, six []string
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, "-6 "); ok {
			six = append(six, rest)
		} else {
			four = append(four, l)
		}
	}
	for _, batch := range []struct {
		family string
		lines  []string
	}{{"-4", four}, {"-6", six}} {
		if len(batch.lines) == 0 {
			continue
		}
		arguments := append(slices.Clone(prefix), "ip", batch.family, "-batch", "-")
		cmd := command(arguments)
		cmd.Stdin = strings.NewReader(strings.Join(batch.lines, "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", batch.family, err, out)
		}
	}
	return nil
}

func command(arguments []string) *exec.Cmd { return exec.Command(arguments[0], arguments[1:]...) }

// bracketed is an address as URLs and nginx write it.
func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
