package tlswire

import (
	"crypto/md5" // JA3 is defined over it
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// JA3 is the MD5 of JA3String in hex; "" for a hello that is not Complete or in SSL 2.0 format. It is computed anew by each call.
func (h *ClientHello) JA3() string {
	s := h.JA3String()
	if s == "" {
		return ""
	}
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// JA3String is the text that JA3 hashes: version, suites, extensions, groups and point formats in decimal, GREASE left out
// (github.com/salesforce/ja3).
func (h *ClientHello) JA3String() string {
	if h.State != Complete || h.V2Format {
		return ""
	}
	s := make([]byte, 0, 256)
	s = strconv.AppendUint(s, uint64(h.LegacyVersion), 10)
	list := func(l []uint16) {
		s = append(s, ',')
		first := true
		for _, v := range l {
			if IsGREASE(v) {
				continue
			}
			if !first {
				s = append(s, '-')
			}
			first = false
			s = strconv.AppendUint(s, uint64(v), 10)
		}
	}
	list(h.Suites())
	list(h.Extensions())
	list(h.Groups())
	s = append(s, ',')
	for i, p := range h.PointFormats() {
		if i > 0 {
			s = append(s, '-')
		}
		s = strconv.AppendUint(s, uint64(p), 10)
	}
	return string(s)
}

// JA4 is FoxIO's JA4 client fingerprint over TCP (github.com/FoxIO-LLC/ja4, technical_details/JA4.md), such as
// t13d1516h2_8daaf6152771_b186095e22b6; "" for a hello that is not Complete. It is computed anew by each call.
func (h *ClientHello) JA4() string {
	if h.State != Complete {
		return ""
	}
	suites := withoutGREASE(h.Suites())
	exts := withoutGREASE(h.Extensions())
	sni := byte('i')
	if slices.Contains(exts, extServerName) {
		sni = 'd'
	}
	head := fmt.Sprintf("t%s%c%02d%02d%s", ja4Version(h.ja4Highest()), sni, min(len(suites), 99), min(len(exts), 99), h.ja4ALPN())

	slices.Sort(suites)
	b := ja4Hash(appendHex(nil, suites))
	// The name and the protocols are in the first part; sorting undoes the shuffling of extensions by newer browsers.
	exts = slices.DeleteFunc(exts, func(e uint16) bool { return e == extServerName || e == extALPN })
	slices.Sort(exts)
	c := appendHex(nil, exts)
	if schemes := withoutGREASE(h.SignatureSchemes()); len(schemes) > 0 {
		c = append(c, '_')
		c = appendHex(c, schemes)
	}
	if len(exts) == 0 {
		c = nil
	}
	return head + "_" + b + "_" + ja4Hash(c)
}

func withoutGREASE(l []uint16) []uint16 { return slices.DeleteFunc(l, IsGREASE) }

// ja4Highest is the version of the greatest number, so that a draft of TLS 1.3 beats TLS 1.3: fingerprints have to agree with others'.
func (h *ClientHello) ja4Highest() session.Version {
	if l := h.Versions(); len(l) > 0 {
		return slices.Max(l)
	}
	return h.LegacyVersion
}

// ja4Version is the two characters of a version.
func ja4Version(v session.Version) string {
	switch v {
	case session.TLS13:
		return "13"
	case session.TLS12:
		return "12"
	case session.TLS11:
		return "11"
	case session.TLS10:
		return "10"
	case session.SSL30:
		return "s3"
	case session.SSL20:
		return "s2"
	}
	return "00"
}

// ja4ALPN is the first and last character of the first protocol, or of its hex form if either is not alphanumeric.
func (h *ClientHello) ja4ALPN() string {
	c := cursor{b: h.alpn.of(h.raw)}
	p := c.vec8()
	if c.short || len(p) == 0 {
		return "00"
	}
	first, last := p[0], p[len(p)-1]
	if alphanumeric(first) && alphanumeric(last) {
		return string([]byte{first, last})
	}
	const digits = "0123456789abcdef"
	return string([]byte{digits[first>>4], digits[last&15]})
}

// ja4Hash is the first twelve hex digits of the SHA-256, or zeros for an empty list.
func ja4Hash(list []byte) string {
	if len(list) == 0 {
		return "000000000000"
	}
	sum := sha256.Sum256(list)
	return hex.EncodeToString(sum[:6])
}

// appendHex appends the values as four hex digits each, with commas.
func appendHex(b []byte, l []uint16) []byte {
	for i, v := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, hex.EncodeToString([]byte{byte(v >> 8), byte(v)})...)
	}
	return b
}
