package analyze

import (
	"bytes"
	"encoding/binary"
)

// The PROXY protocol (haproxy's doc/proxy-protocol.txt, Sections 2.1 and 2.2): one header in front of the client's bytes.
const (
	proxyV1Prefix    = "PROXY "
	proxyV1Max       = 107
	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Header    = 16
	proxyV2Max       = 2048
)

// proxyHeader returns the length of the PROXY protocol header that b begins with, 0 if there is none; more tells that there may be one, but
// b is too short.
func proxyHeader(b []byte) (n int, more bool) {
	switch {
	case len(b) == 0:
		return 0, false
	case b[0] == proxyV1Prefix[0]:
		k := min(len(b), len(proxyV1Prefix))
		if string(b[:k]) != proxyV1Prefix[:k] {
			return 0, false
		}
		if i := bytes.Index(b[:min(len(b), proxyV1Max)], []byte("\r\n")); i >= 0 {
			return i + 2, false
		}
		return 0, len(b) < proxyV1Max
	case b[0] == proxyV2Signature[0]:
		k := min(len(b), len(proxyV2Signature))
		if string(b[:k]) != proxyV2Signature[:k] {
			return 0, false
		}
		if len(b) < proxyV2Header {
			return 0, true
		}
		n = proxyV2Header + int(binary.BigEndian.Uint16(b[14:]))
		if n > proxyV2Max {
			return 0, false
		}
		if len(b) < n {
			return 0, true
		}
		return n, false
	}
	return 0, false
}
