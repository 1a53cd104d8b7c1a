package session

import "time"

// Tri is a fact that may be unknown.
type Tri uint8

// The three states.
const (
	Unknown Tri = iota
	No
	Yes
)

// TriOf turns a known fact into a Tri.
func TriOf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// TLS holds the handshake facts of one session. Names are IANA's (ciphers) and RFC's (groups); versions print as in "TLS 1.2".
type TLS struct {
	// Version was negotiated; 0 when the ServerHello was not seen. OfferedMax is the client's highest; 0 without ClientHello.
	// Drafts keep their wire value (0x7f1c) and compare as TLS 1.3 through Rank.
	Version, OfferedMax Version
	// OfferedVersions as in supported_versions without GREASE, else the legacy version alone.
	OfferedVersions []Version
	Cipher          string // negotiated suite
	CipherID        uint16
	Group           string // negotiated key exchange group
	SNI             string // as sent; see SNIRaw for what a strict reader would see
	// SNIInvalid: the name has bytes that no host name has.
	SNIInvalid bool
	ALPN       string
	ALPNOffer  []string
	JA3, JA4   string

	// OfferedCiphers are the ClientHello's suites as sent, without GREASE and without the signalling values 0x00FF and 0x5600; at most
	// 128. A client that retries with a lower version offers a subsequence of them, which tells it from another program.
	OfferedCiphers []uint16
	// OfferedExtensions are the types of the ClientHello's extensions as sent, GREASE included; at most 64.
	OfferedExtensions []uint16
	// ClientVerifies is what the client's TLS library said of itself: No means that it accepts any certificate.
	ClientVerifies Tri

	// ClientHelloSeen and ServerHelloSeen: parsed completely.
	ClientHelloSeen, ServerHelloSeen bool
	HelloRetryRequest                bool
	Resumed                          Tri
	// Established: both sides sent ChangeCipherSpec (up to 1.2) or an encrypted record (1.3), as Zeek means it.
	Established Tri
	EarlyData   bool // the client offered early data and sent encrypted records before the server answered
	// SCT, OCSP and the like are out of scope.

	// Sentinel is the RFC 8446, Section 4.1.3 marker at the end of ServerHello.random: "", "DOWNGRD\x01" as 1, "DOWNGRD\x00" as 0.
	Sentinel Sentinel
	// FallbackSCSV: TLS_FALLBACK_SCSV stood among the offered suites (RFC 7507).
	FallbackSCSV bool
	// RenegotiationInfoOffered and -Answered: RFC 5746.
	RenegotiationInfoOffered, RenegotiationInfoAnswered bool
	Compression                                         uint8 // negotiated method, 0 is none
	ECH                                                 bool  // encrypted_client_hello or ESNI was offered: the SNI is the outer name
	// ClientCertificateRequested and -Sent; in TLS 1.3 only with secrets.
	ClientCertificateRequested, ClientCertificateSent bool

	Alert  *Alert  // the first fatal alert, else the first
	Alerts []Alert // all, at most 8

	// ClientAppData and ServerAppData: encrypted application data certainly went that way (in TLS 1.3: more than a Finished, an
	// alert or a client certificate can explain).
	ClientAppData, ServerAppData bool
	// ClientFinished: the client sent its Finished (1.3: its first encrypted handshake record), so it accepted the server's flight.
	ClientFinished bool
	// ClientCloseNotify: an orderly close_notify by the client, in clear or of the right size after the handshake.
	ClientCloseNotify bool
	// ClientEncryptedAlert: the client sent an encrypted record of exactly an alert's size before it sent a Finished (TLS 1.3).
	ClientEncryptedAlert bool
	// ClientUnclear: the lengths of the client's encrypted records do not tell where its handshake ends (TLS 1.3: padding, a client certificate),
	// so that what it seems not to have sent it may have sent.
	ClientUnclear bool
	// ServerFlightSeen: the server's flight was captured to its end (ServerHelloDone, or in TLS 1.3 encrypted records followed).
	ServerFlightSeen bool

	// KeyProof says whether the ServerKeyExchange signature verifies under the leaf's key (TLS 1.2 and below, (EC)DHE).
	KeyProof KeyProof

	// HandshakeDone is when the handshake was established; zero if it was not.
	HandshakeDone time.Time
}

// Sentinel is the downgrade marker of a ServerHello.
type Sentinel uint8

// The markers of RFC 8446, Section 4.1.3.
const (
	SentinelNone  Sentinel = iota
	SentinelTLS12          // 44 4F 57 4E 47 52 44 01: a TLS 1.3 server that negotiated TLS 1.2
	SentinelTLS11          // 44 4F 57 4E 47 52 44 00: a TLS 1.2 or later server that negotiated TLS 1.1 or below
)

// KeyProof is the outcome of checking the ServerKeyExchange signature.
type KeyProof uint8

// The outcomes.
const (
	KeyProofNone        KeyProof = iota // none possible: static RSA, TLS 1.3, resumed, or not seen whole
	KeyProofValid                       // who answered holds the leaf's private key
	KeyProofInvalid                     // who answered does not
	KeyProofUnsupported                 // an algorithm we cannot check
)

