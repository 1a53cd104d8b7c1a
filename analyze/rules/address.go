package rules

import "net/netip"

var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10")  // RFC 6598
	localNAT64  = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215
)

// place names the part of the address space that a is in, when a is not one of the public internet's: "loopback", "link-local",
// "private" (RFC 1918, RFC 4193), "shared" (RFC 6598: VPCs use it too) or "local-nat64" (RFC 8215); else it is empty. The unspecified
// address is loopback, because that is where a Linux client ends up.
func place(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case a.IsLoopback(), a.IsUnspecified():
		return "loopback"
	case a.IsPrivate():
		return "private"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case sharedSpace.Contains(a):
		return "shared"
	case localNAT64.Contains(a.WithZone("")):
		return "local-nat64"
	}
	return ""
}
