package afpacket

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dynwatch/dynwatch/capture/filter"
)

// DefaultPorts are looked at whatever the address: HTTPS and HTTP, emulators of DynamoDB and proxies, DAX without and with TLS.
var DefaultPorts = []uint16{443, 80, 8000, 8080, 3128, 8111, 9111}

// tunnels is what package decode may find another packet in.
const tunnels = "udp dst port 4789 or udp dst port 8472 or udp dst port 6081 or udp dst port 2152 or " +
	"ip proto 4 or ip proto 41 or ip proto 47 or ip6 proto 4 or ip6 proto 41 or ip6 proto 47 or " + labelled

// labelled is MPLS and PPPoE.
const labelled = "ether proto 0x8847 or ether proto 0x8848 or ether proto 0x8864"

// selection is what the kernel lets through, as a filter expression. all lets every TCP segment through.
func selection(prefixes []netip.Prefix, ports []uint16, all, tunnelled bool) string {
	var b strings.Builder
	b.WriteString("tcp")
	if !all {
		var any []string
		for _, p := range ports {
			any = append(any, "port "+strconv.Itoa(int(p)))
		}
		for _, p := range merge(prefixes) {
			any = append(any, "net "+p.String())
		}
		if len(any) == 0 {
			any = append(any, "less 0")
		}
		b.WriteString(" and (" + strings.Join(any, " or ") + ")")
	}
	b.WriteString(" or src port 53")
	if tunnelled {
		b.WriteString(" or " + tunnels)
	}
	return b.String()
}

// mentionsVLAN: the kernel's filter sees the packet without the tag, which is beside it. Expressions that ask for tags are evaluated here,
// after the tag was put back.
var mentionsVLAN = regexp.MustCompile(`(?i)\bvlan\b`)

// mentionsLabel: behind MPLS and PPPoE there can be no VLAN tag, and what follows the word in an expression is looked for behind the label.
var mentionsLabel = regexp.MustCompile(`(?i)\b(mpls|pppoes)\b`)

// chosen is the user's filter and ours, and where each is evaluated.
type chosen struct {
	// kernel is the expression for the kernel's program; wide is one without addresses, for when it gets too long.
	kernel, wide string
	// asWritten: the expressions look for tags themselves, or can have none.
	asWritten bool
	// here is the user's expression if the kernel cannot evaluate it.
	here string
}

func choose(o *Options) chosen {
	user := ""
	if o.Filter != nil {
		user = strings.TrimSpace(o.Filter.String())
	}
	ours, wide := selection(o.Prefixes, o.Ports, o.All || user != "", o.Tunnels), selection(nil, nil, true, o.Tunnels)
	switch {
	case user == "":
		return chosen{kernel: ours, wide: wide}
	case mentionsVLAN.MatchString(user):
		if mentionsLabel.MatchString(user) && !o.Tunnels {
			ours += " or " + labelled
			wide = ours
		}
		return chosen{kernel: ours, wide: wide, here: user}
	}
	and := func(s string) string { return "(" + user + ") and (" + s + ")" }
	return chosen{kernel: and(ours), wide: and(wide), asWritten: mentionsLabel.MatchString(user)}
}

// forms are the expressions for a link type to try in the kernel: each has a shorter program than the one before, and lets more through. Of Ethernet
// frames some have a VLAN tag in them, in most it is beside them.
func (c chosen) forms(link uint32) []string {
	list := []string{c.kernel, c.wide}
	if link == filter.LinkEthernet && !c.asWritten {
		tagged := func(without, with string) string { return "(" + without + ") or (vlan and (" + with + "))" }
		list = []string{tagged(c.kernel, c.kernel), tagged(c.kernel, c.wide), tagged(c.wide, c.wide)}
	}
	return slices.Compact(list)
}

// merge returns the fewest prefixes that hold the same addresses: contained ones go, and two halves become one.
func merge(prefixes []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.IsValid() {
			sorted = append(sorted, p.Masked())
		}
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var out []netip.Prefix
	for _, p := range sorted {
		if n := len(out); n > 0 && out[n-1].Contains(p.Addr()) && out[n-1].Bits() <= p.Bits() {
			continue
		}
		out = append(out, p)
		for n := len(out); n > 1; n = len(out) {
			a, b := out[n-2], out[n-1]
			if a.Bits() != b.Bits() || a.Bits() == 0 || a.Addr().BitLen() != b.Addr().BitLen() {
				break
			}
			both := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
			if !both.Contains(b.Addr()) {
				break
			}
			out = append(out[:n-2], both)
		}
	}
	return out
}
