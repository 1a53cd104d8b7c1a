package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Describe tells of a certificate what output shows; fields that were not read, or lie behind the damage of a partial one, are empty.
func (p *Parsed) Describe() *session.Certificate { return describeLeaf(p, 0) }

// describeLeaf is the leaf as shown in output.
func describeLeaf(p *Parsed, chainLength int) *session.Certificate {
	c := &session.Certificate{
		SeenBy:      "wire",
		Issuer:      FormatDN(p.RawIssuer),
		Serial:      p.SerialHex(),
		ChainLength: chainLength,
		Partial:     p.Partial(),
		Signature:   p.SignatureAlgorithm.Name,
		Key:         p.Key.Algorithm,
		NotBefore:   p.NotBefore,
		NotAfter:    p.NotAfter,
	}
	if p.RawSubject != nil {
		c.Subject = FormatDN(p.RawSubject)
	}
	if p.Damage == nil {
		digest := sha256.Sum256(p.Raw)
		c.SHA256 = hex.EncodeToString(digest[:])
	}
	if p.RawSPKI != nil {
		digest := sha256.Sum256(p.RawSPKI)
		c.SPKISHA256 = hex.EncodeToString(digest[:])
	}
	for _, name := range p.Extensions.DNSNames {
		if len(c.Names) == maxShownNames {
			break
		}
		c.Names = append(c.Names, printable(name))
	}
	for _, ip := range p.Extensions.IPAddresses {
		if len(c.Names) == maxShownNames {
			break
		}
		c.Names = append(c.Names, ip.String())
	}
	return c
}

// maxShownNames is how many names of a leaf are kept for output.
const maxShownNames = 100

// printable escapes all but printable ASCII as FormatDN does, and cuts what is longer than any host name.
func printable(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if i == 256 {
			b.WriteString("...")
			break
		}
		switch c := s[i]; {
		case c < 0x20 || c >= 0x7f:
			b.WriteByte('\\')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		case c == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
