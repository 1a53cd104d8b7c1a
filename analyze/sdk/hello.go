package sdk

import (
	"slices"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

// Extensions that tell clients apart (IANA, TLS ExtensionType Values).
const (
	extStatusRequest     = 5
	extALPN              = 16
	extStatusRequestV2   = 17
	extSCT               = 18
	extEncryptThenMAC    = 22
	extCompressCert      = 27
	extDelegated         = 34
	extSessionTicket     = 35
	extPostHandshakeAuth = 49
	extRenegotiation     = 0xff01
)

// nodeCiphers is the middle part of JA4, the hash of the suites, of Node's own list (tls.DEFAULT_CIPHERS of Node 18 to 22 over OpenSSL 3). Its https
// module sends no ALPN, and OpenSSL's program no such list.
const nodeCiphers = "a33745022dd6"

// bunCiphers is the same of what Bun's list leaves of BoringSSL's suites (Bun 1.4). Firefox has the same, with h2 and extensions of its own.
const bunCiphers = "5b57614c22b0"

// FromHello guesses from a ClientHello. Only what tells is named:
//
//   - "python": the ssl module as urllib3, and so botocore and requests, drives it: it announces post_handshake_auth (RFC 8446, Section 4.2.6),
//     offers http/1.1 alone, and no session tickets. curl does the same if it is held to HTTP/1.1.
//   - "node": Node's list of suites; or Bun's, whose hello is else like Go's, and which runs the same SDK.
//   - "go": crypto/tls is the only one to ask for signed certificate timestamps, to send renegotiation_info as an extension, and to send none
//     of what OpenSSL, Java and browsers add.
//   - "java": Java's own TLS (JSSE, since 11, and 8 since its update 261) is the only one to ask for status_request_v2 (RFC 6961) beside status_request, and to
//     send TLS_EMPTY_RENEGOTIATION_INFO_SCSV instead of the extension.
//
// Most others use their TLS library as it comes, and so look like each other.
func FromHello(t *session.TLS) string {
	has := func(ext uint16) bool { return slices.Contains(t.OfferedExtensions, ext) }
	lacks := func(list ...uint16) bool { return !slices.ContainsFunc(list, has) }
	_, rest, _ := strings.Cut(t.JA4, "_")
	suites, _, _ := strings.Cut(rest, "_")
	switch {
	case has(extPostHandshakeAuth) && lacks(extSessionTicket) && len(t.ALPNOffer) == 1 && t.ALPNOffer[0] == "http/1.1":
		return "python"
	case suites == nodeCiphers && lacks(extALPN, extPostHandshakeAuth):
		return "node"
	case suites == bunCiphers:
		if len(t.ALPNOffer) == 1 && t.ALPNOffer[0] == "http/1.1" && lacks(extCompressCert, extDelegated) {
			return "node"
		}
		return ""
	case has(extStatusRequest) && has(extStatusRequestV2) && lacks(extRenegotiation, extEncryptThenMAC, extCompressCert, extDelegated, extPostHandshakeAuth):
		return "java"
	case has(extSCT) && has(extRenegotiation) && has(extStatusRequest) && !slices.ContainsFunc(t.OfferedExtensions, tlswire.IsGREASE) &&
		lacks(extStatusRequestV2, extEncryptThenMAC, extCompressCert, extDelegated, extPostHandshakeAuth):
		return "go"
	}
	return ""
}
