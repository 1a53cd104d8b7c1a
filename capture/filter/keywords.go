package filter

import (
	"fmt"
	"slices"
	"strings"
)

// keyword is a word of the language. The protocol words come first: they are also qualifiers and the bases of byte access.
type keyword uint8

const (
	keyNone keyword = iota // as a qualifier: none was written

	keyEther
	keyIP
	keyIP6
	keyARP
	keyRARP
	keyTCP
	keyUDP
	keySCTP
	keyICMP
	keyICMP6
	keyIGMP
	keyIGRP
	keyPIM
	keyVRRP
	keyAH
	keyESP

	keySrc
	keyDst
	keyHost
	keyNet
	keyMask
	keyPort
	keyPortrange
	keyProto
	keyLess
	keyGreater
	keyLen
	keyBroadcast
	keyMulticast
	keyVLAN
	keyMPLS
	keyPPPoED
	keyPPPoES
	keyAnd
	keyOr
	keyNot
)

func (k keyword) isProtocol() bool { return keyEther <= k && k <= keyESP }

// String is the word, in the spelling that messages use.
func (k keyword) String() string {
	for word, key := range keywords {
		if key == k && !slices.Contains(aliases, word) {
			return word
		}
	}
	return "nothing"
}

var keywords = map[string]keyword{
	"ether": keyEther, "link": keyEther, "ppp": keyEther, "slip": keyEther,
	"ip": keyIP, "ip6": keyIP6, "arp": keyARP, "rarp": keyRARP,
	"tcp": keyTCP, "udp": keyUDP, "sctp": keySCTP, "icmp": keyICMP, "icmp6": keyICMP6,
	"igmp": keyIGMP, "igrp": keyIGRP, "pim": keyPIM, "vrrp": keyVRRP, "carp": keyVRRP, "ah": keyAH, "esp": keyESP,
	"src": keySrc, "dst": keyDst,
	"host": keyHost, "net": keyNet, "mask": keyMask, "port": keyPort, "portrange": keyPortrange, "proto": keyProto,
	"less": keyLess, "greater": keyGreater, "len": keyLen, "length": keyLen,
	"broadcast": keyBroadcast, "multicast": keyMulticast,
	"vlan": keyVLAN, "mpls": keyMPLS, "pppoed": keyPPPoED, "pppoes": keyPPPoES,
	"and": keyAnd, "or": keyOr, "not": keyNot,
}

// aliases are second spellings, never used in messages. (VRRP and CARP share IP protocol 112.)
var aliases = []string{"link", "ppp", "slip", "carp", "length"}

// unsupported are the words of pcap-filter(7) that this package knows but does not compile, with the reason.
var unsupported = func() map[string]string {
	m := make(map[string]string)
	for reason, words := range map[string]string{
		"it needs host names, and names are not looked up":              "gateway",
		"it needs a loop that packet filters in the kernel do not have": "protochain",
		"a capture file does not say which way a packet went":           "inbound outbound",
		"it is about 802.11 frames": "wlan type subtype dir direction ra ta radio " +
			"addr1 addr2 addr3 addr4 address1 address2 address3 address4",
		"it is about FDDI or Token Ring frames":       "fddi tr",
		"it is about logs of OpenBSD's packet filter": "on ifname rset ruleset rnr rulenum srnr subrulenum reason action",
		"it is about ATM":                             "lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect",
		"it is about SS7 signalling":                  "fisu lssu lsu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls",
		ipReplaced:                                    "decnet lat sca moprc mopdl atalk aarp ipx netbeui",
		"it is about OSI and LLC frames":              "iso esis es-is isis is-is clnp l1 l2 iih lsp snp csnp psnp stp llc",
		"packets inside a tunnel are not looked at: filter its outer \"udp port 6081\"": "geneve",
		"interface numbers are not part of every capture":                               "ifindex",
		"write ether[N] with a comparison instead":                                      "byte",
	} {
		for word := range strings.FieldsSeq(words) {
			m[word] = reason
		}
	}
	return m
}()

const ipReplaced = "it is about protocols that IP has replaced"

// suggest names up to three known words that are near to word, as a hint, or nothing.
func suggest(word string, known []string) string {
	type near struct {
		word     string
		distance int
	}
	if len(word) > 20 {
		return ""
	}
	limit := 1 + len(word)/4
	var found []near
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), k); d <= limit && d < len(k) {
			found = append(found, near{k, d})
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.word, b.word)
	})
	if len(found) == 0 {
		return ""
	}
	quoted := make([]string, 0, 3)
	for _, n := range found[:min(len(found), 3)] {
		quoted = append(quoted, fmt.Sprintf("%q", n.word))
	}
	return "did you mean " + strings.Join(quoted, " or ") + "?"
}

// editDistance counts the letters to insert, delete, replace or swap with their neighbour.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
