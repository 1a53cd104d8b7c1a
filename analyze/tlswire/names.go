package tlswire

import (
	"fmt"
	"sort"
)

// IsGREASE reports whether v is one of the sixteen values that RFC 8701 reserves in every 16-bit registry: 0x0a0a, 0x1a1a … 0xfafa.
func IsGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// CipherName is the IANA name of a cipher suite, "GREASE (0x0a0a)" for a reserved value, and "0x1234" for an unknown one.
func CipherName(id uint16) string {
	if name := cipherName(id); name != "" {
		return name
	}
	return unknownName(id)
}

// cipherName is "" for a suite that is not in the table.
func cipherName(id uint16) string {
	i := sort.Search(len(cipherNames), func(i int) bool { return cipherNames[i].id >= id })
	if i < len(cipherNames) && cipherNames[i].id == id {
		return cipherNames[i].name
	}
	return ""
}

func unknownName(id uint16) string {
	if IsGREASE(id) {
		return fmt.Sprintf("GREASE (0x%04x)", id)
	}
	return fmt.Sprintf("0x%04x", id)
}

// Cipher suites with a meaning of their own (RFC 5746, RFC 7507).
const (
	suiteEmptyRenegotiationInfo = 0x00ff
	suiteFallbackSCSV           = 0x5600
)

// Extension types (IANA "TLS ExtensionType Values").
const (
	extServerName           = 0
	extStatusRequest        = 5
	extSupportedGroups      = 10
	extPointFormats         = 11
	extSignatureAlgorithms  = 13
	extALPN                 = 16
	extExtendedMasterSecret = 23
	extSessionTicket        = 35
	extDraftKeyShare        = 40 // key_share up to draft-ietf-tls-tls13-22
	extPreSharedKey         = 41
	extEarlyData            = 42
	extSupportedVersions    = 43
	extKeyShare             = 51
	extECH                  = 0xfe0d
	extESNI                 = 0xffce
	extRenegotiationInfo    = 0xff01
)

// ExtensionName is the IANA name of an extension type.
func ExtensionName(id uint16) string {
	if name, ok := extensionNames[id]; ok {
		return name
	}
	return unknownName(id)
}

var extensionNames = map[uint16]string{
	0: "server_name", 1: "max_fragment_length", 2: "client_certificate_url", 3: "trusted_ca_keys", 4: "truncated_hmac",
	5: "status_request", 6: "user_mapping", 7: "client_authz", 8: "server_authz", 9: "cert_type", 10: "supported_groups",
	11: "ec_point_formats", 12: "srp", 13: "signature_algorithms", 14: "use_srtp", 15: "heartbeat",
	16: "application_layer_protocol_negotiation", 17: "status_request_v2", 18: "signed_certificate_timestamp",
	19: "client_certificate_type", 20: "server_certificate_type", 21: "padding", 22: "encrypt_then_mac",
	23: "extended_master_secret", 24: "token_binding", 25: "cached_info", 26: "tls_lts", 27: "compress_certificate",
	28: "record_size_limit", 29: "pwd_protect", 30: "pwd_clear", 31: "password_salt", 32: "ticket_pinning",
	33: "tls_cert_with_extern_psk", 34: "delegated_credential", 35: "session_ticket", 36: "TLMSP", 37: "TLMSP_proxying",
	38: "TLMSP_delegate", 39: "supported_ekt_ciphers", 40: "key_share (draft)", 41: "pre_shared_key", 42: "early_data",
	43: "supported_versions", 44: "cookie", 45: "psk_key_exchange_modes", 47: "certificate_authorities", 48: "oid_filters",
	49: "post_handshake_auth", 50: "signature_algorithms_cert", 51: "key_share", 52: "transparency_info",
	53: "connection_id (deprecated)", 54: "connection_id", 55: "external_id_hash", 56: "external_session_id",
	57: "quic_transport_parameters", 58: "ticket_request", 59: "dnssec_chain", 60: "sequence_number_encryption_algorithms",
	61: "rrc", 62: "tls_flags",
	// Never registered, but seen: draft-agl-tls-nextprotoneg, Channel ID, draft-vvv-tls-alps and its new code point.
	13172: "next_protocol_negotiation", 17513: "application_settings (old)", 17613: "application_settings",
	30031: "channel_id_old", 30032: "channel_id",
	64768: "ech_outer_extensions", 65037: "encrypted_client_hello", 65281: "renegotiation_info",
	65445: "quic_transport_parameters (draft)", 65486: "encrypted_server_name",
}

// AlertName is the IANA name of an alert description (RFC 8446, Section 6, and the registry "TLS Alerts").
func AlertName(code uint8) string {
	if name, ok := alertNames[code]; ok {
		return name
	}
	return fmt.Sprintf("alert_%d", code)
}

var alertNames = map[uint8]string{
	0: "close_notify", 1: "end_of_early_data", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed",
	22: "record_overflow", 30: "decompression_failure", 40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate",
	43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
	47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
	52: "too_many_cids_requested", 60: "export_restriction", 70: "protocol_version", 71: "insufficient_security",
	80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension",
	110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name",
	113: "bad_certificate_status_response", 114: "bad_certificate_hash_value", 115: "unknown_psk_identity",
	116: "certificate_required", 117: "general_error", 120: "no_application_protocol", 121: "ech_required",
}

// GroupName is the RFC name of a named group (IANA "TLS Supported Groups").
func GroupName(id uint16) string {
	if name, ok := groupNames[id]; ok {
		return name
	}
	return unknownName(id)
}

