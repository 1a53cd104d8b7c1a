package decode

import (
	"errors"
	"fmt"
)

// The link types that Decode reads.
const (
	LinkNull      LinkType = 0   // BSD loopback, the address family in the byte order of the capturing host
	LinkEthernet  LinkType = 1   // IEEE 802.3
	LinkPPP       LinkType = 9   // PPP, with or without HDLC address and control bytes
	LinkPPPHDLC   LinkType = 50  // PPP in HDLC-like framing, or Cisco HDLC
	LinkPPPEther  LinkType = 51  // PPPoE session, from the PPPoE header on
	LinkRaw       LinkType = 101 // IPv4 or IPv6, from the IP header on
	LinkCiscoHDLC LinkType = 104 // Cisco HDLC
	LinkLoop      LinkType = 108 // OpenBSD loopback, the address family in network byte order
	LinkSLL       LinkType = 113 // Linux cooked capture v1
	LinkIPv4      LinkType = 228 // IPv4
	LinkIPv6      LinkType = 229 // IPv6
	LinkSLL2      LinkType = 276 // Linux cooked capture v2

	// DLT_RAW as some systems write it into the file instead of 101.
	linkRawBSD     LinkType = 12
	linkRawOpenBSD LinkType = 14
)

// refused names link types that people do capture and that Decode does not read.
var refused = map[LinkType]string{
	6:   "Token Ring (IEEE802_5)",
	10:  "FDDI",
	105: "802.11 (IEEE802_11)",
	117: "OpenBSD pf log (PFLOG)",
	119: "802.11 (IEEE802_11_PRISM)",
	127: "802.11 (IEEE802_11_RADIO)",
	147: "private use (USER0)",
	163: "802.11 (IEEE802_11_AVS)",
	187: "Bluetooth (BLUETOOTH_HCI_H4)",
	189: "USB (USB_LINUX)",
	192: "802.11 (PPI)",
	195: "802.15.4 (IEEE802_15_4_WITHFCS)",
	201: "Bluetooth (BLUETOOTH_HCI_H4_WITH_PHDR)",
	220: "USB (USB_LINUX_MMAPPED)",
	227: "CAN (CAN_SOCKETCAN)",
	239: "netfilter log (NFLOG)",
	242: "IP over InfiniBand (IPOIB)",
	247: "InfiniBand (INFINIBAND)",
	249: "USB (USBPCAP)",
	252: "Wireshark upper PDU (WIRESHARK_UPPER_PDU)",
	253: "netlink (NETLINK)",
	258: "Darwin packet tap (PKTAP)",
}

// LinkError is the error of Supported. It matches errors.ErrUnsupported.
type LinkError struct {
	Link LinkType
}

// Error names the link type and what to do instead.
func (e *LinkError) Error() string {
	name := refused[e.Link]
	if name == "" {
		name = fmt.Sprintf("link type %d", e.Link)
	}
	return name + " is not supported: capture on an Ethernet, loopback or tunnel interface, or on all of them with -i any"
}

// Is reports whether target is errors.ErrUnsupported.
func (e *LinkError) Is(target error) bool { return target == errors.ErrUnsupported }

// Supported returns nil if Decode reads frames of the link type, otherwise a *LinkError that names it.
func Supported(link LinkType) error {
	switch link {
	case LinkNull, LinkEthernet, LinkPPP, LinkPPPHDLC, LinkPPPEther, LinkRaw, LinkCiscoHDLC, LinkLoop, LinkSLL, LinkIPv4, LinkIPv6, LinkSLL2,
		linkRawBSD, linkRawOpenBSD:
		return nil
	}
	return &LinkError{Link: link}
}
