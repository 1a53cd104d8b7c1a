package filter

import (
	"errors"
	"fmt"
)

// Link types that expressions can be compiled for: LINKTYPE values as they stand in capture files, and the DLT values of the same
// framing where they differ (https://www.tcpdump.org/linktypes.html).
const (
	LinkNull      uint32 = 0   // BSD loopback: address family in the byte order of the host that captured
	LinkEthernet  uint32 = 1   // EN10MB
	LinkPPP       uint32 = 9   // PPP with address and control bytes
	LinkDLTRaw    uint32 = 12  // DLT_RAW nearly everywhere
	LinkDLTRawBSD uint32 = 14  // DLT_RAW on OpenBSD
	LinkRaw       uint32 = 101 // an IPv4 or IPv6 packet
	LinkLoop      uint32 = 108 // OpenBSD loopback: address family in network byte order
	LinkLinuxSLL  uint32 = 113 // Linux cooked
	LinkIPv4      uint32 = 228
	LinkIPv6      uint32 = 229
	LinkLinuxSLL2 uint32 = 276 // Linux cooked, version 2
)

// ErrLinkType is wrapped by the errors of Compile and For when the link type has no filter compiler.
var ErrLinkType = errors.New("link type not supported by filter expressions")

// framing is how a link type says what it carries. Several link types share one.
type framing uint8

const (
	framingNone framing = iota
	framingEthernet
	framingSLL
	framingSLL2
	framingPPP
	framingNull
	framingLoop
	framingRaw
	framingIPv4
	framingIPv6
)

// linkInfo is the layout of one framing. Offsets count from the first captured byte.
type linkInfo struct {
	framing framing
	name    string // as libpcap describes it
	typeOff int    // the protocol field: EtherType, PPP protocol or address family
	payload int    // the first byte of what is carried
}

var (
	linkEthernet = linkInfo{framingEthernet, "Ethernet", 12, 14}
	linkPPP      = linkInfo{framingPPP, "PPP", 2, 4}
	linkRaw      = linkInfo{framingRaw, "raw IP", 0, 0}
)

func linkFor(link uint32) (linkInfo, error) {
	switch link {
	case LinkEthernet:
		return linkEthernet, nil
	case LinkPPP:
		return linkPPP, nil
	case LinkNull:
		return linkInfo{framingNull, "BSD loopback", 0, 4}, nil
	case LinkLoop:
		return linkInfo{framingLoop, "OpenBSD loopback", 0, 4}, nil
	case LinkRaw, LinkDLTRaw, LinkDLTRawBSD:
		return linkRaw, nil
	case LinkIPv4:
		return linkInfo{framingIPv4, "raw IPv4", 0, 0}, nil
	case LinkIPv6:
		return linkInfo{framingIPv6, "raw IPv6", 0, 0}, nil
	case LinkLinuxSLL:
		return linkInfo{framingSLL, "Linux cooked", 14, 16}, nil
	case LinkLinuxSLL2:
		return linkInfo{framingSLL2, "Linux cooked, version 2", 0, 20}, nil
	}
	return linkInfo{}, fmt.Errorf("link type %d: %w", link, ErrLinkType)
}