// Alert is a TLS alert with its sender.
type Alert struct {
	From        Side
	Fatal       bool
	Code        uint8
	Description string // IANA's name, as unknown_ca
	Decrypted   bool   // read with secrets
}

// SeenByProbe is Certificate.SeenBy where a probe saw it, on a connection of its own.
const SeenByProbe = "probe"

// Certificate is one certificate as shown in output.
type Certificate struct {
	SeenBy     string // wire, library, keylog, probe, resumption
	Subject    string // RFC 2253 from the raw RDNSequence
	Issuer     string
	Serial     string // lower-case hex
	SHA256     string
	SPKISHA256 string
	NotBefore  time.Time
	NotAfter   time.Time
	Names      []string // subjectAltName DNS names and IP addresses
	// ChainLength counts the certificates as sent.
	ChainLength int
	Key         string // "RSA 2048", "ECDSA P-256", "Ed25519", or the OID
	Signature   string // "SHA256-RSA", or the OID
	// SeenAt is when a probe saw it, and ProbeTrust how its chain was judged then; set only where SeenBy is "probe". Neither says anything
	// of the session's own connection.
	SeenAt     time.Time
	ProbeTrust Trust
	// Partial: only a part of the Certificate message was captured, so there is no chain to judge; the fields are those of the leaf that
	// stand in that part.
	Partial bool
}

// Library is what probes in the client's TLS library told, beside the certificate and TLS.ClientVerifies.
type Library struct {
	// Name is the library in words, such as "OpenSSL 3.0.19", Path its file as the client's mount namespace names it; "" if unknown.
	Name, Path string
	// VerificationBy is what told TLS.ClientVerifies, in words; "" if that is unknown.
	VerificationBy string
	// ServerName is the name that the program told the library to connect to; "" if that was not seen. NameDiffers: the ClientHello bears another.
	ServerName  string
	NameDiffers bool
	// HostChecked: the library compared the certificate with Host. Where it did not, the program may have, out of sight.
	HostChecked bool
	Host        string
	// TID is the thread that made the handshake.
	TID int
}

// Chain is the detail of a chain's verification.
type Chain struct {
	// LeadsToAllowed: valid signatures lead from the leaf to an allowed root or pin, dates and names left aside.
	LeadsToAllowed bool
	// LeadsToAmazon: the same, to an Amazon Trust Services root.
	LeadsToAmazon bool
	// LeadsToPublic: the same, to another root of the public set.
	LeadsToPublic bool
	// AllowedBy says how, when LeadsToAllowed: "amazon-root", "allow-ca", "pin" or "allow-issuer".
	AllowedBy string
	// Root is the subject of the root that the path ended at, "" if it ended nowhere.
	Root string

	Expired, NotYetValid bool
	// OutOfTimeBy is how far the packet's time lies outside the validity of the worst certificate of the path.
	OutOfTimeBy time.Duration
	// NameMismatch: the name that was asked for is not among the leaf's. NameChecked: there was a name to ask for.
	NameMismatch, NameChecked bool
	SelfSigned                bool
	// AmazonNamed: a certificate of the chain is issued by, or is, something with an Amazon CA's name.
	AmazonNamed bool
	// BrokenSignature: a certificate names as issuer one that was sent with it, whose key did not sign it.
	BrokenSignature bool
	// WeakKey and WeakSignature describe the worst of the path, "" if none: "RSA 1024", "SHA1-RSA".
	WeakKey, WeakSignature string
	Malformed              bool
	// TimeUnknown: the capture holds no plausible time, so validity was not judged.
	TimeUnknown bool

	// Incomplete: the leaf's claimed path stops at a certificate whose issuer, MissingIssuer, was neither sent nor is a known root. Only a
	// client that has that issuer in a store of its own can verify it. It is not a proof of forgery; see Disproved.
	Incomplete    bool
	MissingIssuer string
	// Disproved: a certificate of the leaf's claimed path names an issuer whose key is known, because it was sent or is an embedded
	// or allowed root, and no such key signed it. Set together with AmazonNamed it is an imitation beyond doubt.
	Disproved bool
	// Violation is set when signatures lead to an allowed root or pin only through a step that no client may accept, such as an issuer
	// that is no CA; LeadsToAllowed is false then. It says which, for a message: "CN=x is no CA".
	Violation string
	// WrongPurpose: the leaf's extended key usage does not allow a TLS server. The word of trust is then name-mismatch at best.
	WrongPurpose bool
	// Unsupported names a signature or key algorithm on the leaf's claimed path that could not be checked, "" if none: no proof
	// either way. ExplicitCurve: an elliptic curve key with parameters of its own (CVE-2020-0601); such a key never proves anything.
	Unsupported   string
	ExplicitCurve bool
	// LimitExceeded: the chain was longer or costlier than any honest one, and was not judged whole.
	LimitExceeded bool
	// Interceptor is the product that the issuer's name suggests, "" if none. A name proves nothing: for messages only.
	Interceptor string
	// Problems are oddities of the certificates in words, at most 16, each with the certificate's position as sent.
	Problems []string
}
