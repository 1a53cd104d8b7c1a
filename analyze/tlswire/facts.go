package tlswire

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unsafe"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// connSize is the size of a Conn without what it points to.
const connSize = int(unsafe.Sizeof(Conn{}))

// Sent is a set of what a side sent, as bits: who sent what, however far the facts go.
type Sent uint32

// The members of Sent.
const (
	SentClientHello Sent = 1 << iota
	SentServerHello
	SentHelloRetryRequest
	SentEncryptedExtensions // decrypted
	SentCertificate
	SentServerKeyExchange
	SentCertificateRequest
	SentServerHelloDone
	SentCertificateVerify
	SentClientKeyExchange
	SentFinished // decrypted
	SentNewSessionTicket
	SentCertificateStatus
	SentChangeCipherSpec
	SentAlert // in clear or decrypted
	SentEncryptedAlert
	SentEncryptedHandshake
	SentApplicationData // in TLS 1.3 every encrypted record
	SentOther
)

// Has reports whether all of m are in s.
func (s Sent) Has(m Sent) bool { return s&m == m }

func sentOf(typ uint8) Sent {
	switch typ {
	case typeClientHello:
		return SentClientHello
	case typeServerHello:
		return SentServerHello
	case typeHelloRetryRequest:
		return SentHelloRetryRequest
	case typeEncryptedExtensions:
		return SentEncryptedExtensions
	case typeCertificate, typeCompressedCertificate:
		return SentCertificate
	case typeServerKeyExchange:
		return SentServerKeyExchange
	case typeCertificateRequest:
		return SentCertificateRequest
	case typeServerHelloDone:
		return SentServerHelloDone
	case typeCertificateVerify:
		return SentCertificateVerify
	case typeClientKeyExchange:
		return SentClientKeyExchange
	case typeFinished:
		return SentFinished
	case typeNewSessionTicket:
		return SentNewSessionTicket
	case typeCertificateStatus:
		return SentCertificateStatus
	}
	return SentOther
}

// ProtocolError is a place where a stream stopped to be TLS. What was known before stays.
type ProtocolError struct {
	From session.Side
	// Offset counts the bytes of that side from its first, known holes included.
	Offset int64
	Reason string
}

// Error makes it an error.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("tlswire: %s at offset %d: %s", e.From, e.Offset, e.Reason)
}

// Ticket is a session ticket that the server issued; Hash is the SHA-256 of it. In TLS 1.3 it is the identity of a later PSK.
type Ticket struct {
	Hash        [32]byte
	LifetimeSec uint32
}

// maxTickets is the number of tickets that are kept.
const maxTickets = 4

// Facts is what a Conn knows. It belongs to the Conn; everything it points to is valid until the Conn is Reset.
type Facts struct {
	// Recognised: records of that side were read. NotTLS: it began with something else.
	Recognised, NotTLS [2]bool
	// Midstream: what was captured of that side begins behind its hello.
	Midstream [2]bool
	// RolesReversed: the client sent a ServerHello, or the server a ClientHello. Nobody of the two was read; the caller took one side
	// for the other.
	RolesReversed bool
	// Sent tells who sent what.
	Sent [2]Sent

	// Version was negotiated; 0 without a readable ServerHello, or if the missing part of it could say otherwise.
	Version session.Version
	// OfferedMax is ClientHello.OfferedMax.
	OfferedMax session.Version
	// CipherID is the suite that was negotiated; 0 and not CipherKnown without a ServerHello. For SSL 2.0 see SSL2.Kinds.
	CipherID    uint16
	CipherKnown bool
	// Group is that of the ServerHello's key_share, or the named curve of the ServerKeyExchange; 0 if neither was seen.
	Group uint16
	// ALPN was negotiated, "" if none was seen. In TLS 1.3 it needs secrets.
	ALPN string

	// ClientHello is the hello that the ServerHello answers: the second after a HelloRetryRequest. It is never nil.
	ClientHello *ClientHello
	// FirstHello is the one before a HelloRetryRequest, nil without.
	FirstHello *ClientHello
	// ServerHello is never nil; HelloRetryRequest is nil if none was sent.
	ServerHello       *ServerHello
	HelloRetryRequest *ServerHello
	// SSL2 is set if the server answered with SSL 2.0.
	SSL2 *SSL2
	// Chain is the server's certificates, KeyExchange its ServerKeyExchange; never nil.
	Chain       *Chain
	KeyExchange *KeyExchange
	// CertificateVerify is the server's, decrypted; nil without.
	CertificateVerify *CertificateVerify
	// ClientCertificateRequested and -Sent: up to TLS 1.2, or decrypted. ClientChainLength counts what the client sent.
	ClientCertificateRequested, ClientCertificateSent bool
	ClientChainLength                                 int
	// Tickets are those issued in this connection, at most four; in TLS 1.3 only decrypted ones.
	Tickets []Ticket

	// Alerts are those in clear and the decrypted ones in order of feeding, at most four of each side.
	Alerts []session.Alert

	// Resumed: in TLS 1.3 the ServerHello has pre_shared_key. Before, the server went to ChangeCipherSpec without certificate or
	// key exchange, and there was something to resume, and no byte of its flight is missing. Never Yes by loss.
	Resumed session.Tri
	// Established: both sides sent ChangeCipherSpec (up to 1.2) or an encrypted record (1.3). No once both sides ended, or End was
	// called, and no hole could hide it; Unknown before, for SSL 2.0, and where one side was not seen at all.
	Established session.Tri
	// EarlyData: early data was offered, and encrypted records of the client were fed before anything of the server: it depends
	// on the order of feeding.
	EarlyData bool
	// The following are documented in session.TLS. ClientAppData and ServerAppData are certain when true; ClientCloseNotify is
	// looked for only until application data of the client is certain.
	ClientFinished, ClientAppData, ServerAppData bool
	ClientCloseNotify, ClientEncryptedAlert      bool
	ServerFlightSeen, ClientUnclear              bool

	// HandshakeEnd is, by side, how many bytes of the stream belong to the handshake; HandshakeEndKnown whether that is exact. If
	// not it is where the encrypted part begins, or, of a TLS 1.3 server, how far it had been fed when the client's first encrypted
	// record came.
	HandshakeEnd      [2]int64
	HandshakeEndKnown [2]bool

	// Gaps: bytes of that side are missing in the part that matters. GaveUp: no record boundary was found again after a hole.
	Gaps, GaveUp [2]bool
	// ProtocolError is the first fault in the client's framing, else in the server's; nil without.
	ProtocolError *ProtocolError
	// Closed and Reset: the side ended by FIN or RST, by RST.
	Closed, Reset [2]bool

	// Decryption says how far secrets got.
	Decryption Decryption
}

