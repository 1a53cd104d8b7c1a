package library

import (
	"debug/elf"
	"errors"
	"regexp"
	"strconv"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// wantedGnuTLS are in the order in which they are attached: the chain, by which a handshake becomes known, comes last, for what is not told of a
// known one counts as not done.
var wantedGnuTLS = []wanted{
	{"gnutls_handshake_set_hook_function", bpf.GnuTLSHook, true},
	{"gnutls_certificate_verify_peers", bpf.GnuTLSVerify, true},
	{"gnutls_certificate_verify_peers", bpf.GnuTLSVerified, true},
	{"gnutls_certificate_get_peers", bpf.GnuTLSPeers, true},
	{"gnutls_pubkey_export", bpf.GnuTLSCompared, true},
	{"gnutls_pubkey_export2", bpf.GnuTLSCompared, true},
	{"gnutls_x509_crt_check_issuer", bpf.GnuTLSCompared, true},
	{"gnutls_x509_crt_check_hostname2", bpf.GnuTLSHost, true},
	{"gnutls_server_name_set", bpf.GnuTLSName, true},
	{"gnutls_session_set_verify_cert", bpf.GnuTLSVerifies, true},
	{"gnutls_deinit", bpf.GnuTLSEnd, true},
	{"gnutls_handshake", bpf.GnuTLSHandshake, true},
	{gnuTLSImport, bpf.GnuTLSCertificates, true},
}

const gnuTLSImport = "gnutls_pcert_import_x509_raw"

// gnuTLSVersion is how GnuTLS says its own name, in a message of its log.
var gnuTLSVersion = regexp.MustCompile(`GnuTLS [0-9]+\.[0-9]+\.[0-9]+`)

// gnutls looks for GnuTLS.
func (c *contents) gnutls(file *elf.File, s symbols) error {
	list := s.places(file, wantedGnuTLS)
	if len(list) == 0 {
		return nil
	}
	random, in := randomField(machine, s.code(file, "gnutls_session_get_random"))
	if random == 0 || in != 0 {
		return errors.New("where GnuTLS keeps the ClientHello's random is not plain from gnutls_session_get_random")
	}
	before, behind, ok := codeAround(file, s[gnuTLSImport].Value)
	if !ok {
		return errors.New("GnuTLS's code is not in one piece")
	}
	c.gnuTLS, c.gnuTLSOffsets = list, bpf.GnuTLSOffsets{ClientRandom: random, CodeBefore: before, CodeBehind: behind}
	c.name = constant(file, gnuTLSVersion, "GnuTLS")
	return nil
}

// codeAround tells how far the segment reaches before an address, and from there on.
func codeAround(file *elf.File, address uint64) (before, behind uint64, ok bool) {
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address-p.Vaddr < p.Filesz {
			return address - p.Vaddr, p.Filesz - (address - p.Vaddr), true
		}
	}
	return 0, 0, false
}

// certificateStatus are GnuTLS's words for what is wrong with a chain (gnutls_certificate_status_t), without GNUTLS_CERT_, by the bit. The first of
// all says that something is.
var certificateStatus = map[int]string{
	5: "REVOKED", 6: "SIGNER_NOT_FOUND", 7: "SIGNER_NOT_CA", 8: "INSECURE_ALGORITHM", 9: "NOT_ACTIVATED", 10: "EXPIRED", 11: "SIGNATURE_FAILURE",
	14: "UNEXPECTED_OWNER", 16: "SIGNER_CONSTRAINTS_FAILURE", 17: "MISMATCH", 18: "PURPOSE_MISMATCH", 19: "MISSING_OCSP_STATUS",
	20: "INVALID_OCSP_STATUS", 21: "UNKNOWN_CRIT_EXTENSIONS",
}

func statusText(status int64) string {
	for bit := range 32 {
		if word, ok := certificateStatus[bit]; ok && status>>bit&1 != 0 {
			return word
		}
	}
	return strconv.FormatInt(status, 10)
}

// judgeGnuTLS is judgeTold for GnuTLS, where a chain is verified if the program asks for it, during the handshake or after it.
func (h *handshake) judgeGnuTLS() (v flow.Verification, by string, absent bool) {
	switch {
	case h.mode != 0:
		return flow.VerificationOn, "gnutls_session_set_verify_cert", false
	case h.callback || h.inspected:
		return flow.VerificationUnknown, "", false
	case h.verified && h.answer != 0:
		return flow.VerificationOff, "it went on over GNUTLS_CERT_" + statusText(h.answer), true
	case h.verified && h.by == callerCurl:
		return flow.VerificationOn, "libcurl has GnuTLS verify", false
	case h.verified || h.by == callerWget:
		return flow.VerificationUnknown, "", false
	case h.by == callerCurl:
		return flow.VerificationOff, "libcurl has GnuTLS verify nothing", true
	}
	return flow.VerificationOff, "nobody has GnuTLS verify, or looks at the certificate", true
}
