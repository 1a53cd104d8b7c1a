package httpwire

import (
	"bytes"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Credentials are what a request exposed, without the secrets themselves: presence, scheme, scope, and the access key id masked.
type Credentials struct {
	// Scheme is Authorization's scheme if it is a known one, else "other": an unknown first word may itself be the secret.
	Scheme string
	// AccessKeyID is masked (AKIA…MPLE).
	AccessKeyID string
	// Region and Service are of the Signature Version 4 credential scope; Region is empty in version 4A, which has none.
	Region, Service string
	// Signature: a request signature is there. SessionToken: the session token is there, as a field or in the query.
	Signature, SessionToken bool
	// Presigned: key id, signature or token stand in the query.
	Presigned bool
	// UserInfo: user:password@ in the target's authority or in Host.
	UserInfo bool
	// Proxy: a Proxy-Authorization field; ProxyScheme is its scheme.
	Proxy       bool
	ProxyScheme string
	Cookie      bool
}

// schemes are the words that may be told of an Authorization field (IANA HTTP Authentication Schemes, and AWS's own).
var schemes = [...]string{"AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "Basic", "Bearer", "Digest", "Negotiate", "NTLM", "AWS",
	"AWS3", "AWS3-HTTPS", "DPoP", "GNAP", "HOBA", "Mutual", "OAuth", "PrivateToken", "SCRAM-SHA-1", "SCRAM-SHA-256", "vapid"}

const otherScheme = "other"

// scheme is the known scheme that an Authorization value begins with, else "other"; empty for an empty value.
func scheme(value []byte) string {
	word, _, _ := bytes.Cut(value, []byte{' '})
	if len(word) == 0 {
		return ""
	}
	for _, s := range schemes {
		if bytes.EqualFold(word, []byte(s)) {
			return s
		}
	}
	return otherScheme
}

// authorization takes an Authorization field.
func (c *Credentials) authorization(value []byte, prev *Credentials) {
	c.Scheme = scheme(value)
	_, rest, _ := bytes.Cut(value, []byte{' '})
	switch c.Scheme {
	case "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "AWS3", "AWS3-HTTPS":
		for len(rest) > 0 {
			var param []byte
			param, rest, _ = bytes.Cut(rest, []byte{','})
			key, v, _ := bytes.Cut(trimSpace(param), []byte{'='})
			switch string(key) {
			case "Credential":
				c.scope(v, prev)
			case "AWSAccessKeyId":
				c.keyID(v, prev)
			case "Signature":
				c.Signature = c.Signature || len(v) > 0
			}
		}
	case "AWS": // AWS key-id:signature
		id, signature, found := bytes.Cut(rest, []byte{':'})
		if found {
			c.keyID(id, prev)
			c.Signature = len(signature) > 0
		}
	}
}

// scope takes KEYID/DATE/REGION/SERVICE/aws4_request, in version 4A without REGION.
func (c *Credentials) scope(v []byte, prev *Credentials) {
	id, rest, found := bytes.Cut(v, []byte{'/'})
	c.keyID(id, prev)
	if !found {
		return
	}
	_, rest, _ = bytes.Cut(rest, []byte{'/'})
	rest, found = bytes.CutSuffix(rest, []byte("/aws4_request"))
	if !found {
		return
	}
	region, service, found := bytes.Cut(rest, []byte{'/'})
	if !found {
		region, service = nil, region
	}
	if isScopeWord(region) && isScopeWord(service) {
		c.Region, c.Service = keep(prev.Region, region, maxScopeWord), keep(prev.Service, service, maxScopeWord)
	}
}

// maxScopeWord is the longest region or service name that is believed.
const maxScopeWord = 32

// isScopeWord reports whether b looks like a region or a service: anything else may be a secret in the wrong place.
func isScopeWord(b []byte) bool {
	for _, x := range b {
		if (x < 'a' || x > 'z') && (x < '0' || x > '9') && x != '-' {
			return false
		}
	}
	return len(b) <= maxScopeWord
}

// keyID masks at once. A repeated key, as on every request of a connection, costs no allocation.
func (c *Credentials) keyID(id []byte, prev *Credentials) {
	const shown, ellipsis = 4, len("…")
	if p := prev.AccessKeyID; len(p) == 2*shown+ellipsis && session.IsAccessKey(id) && p[:shown] == string(id[:shown]) &&
		p[shown+ellipsis:] == string(id[len(id)-shown:]) {
		c.AccessKeyID = p
		return
	}
	c.AccessKeyID = session.MaskAccessKey(id)
}

// query takes what a presigned URL carries in its query (AWS Signature Version 4, "Authenticating Requests: Using Query Parameters",
// and version 2's names). Parameter names are exact; values are percent-encoded.
func (c *Credentials) query(query []byte, prev *Credentials) {
	for len(query) > 0 {
		var param []byte
		param, query, _ = bytes.Cut(query, []byte{'&'})
		key, v, _ := bytes.Cut(param, []byte{'='})
		if len(v) == 0 {
			continue
		}
		switch string(key) {
		case "X-Amz-Credential":
			var plain [256]byte
			c.scope(unescape(plain[:0], v), prev)
			c.Presigned = true
		case "X-Amz-Signature":
			c.Signature, c.Presigned = true, true
		case "X-Amz-Security-Token":
			c.SessionToken, c.Presigned = true, true
		case "AWSAccessKeyId":
			c.keyID(v, prev)
			c.Presigned = true
		case "Signature": // a common word: it counts only beside a key id, whatever the order
			c.Signature = c.Signature || c.AccessKeyID != "" || bytes.Contains(query, []byte("AWSAccessKeyId="))
		}
	}
}

// unescape appends v to dst with %XX decoded, up to dst's capacity.
func unescape(dst, v []byte) []byte {
	for i := 0; i < len(v) && len(dst) < cap(dst); i++ {
		if v[i] == '%' && i+2 < len(v) {
			hi, ok1 := hexDigit(v[i+1])
			lo, ok2 := hexDigit(v[i+2])
			if ok1 && ok2 {
				dst = append(dst, hi<<4|lo)
				i += 2
				continue
			}
		}
		dst = append(dst, v[i])
	}
	return dst
}