func (f *Facts) addTicket(ticket []byte, lifetime uint32) {
	if len(f.Tickets) < maxTickets {
		f.Tickets = append(f.Tickets, Ticket{sha256.Sum256(ticket), lifetime})
	}
}

// Seen reports whether TLS or SSL was recognised on either side.
func (f *Facts) Seen() bool { return f.Recognised[session.Client] || f.Recognised[session.Server] }

// CipherName is the name of the negotiated suite as session.TLS wants it: IANA's; for SSL 2.0 the list of the server's kinds joined
// by "|"; "" if it is unknown.
func (f *Facts) CipherName() string {
	if f.SSL2 != nil {
		names := make([]string, len(f.SSL2.Kinds))
		for i, k := range f.SSL2.Kinds {
			names[i] = SSL2CipherName(k)
		}
		return strings.Join(names, "|")
	}
	if !f.CipherKnown {
		return ""
	}
	return CipherName(f.CipherID)
}

// FirstAlert is the first fatal alert, else the first, else nil.
func (f *Facts) FirstAlert() *session.Alert {
	for i := range f.Alerts {
		if f.Alerts[i].Fatal {
			return &f.Alerts[i]
		}
	}
	if len(f.Alerts) > 0 {
		return &f.Alerts[0]
	}
	return nil
}

// maxOfferedCiphers bounds session.TLS.OfferedCiphers; real clients offer less than 100.
const maxOfferedCiphers = 128

// offeredCiphers are the suites that name a cipher: no GREASE (RFC 8701) and no signalling values.
func offeredCiphers(ch *ClientHello) []uint16 {
	var l []uint16
	for _, s := range ch.Suites() {
		if IsGREASE(s) || s == suiteEmptyRenegotiationInfo || s == suiteFallbackSCSV {
			continue
		}
		if l = append(l, s); len(l) == maxOfferedCiphers {
			break
		}
	}
	return l
}

// maxOfferedExtensions bounds session.TLS.OfferedExtensions; real clients send less than 25.
const maxOfferedExtensions = 64

func offeredExtensions(ch *ClientHello) []uint16 {
	l := ch.Extensions()
	return l[:min(len(l), maxOfferedExtensions)]
}

// TLS fills a session.TLS, but for KeyProof and HandshakeDone, which this package cannot know. It does not alias f.
func (f *Facts) TLS() *session.TLS {
	ch, sh := f.ClientHello, f.ServerHello
	t := &session.TLS{
		Version: f.Version, OfferedMax: f.OfferedMax, OfferedVersions: ch.Versions(),
		Cipher: f.CipherName(), CipherID: f.CipherID,
		OfferedCiphers: offeredCiphers(ch), OfferedExtensions: offeredExtensions(ch),
		SNI: ch.SNI, SNIInvalid: ch.SNIInvalid, ALPN: f.ALPN, ALPNOffer: ch.ALPN(),
		JA3: ch.JA3(), JA4: ch.JA4(),
		ClientHelloSeen: ch.State == Complete, ServerHelloSeen: sh.State == Complete || f.SSL2 != nil && f.SSL2.State == Complete,
		HelloRetryRequest: f.HelloRetryRequest != nil,
		Resumed:           f.Resumed, Established: f.Established, EarlyData: f.EarlyData,
		Sentinel: sh.Sentinel, FallbackSCSV: ch.FallbackSCSV,
		RenegotiationInfoOffered: ch.RenegotiationInfo, RenegotiationInfoAnswered: sh.RenegotiationInfo,
		Compression: sh.Compression, ECH: ch.ECH || ch.ESNI,
		ClientCertificateRequested: f.ClientCertificateRequested, ClientCertificateSent: f.ClientCertificateSent,
		Alerts:        append([]session.Alert(nil), f.Alerts...),
		ClientAppData: f.ClientAppData, ServerAppData: f.ServerAppData, ClientFinished: f.ClientFinished,
		ClientCloseNotify: f.ClientCloseNotify, ClientEncryptedAlert: f.ClientEncryptedAlert, ServerFlightSeen: f.ServerFlightSeen,
		ClientUnclear: f.ClientUnclear,
	}
	if f.Group != 0 {
		t.Group = GroupName(f.Group)
	}
	if a := f.FirstAlert(); a != nil {
		first := *a
		t.Alert = &first
	}
	return t
}
