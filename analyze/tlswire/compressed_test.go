package tlswire

import (
	"bytes"
	"compress/zlib"
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// compressedMsg is the body of a CompressedCertificate.
func compressedMsg(algorithm uint16, size int, data []byte) []byte {
	return append(append(u16s(algorithm), byte(size>>16), byte(size>>8), byte(size)), vec(3, data)...)
}

func TestCompressedCertificate(t *testing.T) {
	der := append([]byte{0x30, 0x82, 4, 0}, testBytes(1024, 0)...)
	plain := append([]byte{0}, vec(3, vec(3, der), vec(2))...)
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(plain)
	w.Close()
	enc, _ := zstd.NewWriter(nil)
	zs := enc.EncodeAll(plain, nil)
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	for _, test := range []struct {
		name  string
		body  []byte
		want  State
		cause error
	}{
		{"zlib", compressedMsg(compressionZlib, len(plain), z.Bytes()), Complete, nil},
		{"zstd", compressedMsg(compressionZstd, len(plain), zs), Complete, nil},
		{"longer than announced", compressedMsg(compressionZlib, len(plain)-1, z.Bytes()), Unreadable, nil},
		{"shorter than announced", compressedMsg(compressionZstd, len(plain)+1, zs), Unreadable, nil},
		{"a bomb", compressedMsg(compressionZstd, MaxMessage, bomb), Unreadable, nil},
		{"too large to be believed", compressedMsg(compressionZlib, MaxMessage+1, z.Bytes()), Unreadable, nil},
		{"not zlib", compressedMsg(compressionZlib, len(plain), zs), Unreadable, nil},
		{"not zstd", compressedMsg(compressionZstd, len(plain), z.Bytes()), Unreadable, nil},
		{"brotli", compressedMsg(compressionBrotli, len(plain), []byte{1}), Unreadable, ErrUnsupported},
		{"a new algorithm", compressedMsg(9, len(plain), []byte{1}), Unreadable, ErrUnsupported},
		{"cut", []byte{0, 1}, Unreadable, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := New(Options{})
			c.compressedCertificate(test.body, true)
			ch := c.Facts().Chain
			if ch.State != test.want || (ch.Err == nil) != (test.want == Complete) || test.cause != nil && !errors.Is(ch.Err, test.cause) {
				t.Fatalf("state %v, error %v", ch.State, ch.Err)
			}
			if test.want == Complete && (len(ch.Certificates) != 1 || !bytes.Equal(ch.Certificates[0], der)) {
				t.Errorf("%d certificates", len(ch.Certificates))
			}
		})
	}
	c := New(Options{})
	if c.compressedCertificate(compressedMsg(1, 5, nil), false); c.chain.State != Partial {
		t.Errorf("an incomplete one: %v", c.chain.State)
	}
}
