package tlswire

import "encoding/binary"

// Small builders of wire bytes for tests.

func vec(width int, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	n := len(body)
	head := []byte{byte(n >> 16), byte(n >> 8), byte(n)}
	return append(head[3-width:], body...)
}

func u16s(vs ...uint16) []byte {
	var b []byte
	for _, v := range vs {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func ext(typ uint16, body []byte) []byte { return append(u16s(typ), vec(2, body)...) }

func handshake(typ byte, parts ...[]byte) []byte { return append([]byte{typ}, vec(3, parts...)...) }

// record is one TLS record.
func record(typ byte, parts ...[]byte) []byte { return append([]byte{typ, 3, 3}, vec(2, parts...)...) }

// records cuts a message into records of at most n content bytes.
func records(n int, msg []byte) []byte {
	var b []byte
	for len(msg) > 0 {
		k := min(n, len(msg))
		b = append(b, record(recordHandshake, msg[:k])...)
		msg = msg[k:]
	}
	return b
}

func testBytes(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func extSNI(name string) []byte {
	return ext(extServerName, vec(2, []byte{0}, vec(2, []byte(name))))
}

func extALPNOf(protos ...string) []byte {
	var l []byte
	for _, p := range protos {
		l = append(l, vec(1, []byte(p))...)
	}
	return ext(extALPN, vec(2, l))
}

// clientHello builds a ClientHello message; exts nil means without a block of extensions.
func clientHelloMsg(version uint16, sessionID []byte, suites []uint16, exts ...[]byte) []byte {
	parts := [][]byte{u16s(version), testBytes(32, 0x40), vec(1, sessionID), vec(2, u16s(suites...)), {1, 0}}
	if exts != nil {
		parts = append(parts, vec(2, exts...))
	}
	return handshake(typeClientHello, parts...)
}

func serverHelloMsg(version uint16, random, sessionID []byte, suite uint16, exts ...[]byte) []byte {
	parts := [][]byte{u16s(version), random, vec(1, sessionID), u16s(suite), {0}}
	if exts != nil {
		parts = append(parts, vec(2, exts...))
	}
	return handshake(typeServerHello, parts...)
}

// certificateMsg builds a Certificate message of TLS 1.2.
func certificateMsg(ders ...[]byte) []byte {
	var l []byte
	for _, der := range ders {
		l = append(l, vec(3, der)...)
	}
	return handshake(typeCertificate, vec(3, l))
}
