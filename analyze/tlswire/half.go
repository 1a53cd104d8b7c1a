package tlswire

import "github.com/dynwatch/dynwatch/analyze/session"

// mode is where the reader of one direction is.
type mode uint8

const (
	modeStart  mode = iota // nothing decided: fewer bytes than Sniff wants
	modeTLS                // following records
	modeSSL2               // inside the SSL 2.0 record that the stream began with
	modeResync             // a record boundary was lost; waiting for a Feed that begins with a record header
	modeQuiet              // nothing more of this direction can change the facts
	modeDead               // not TLS, or a framing error, or no boundary was found again
)

// route is what happens to the body of the current record.
type route uint8

const (
	routeSkip      route = iota
	routeHandshake       // handshake messages in clear
	routeAlert           // alerts in clear
	routeProbe           // a handshake record of which must be found out whether it begins a message in clear
	routeSecret          // kept for decryption
)

const (
	// followRecords is the number of encrypted records per direction of which the length is kept. With that many, all that
	// lengths can tell is told.
	followRecords = 10
	// followBytes is how many encrypted bytes of a direction are followed at most.
	followBytes = 64 << 10
	// resyncTries is how many Feeds are tried after a lost boundary.
	resyncTries = 32
	// helloPrefix is the beginning of a ClientHello up to and with its random.
	helloPrefix = 4 + 2 + 32
)

// half is the state of one direction.
type half struct {
	side session.Side
	mode mode

	// hdr gathers a record header, or the first bytes for Sniff.
	hdr  [sniffMax]byte
	hdrN uint8
	// held are the first bytes once more, while they run through the layers (on the stack they would be allocated).
	held [sniffMax]byte
	// The current record: content type, body length, what is left of it, and what is done with it. In modeSSL2 left counts too.
	typ    uint8
	route  route
	length int
	left   int
	// pos is the number of stream bytes passed, known holes included; recordAt where the current record began.
	pos, recordAt int64
	// posLost: a hole of unknown size makes pos a lower bound; it came when appExact application data records had been seen.
	posLost  bool
	appExact int

	probe  [helloPrefix]byte
	probeN uint8
	alert  [2]byte
	alertN uint8

	msgs messages
	dec  *decrypter

	// begun: a record header was read. first: the current record is the one that the stream began with.
	begun, first bool
	// recognised: a TLS record header or an SSL 2.0 hello was read. midstream: the stream began, or went on after a hole at its
	// beginning, with something else than a hello.
	recognised, midstream bool
	// v2 is set between an SSL 2.0 format hello and the first TLS record.
	v2 bool
	// encrypted: what is in handshake and alert records of this direction can be encrypted.
	encrypted bool
	// ccs: a ChangeCipherSpec was seen (not the one that follows a HelloRetryRequest). finished: then an encrypted handshake record.
	ccs, finished bool
	// alertAfter: an encrypted alert record came after finished, and before application data.
	alertAfter bool
	// gap: bytes were missing. gapEarly: before ccs and before application data. gaveUp: modeDead for want of a record boundary.
	gap, gapEarly, gaveUp bool
	notTLS                bool
	// settled: lengths and types of further records tell nothing new.
	settled bool
	closed  bool
	tries   uint8

	// The first application data records: lengths of their bodies and the stream offsets of their ends.
	app     int
	appLen  [followRecords]uint16
	appEnd  [followRecords]int64
	appSize int64
	// finishedEnd is the offset behind the first encrypted handshake record after ccs.
	finishedEnd   int64
	finishedExact bool

	sent   Sent
	alerts uint8
	fault  *ProtocolError
}

// over reports whether the bytes of this direction are no longer looked at.
func (h *half) over() bool { return h.mode >= modeQuiet }
