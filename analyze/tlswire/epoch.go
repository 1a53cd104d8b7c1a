package tlswire

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	_ "crypto/sha256" // hashes of the suites
	_ "crypto/sha512"
	"fmt"
	"hash"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// epochKeys are the secrets of the connection and what its suite needs.
type epochKeys struct {
	secrets SessionSecrets
	hash    crypto.Hash
	suite   uint16
	keyLen  int
	tagLen  int
	// transcript is the running hash of the handshake messages; nil when one is missing.
	transcript hash.Hash
}

// Format hides the secrets.
func (k *epochKeys) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

func newEpochKeys(suite uint16) *epochKeys {
	k := &epochKeys{suite: suite, hash: crypto.SHA256, keyLen: 16, tagLen: 16}
	switch suite {
	case 0x1302:
		k.hash, k.keyLen = crypto.SHA384, 32
	case 0x1303:
		k.keyLen = 32
	case 0x1305:
		k.tagLen = 8
	}
	return k
}

func (k *epochKeys) secretOf(side session.Side, p phase) *Secret {
	switch {
	case side == session.Client && p == phaseHandshake:
		return &k.secrets.ClientHandshake
	case side == session.Client:
		return &k.secrets.ClientTraffic
	case p == phaseHandshake:
		return &k.secrets.ServerHandshake
	}
	return &k.secrets.ServerTraffic
}

func (k *epochKeys) newAEAD(key []byte) (cipher.AEAD, error) {
	if k.suite == 0x1303 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if k.suite == 0x1304 || k.suite == 0x1305 {
		return newCCM(block, 12, k.tagLen)
	}
	return cipher.NewGCM(block)
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446, Section 7.1).
func expandLabel(h crypto.Hash, secret []byte, label string, n int) ([]byte, error) {
	info := make([]byte, 0, 32)
	info = append(info, byte(n>>8), byte(n), byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0)
	return hkdf.Expand(h.New, secret, string(info), n)
}

// startTranscript hashes the hellos (RFC 8446, Section 4.4.1).
func (c *Conn) startTranscript() {
	k := c.keys
	if c.first.State != Complete || c.hello.State != Complete {
		return
	}
	t := k.hash.New()
	t.Write(c.first.raw)
	if c.retry != nil {
		if c.second == nil || c.second.State != Complete || c.retry.State != Complete {
			return
		}
		sum := t.Sum(nil)
		t = k.hash.New()
		t.Write([]byte{254, 0, 0, byte(len(sum))}) // message_hash
		t.Write(sum)
		t.Write(c.retry.raw)
		t.Write(c.second.raw)
	}
	t.Write(c.hello.raw)
	k.transcript = t
}
