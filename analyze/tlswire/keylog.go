package tlswire

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// KeyLog holds the secrets of key log files, as SSLKEYLOGFILE and the secrets blocks of pcapng have them: lines of a label, the
// ClientHello.random and a secret, both in hex, blanks between them (draft-ietf-tls-keylogfile). It is safe for concurrent use
// and never prints a secret.
type KeyLog struct {
	mu       sync.RWMutex
	limit    int
	sessions map[[32]byte]*SessionSecrets
	// order is a ring of the keys of sessions, oldest at next once it is full.
	order [][32]byte
	next  int
	stats KeyLogStats
	own   KeyLogStream // of Write and Read
}

// KeyLogStream is one of several sources of a KeyLog: lines that arrive in pieces from one do not mix with another's. Its methods must be called
// by one goroutine at a time.
type KeyLogStream struct {
	k *KeyLog
	// line holds an unfinished line between two calls of Write; long: the rest of an over-long line is thrown away.
	line []byte
	long bool
}

// KeyLogStats counts what a KeyLog met.
type KeyLogStats struct {
	// Lines counts all lines; Secrets the TLS 1.3 secrets taken; Sessions the client randoms held now.
	Lines, Secrets, Sessions int
	// Evicted counts sessions thrown out because there were too many.
	Evicted int
	// TLS12 counts CLIENT_RANDOM lines, which are well-formed but of no use here. Unknown counts other labels.
	TLS12, Unknown int
	// Malformed counts lines that could not be read; FirstMalformed is the number of the first, from 1; 0 if there is none.
	Malformed, FirstMalformed int
}

const (
	// DefaultKeyLogLimit is the number of sessions that a KeyLog holds unless told otherwise; each takes about 400 bytes.
	DefaultKeyLogLimit = 1 << 16
	// maxKeyLogLine is longer than any line that can be of use.
	maxKeyLogLine = 512
)

// NewKeyLog returns an empty KeyLog for at most limit sessions; the oldest gives way. limit <= 0 means DefaultKeyLogLimit.
func NewKeyLog(limit int) *KeyLog {
	if limit <= 0 {
		limit = DefaultKeyLogLimit
	}
	k := &KeyLog{limit: limit, sessions: make(map[[32]byte]*SessionSecrets)}
	k.own.k = k
	return k
}

// Stream returns a new source for k.
func (k *KeyLog) Stream() *KeyLogStream { return &KeyLogStream{k: k} }

// Read takes everything that r has. It may be called again for what was appended in the meantime: a last line without line end
// is used if it is whole, and goes on with the next Read or Write.
func (k *KeyLog) Read(r io.Reader) error {
	if _, err := io.Copy(keyLogWriter{k}, r); err != nil {
		return fmt.Errorf("read key log: %w", err)
	}
	k.Flush()
	return nil
}

// keyLogWriter hides the other methods from io.Copy.
type keyLogWriter struct{ k *KeyLog }

func (w keyLogWriter) Write(p []byte) (int, error) { return w.k.Write(p) }

// Write takes the next bytes of a key log. It never fails.
func (k *KeyLog) Write(p []byte) (int, error) { return k.own.Write(p) }

// Flush takes an unfinished last line, if it is whole as it stands, without ending it.
func (k *KeyLog) Flush() { k.own.Flush() }

// Write takes the next bytes of this source. It never fails.
func (s *KeyLogStream) Write(p []byte) (int, error) {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.gather(p)
			return n, nil
		}
		if s.long || len(s.line) > 0 {
			s.gather(p[:i])
			s.k.add(s.line, s.long)
		} else {
			s.k.add(p[:i], i > maxKeyLogLine)
		}
		s.Reset()
		p = p[i+1:]
	}
}

// gather appends to the unfinished line.
func (s *KeyLogStream) gather(p []byte) {
	if s.long || len(s.line)+len(p) > maxKeyLogLine {
		s.long = s.long || len(p) > 0
		return
	}
	s.line = append(s.line, p...)
}

// Flush takes an unfinished last line, if it is whole as it stands, without ending it.
func (s *KeyLogStream) Flush() {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	if label, random, secret, ok := parseKeyLogLine(s.line); ok && !s.long && label != labelNone {
		s.k.put(label, random, secret)
	}
}

// Reset forgets an unfinished line: what comes next is another file.
func (s *KeyLogStream) Reset() {
	clear(s.line)
	s.line, s.long = s.line[:0], false
}

// AddLine takes one line, without or with its line end.
func (k *KeyLog) AddLine(line []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.add(bytes.TrimSuffix(line, []byte("\n")), len(line) > maxKeyLogLine)
}

// Lookup implements Secrets.
func (k *KeyLog) Lookup(clientRandom [32]byte) (*SessionSecrets, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	s, ok := k.sessions[clientRandom]
	return s, ok
}

