package tlswire

import (
	"fmt"
	"io"
	"log/slog"
)

// Secrets gives the traffic secrets of a TLS 1.3 connection by its ClientHello.random. KeyLog is one.
// An implementation that is filled while Conns ask it must be safe for concurrent use.
type Secrets interface {
	// Lookup returns what is known; false if nothing is. What it returns is not changed afterwards.
	Lookup(clientRandom [32]byte) (*SessionSecrets, bool)
}

// Secret is one traffic secret of 32 or 48 bytes (64 at most). The zero value is none. It never prints.
type Secret struct {
	b [64]byte
	n uint8
}

// NewSecret copies b; false if b is no secret's length.
func NewSecret(b []byte) (s Secret, ok bool) {
	if len(b) != 32 && len(b) != 48 && len(b) != 64 {
		return s, false
	}
	s.n = uint8(copy(s.b[:], b))
	return s, true
}

// Known reports whether there is a secret.
func (s *Secret) Known() bool { return s.n > 0 }

func (s *Secret) bytes() []byte { return s.b[:s.n] }

// SessionSecrets are the secrets of one TLS 1.3 connection (RFC 8446, Section 7.1). Those that are not known are zero. It never prints.
type SessionSecrets struct {
	ClientEarly                      Secret
	ClientHandshake, ServerHandshake Secret
	ClientTraffic, ServerTraffic     Secret
}

const hidden = "[secret]"

// String hides the secret.
func (s Secret) String() string { return hidden }

// GoString hides the secret.
func (s Secret) GoString() string { return hidden }

// Format hides the secret from every verb of fmt.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// String hides the secrets.
func (s SessionSecrets) String() string { return hidden }

// GoString hides the secrets.
func (s SessionSecrets) GoString() string { return hidden }

// Format hides the secrets from every verb of fmt.
func (s SessionSecrets) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// LogValue hides the secrets.
func (s SessionSecrets) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secrets.
func (s SessionSecrets) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Format hides the secrets that a Conn may hold, from every verb of fmt.
func (c *Conn) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue hides the secrets that a Conn may hold.
func (c *Conn) LogValue() slog.Value { return slog.StringValue(c.String()) }
