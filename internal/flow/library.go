package flow

// Library is what probes inside a client's TLS library told of one handshake. It is never changed once given out; a source that learns more
// of the same handshake gives out a new one with the same Random.
type Library struct {
	// Random is the ClientHello's, by which a handshake is found on the wire: no two connections have the same.
	Random [32]byte
	// Time is when the client was about to judge the chain, in nanoseconds since the Unix epoch.
	Time int64
	// PID and TID are who did that, in the initial PID namespace.
	PID, TID int
	// Name is the library in words, such as "OpenSSL 3.0.19", Path its file as the process's mount namespace names it; "" if unknown.
	Name, Path string
	// Chain are the certificates as the server sent them, in DER, the leaf first; nil if they were not seen.
	Chain [][]byte
	// Verification says whether the client verifies, and VerificationBy what told it, in words.
	Verification   Verification
	VerificationBy string
	// ServerName is the name that the program told the library to connect to; "" if that was not seen.
	ServerName string
	// NameApart: ServerName was found by itself. If it is another than the ClientHello's, that says nothing about the rest.
	NameApart bool
	// HostChecked: the library compared the leaf with Host. Where it did not, the program may have done so itself, out of sight.
	HostChecked bool
	Host        string
}

// Verification says whether a client verifies the server's certificate.
type Verification uint8

// The answers. Unknown is no evidence of anything.
const (
	VerificationUnknown Verification = iota
	VerificationOn
	// VerificationOff: the client accepts any certificate, unless it leaves right after the handshake without sending data.
	VerificationOff
)