var groupNames = map[uint16]string{
	1: "sect163k1", 2: "sect163r1", 3: "sect163r2", 4: "sect193r1", 5: "sect193r2", 6: "sect233k1", 7: "sect233r1",
	8: "sect239k1", 9: "sect283k1", 10: "sect283r1", 11: "sect409k1", 12: "sect409r1", 13: "sect571k1", 14: "sect571r1",
	15: "secp160k1", 16: "secp160r1", 17: "secp160r2", 18: "secp192k1", 19: "secp192r1", 20: "secp224k1", 21: "secp224r1",
	22: "secp256k1", 23: "secp256r1", 24: "secp384r1", 25: "secp521r1", 26: "brainpoolP256r1", 27: "brainpoolP384r1",
	28: "brainpoolP512r1", 29: "x25519", 30: "x448", 31: "brainpoolP256r1tls13", 32: "brainpoolP384r1tls13",
	33: "brainpoolP512r1tls13", 34: "GC256A", 35: "GC256B", 36: "GC256C", 37: "GC256D", 38: "GC512A", 39: "GC512B",
	40: "GC512C", 41: "curveSM2", 256: "ffdhe2048", 257: "ffdhe3072", 258: "ffdhe4096", 259: "ffdhe6144", 260: "ffdhe8192",
	512: "MLKEM512", 513: "MLKEM768", 514: "MLKEM1024", 4587: "SecP256r1MLKEM768", 4588: "X25519MLKEM768",
	4589: "SecP384r1MLKEM1024", 4590: "curveSM2MLKEM768", 16696: "CECPQ2", 25497: "X25519Kyber768Draft00",
	25498: "SecP256r1Kyber768Draft00", 0xfe30: "X25519Kyber512Draft00", 0xfe31: "X25519Kyber768Draft00 (old)",
	0xff01: "arbitrary_explicit_prime_curves", 0xff02: "arbitrary_explicit_char2_curves",
}

// SignatureSchemeName is the IANA name of a signature scheme (registry "TLS SignatureScheme"). Pairs of hash and signature of
// TLS 1.2 that have no scheme of their own print as RFC 5246 words, such as "sha224_rsa".
func SignatureSchemeName(id uint16) string {
	if name, ok := schemeNames[id]; ok {
		return name
	}
	hash, sig := int(id>>8), int(id&0xff)
	if hash < len(hashNames) && sig < len(signatureNames) {
		return hashNames[hash] + "_" + signatureNames[sig]
	}
	return unknownName(id)
}

// The registries "TLS HashAlgorithm" and "TLS SignatureAlgorithm" (RFC 5246, Section 7.4.1.4.1).
var (
	hashNames      = [...]string{"none", "md5", "sha1", "sha224", "sha256", "sha384", "sha512"}
	signatureNames = [...]string{"anonymous", "rsa", "dsa", "ecdsa"}
)

var schemeNames = map[uint16]string{
	0x0201: "rsa_pkcs1_sha1", 0x0203: "ecdsa_sha1", 0x0401: "rsa_pkcs1_sha256", 0x0403: "ecdsa_secp256r1_sha256",
	0x0420: "rsa_pkcs1_sha256_legacy", 0x0501: "rsa_pkcs1_sha384", 0x0503: "ecdsa_secp384r1_sha384",
	0x0520: "rsa_pkcs1_sha384_legacy", 0x0601: "rsa_pkcs1_sha512", 0x0603: "ecdsa_secp521r1_sha512",
	0x0620: "rsa_pkcs1_sha512_legacy", 0x0704: "eccsi_sha256", 0x0705: "iso_ibs1", 0x0706: "iso_ibs2",
	0x0707: "iso_chinese_ibs", 0x0708: "sm2sig_sm3", 0x0709: "gostr34102012_256a", 0x070a: "gostr34102012_256b",
	0x070b: "gostr34102012_256c", 0x070c: "gostr34102012_256d", 0x070d: "gostr34102012_512a", 0x070e: "gostr34102012_512b",
	0x070f: "gostr34102012_512c", 0x0804: "rsa_pss_rsae_sha256", 0x0805: "rsa_pss_rsae_sha384",
	0x0806: "rsa_pss_rsae_sha512", 0x0807: "ed25519", 0x0808: "ed448", 0x0809: "rsa_pss_pss_sha256",
	0x080a: "rsa_pss_pss_sha384", 0x080b: "rsa_pss_pss_sha512", 0x081a: "ecdsa_brainpoolP256r1tls13_sha256",
	0x081b: "ecdsa_brainpoolP384r1tls13_sha384", 0x081c: "ecdsa_brainpoolP512r1tls13_sha512",
	0x0904: "mldsa44", 0x0905: "mldsa65", 0x0906: "mldsa87",
}

// SSL 2.0 cipher kinds are three bytes (draft-hickman-netscape-ssl-00, Section 5.1); the names are Wireshark's and OpenSSL's forms.
var ssl2CipherNames = map[uint32]string{
	0x010080: "SSL2_RC4_128_WITH_MD5", 0x020080: "SSL2_RC4_128_EXPORT40_WITH_MD5", 0x030080: "SSL2_RC2_128_CBC_WITH_MD5",
	0x040080: "SSL2_RC2_128_CBC_EXPORT40_WITH_MD5", 0x050080: "SSL2_IDEA_128_CBC_WITH_MD5",
	0x060040: "SSL2_DES_64_CBC_WITH_MD5", 0x0700c0: "SSL2_DES_192_EDE3_CBC_WITH_MD5", 0x080080: "SSL2_RC4_64_WITH_MD5",
}

// SSL2CipherName is the name of an SSL 2.0 cipher kind, or "0x123456".
func SSL2CipherName(kind uint32) string {
	if name, ok := ssl2CipherNames[kind]; ok {
		return name
	}
	return fmt.Sprintf("0x%06x", kind)
}