// Stats returns the counters.
func (k *KeyLog) Stats() KeyLogStats {
	k.mu.RLock()
	defer k.mu.RUnlock()
	s := k.stats
	s.Sessions = len(k.sessions)
	return s
}

func (k *KeyLog) add(line []byte, long bool) {
	k.stats.Lines++
	line = bytes.TrimSpace(line)
	if !long && (len(line) == 0 || line[0] == '#') {
		return
	}
	label, random, secret, ok := parseKeyLogLine(line)
	switch {
	case long || !ok:
		k.stats.Malformed++
		if k.stats.FirstMalformed == 0 {
			k.stats.FirstMalformed = k.stats.Lines
		}
	case label == labelTLS12:
		k.stats.TLS12++
	case label == labelNone:
		k.stats.Unknown++
	default:
		k.put(label, random, secret)
	}
}

// put stores a secret. Stored sessions are never changed, for somebody may be reading them; they are replaced.
func (k *KeyLog) put(label keyLogLabel, random [32]byte, secret Secret) {
	if label == labelTLS12 || label == labelUseless {
		return
	}
	s := new(SessionSecrets)
	old, known := k.sessions[random]
	if known {
		*s = *old
	}
	at := map[keyLogLabel]*Secret{
		labelClientEarly: &s.ClientEarly, labelClientHandshake: &s.ClientHandshake, labelServerHandshake: &s.ServerHandshake,
		labelClientTraffic: &s.ClientTraffic, labelServerTraffic: &s.ServerTraffic,
	}[label]
	if *at == secret {
		return
	}
	*at = secret
	k.stats.Secrets++
	k.sessions[random] = s
	if known {
		return
	}
	if len(k.order) < k.limit {
		k.order = append(k.order, random)
		return
	}
	delete(k.sessions, k.order[k.next])
	k.order[k.next] = random
	k.next = (k.next + 1) % k.limit
	k.stats.Evicted++
}

type keyLogLabel uint8

const (
	labelNone keyLogLabel = iota
	labelTLS12
	labelUseless
	labelClientEarly
	labelClientHandshake
	labelServerHandshake
	labelClientTraffic
	labelServerTraffic
)

var keyLogLabels = map[string]keyLogLabel{
	"CLIENT_RANDOM":                   labelTLS12,
	"EXPORTER_SECRET":                 labelUseless,
	"EARLY_EXPORTER_SECRET":           labelUseless,
	"CLIENT_EARLY_TRAFFIC_SECRET":     labelClientEarly,
	"CLIENT_HANDSHAKE_TRAFFIC_SECRET": labelClientHandshake,
	"SERVER_HANDSHAKE_TRAFFIC_SECRET": labelServerHandshake,
	"CLIENT_TRAFFIC_SECRET_0":         labelClientTraffic,
	"SERVER_TRAFFIC_SECRET_0":         labelServerTraffic,
}

// parseKeyLogLine reads "LABEL random secret". A line with an unknown label is good as long as it begins with a word;
// its label is labelNone.
func parseKeyLogLine(line []byte) (label keyLogLabel, random [32]byte, secret Secret, ok bool) {
	word, rest := field(line)
	if len(word) == 0 {
		return labelNone, random, secret, false
	}
	label = keyLogLabels[string(word)]
	if label == labelNone {
		for _, c := range word {
			if !alphanumeric(c) && c != '_' {
				return labelNone, random, secret, false
			}
		}
		return labelNone, random, secret, true
	}
	word, rest = field(rest)
	if !unhex(random[:], word) {
		return labelNone, random, secret, false
	}
	word, rest = field(rest)
	if end, _ := field(rest); len(end) > 0 || len(word)%2 != 0 || len(word) > 2*len(secret.b) {
		return labelNone, random, secret, false
	}
	n := len(word) / 2
	if !unhex(secret.b[:n], word) || n != 32 && n != 48 && n != 64 {
		return labelNone, random, Secret{}, false
	}
	secret.n = uint8(n)
	return label, random, secret, true
}

// field cuts the first blank-separated word from line.
func field(line []byte) (word, rest []byte) {
	line = bytes.TrimLeft(line, " \t\r")
	if i := bytes.IndexAny(line, " \t\r"); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// unhex decodes exactly len(dst) bytes. Unlike encoding/hex it makes no error that quotes a byte of the input.
func unhex(dst, src []byte) bool {
	if len(src) != 2*len(dst) {
		return false
	}
	for i := range dst {
		hi, ok1 := nibble(src[2*i])
		lo, ok2 := nibble(src[2*i+1])
		if !ok1 || !ok2 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// String tells how much is held, and no secret.
func (k *KeyLog) String() string { return fmt.Sprintf("key log of %d sessions", k.Stats().Sessions) }

// GoString is String.
func (k *KeyLog) GoString() string { return k.String() }

// Format hides the secrets from every verb of fmt.
func (k *KeyLog) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue hides the secrets.
func (k *KeyLog) LogValue() slog.Value { return slog.StringValue(k.String()) }
