package library

import "strconv"

// verifyErrors are OpenSSL's names for what it finds in chains (include/openssl/x509_vfy.h), without X509_V_ERR_.
var verifyErrors = map[int64]string{
	2: "UNABLE_TO_GET_ISSUER_CERT", 7: "CERT_SIGNATURE_FAILURE", 9: "CERT_NOT_YET_VALID", 10: "CERT_HAS_EXPIRED",
	18: "DEPTH_ZERO_SELF_SIGNED_CERT", 19: "SELF_SIGNED_CERT_IN_CHAIN", 20: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
	21: "UNABLE_TO_VERIFY_LEAF_SIGNATURE", 22: "CERT_CHAIN_TOO_LONG", 23: "CERT_REVOKED", 26: "INVALID_PURPOSE", 27: "CERT_UNTRUSTED",
	62: "HOSTNAME_MISMATCH", 64: "IP_ADDRESS_MISMATCH", 66: "EE_KEY_TOO_SMALL", 67: "CA_KEY_TOO_SMALL", 68: "CA_MD_TOO_WEAK",
}

func verifyError(code int64) string {
	if s, ok := verifyErrors[code]; ok {
		return s
	}
	return strconv.FormatInt(code, 10)
}
