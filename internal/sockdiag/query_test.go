package sockdiag

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

var testTuple = Tuple(netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("192.0.2.2:443"))

// answer makes what the kernel says for testTuple.
func answer(sequence uint32, attributes ...byte) []byte {
	ne := binary.NativeEndian
	b := make([]byte, headerLen+messageLen, headerLen+messageLen+len(attributes))
	ne.PutUint32(b, uint32(cap(b)))
	ne.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint32(b[8:], sequence)
	m := b[headerLen:]
	m[0] = unix.AF_INET
	binary.BigEndian.PutUint16(m[4:], testTuple.SrcPort)
	binary.BigEndian.PutUint16(m[6:], testTuple.DstPort)
	ne.PutUint64(m[44:], 4711)
	ne.PutUint32(m[64:], 1000)
	ne.PutUint32(m[68:], 99)
	return append(b, attributes...)
}

func attribute(kind uint16, value uint64) []byte {
	b := binary.NativeEndian.AppendUint16(nil, 12)
	b = binary.NativeEndian.AppendUint16(b, kind)
	return binary.NativeEndian.AppendUint64(b, value)
}

func TestParseAnswer(t *testing.T) {
	full := Socket{Inode: 99, UID: 1000, Cookie: 4711, CgroupID: 77}
	without := Socket{Inode: 99, UID: 1000, Cookie: 4711}
	failure := func(errno uint32) []byte {
		b := answer(1)[:headerLen+4]
		binary.NativeEndian.PutUint32(b, uint32(len(b)))
		binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_ERROR)
		binary.NativeEndian.PutUint32(b[headerLen:], -errno)
		return b
	}
	listener := answer(1)
	binary.BigEndian.PutUint16(listener[headerLen+6:], 0)
	for _, c := range []struct {
		name string
		in   []byte
		want Socket
		err  error
	}{
		{"with cgroup", answer(1, attribute(attributeCgroup, 77)...), full, nil},
		{"cgroup behind others", answer(1, append([]byte{5, 0, 8, 0, 1, 0, 0, 0}, attribute(attributeCgroup, 77)...)...), full, nil},
		{"without cgroup", answer(1), without, nil},
		{"attribute cut off", answer(1, 40, 0, attributeCgroup, 0), without, nil},
		{"attribute without length", answer(1, 0, 0, attributeCgroup, 0), without, nil},
		{"other request", answer(2), Socket{}, errOther},
		{"none", failure(uint32(unix.ENOENT)), Socket{}, ErrNoSocket},
		{"no rights", failure(uint32(unix.EPERM)), Socket{}, unix.EPERM},
		{"listener", listener, Socket{}, ErrNoSocket},
	} {
		got, err := parseAnswer(c.in, testTuple, 1)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	for n := range headerLen + messageLen {
		if got, err := parseAnswer(answer(1)[:n], testTuple, 1); err == nil {
			t.Errorf("%d bytes: %+v", n, got)
		}
	}
}

// FuzzParseAnswer holds that a result and an error exclude each other.
func FuzzParseAnswer(f *testing.F) {
	f.Add(answer(1))
	f.Add(answer(1, attribute(attributeCgroup, 77)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseAnswer(b, testTuple, 1); err != nil && s != (Socket{}) {
			t.Errorf("%+v with %v", s, err)
		}
	})
}
