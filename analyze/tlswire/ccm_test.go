package tlswire

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

func unhexTB(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestCCMVectors(t *testing.T) {
	for _, v := range []struct {
		name, key, nonce, aad, plain, sealed string
		tag                                  int
	}{
		{"RFC 3610 packet vector 1", "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf", "00000003020100a0a1a2a3a4a5", "0001020304050607",
			"08090a0b0c0d0e0f101112131415161718191a1b1c1d1e", "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0", 8},
		{"RFC 3610 packet vector 2", "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf", "00000004030201a0a1a2a3a4a5", "0001020304050607",
			"08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "72c91a36e135f8cf291ca894085c87e3cc15c439c9e43a3ba091d56e10400916", 8},
		{"NIST SP 800-38C example 1", "404142434445464748494a4b4c4d4e4f", "10111213141516", "0001020304050607",
			"20212223", "7162015b4dac255d", 4},
		{"NIST SP 800-38C example 2", "404142434445464748494a4b4c4d4e4f", "1011121314151617", "000102030405060708090a0b0c0d0e0f",
			"202122232425262728292a2b2c2d2e2f", "d2a1f0e051ea5f62081a7792073d593d1fc64fbfaccd", 6},
		{"NIST SP 800-38C example 3", "404142434445464748494a4b4c4d4e4f", "101112131415161718191a1b", "000102030405060708090a0b0c0d0e0f10111213",
			"202122232425262728292a2b2c2d2e2f3031323334353637", "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951", 8},
	} {
		t.Run(v.name, func(t *testing.T) {
			block, _ := aes.NewCipher(unhexTB(t, v.key))
			nonce, aad, plain := unhexTB(t, v.nonce), unhexTB(t, v.aad), unhexTB(t, v.plain)
			c, err := newCCM(block, len(nonce), v.tag)
			if err != nil {
				t.Fatal(err)
			}
			sealed := c.Seal(nil, nonce, plain, aad)
			if got := hex.EncodeToString(sealed); got != v.sealed {
				t.Fatalf("sealed %s, want %s", got, v.sealed)
			}
			if got, err := c.Open(nil, nonce, sealed, aad); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("opened %x, %v", got, err)
			}
			for i := range sealed {
				sealed[i] ^= 1
				if _, err := c.Open(nil, nonce, sealed, aad); err == nil {
					t.Errorf("a changed byte %d went unnoticed", i)
				}
				sealed[i] ^= 1
			}
		})
	}
}

// TestCCMLongAssociatedData is example 4 of NIST SP 800-38C: 65,536 bytes of associated data have a six-byte length.
func TestCCMLongAssociatedData(t *testing.T) {
	block, _ := aes.NewCipher(unhexTB(t, "404142434445464748494a4b4c4d4e4f"))
	c, err := newCCM(block, 13, 14)
	if err != nil {
		t.Fatal(err)
	}
	aad := make([]byte, 65536)
	for i := range aad {
		aad[i] = byte(i)
	}
	plain := unhexTB(t, "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f")
	want := "69915dad1e84c6376a68c2967e4dab615ae0fd1faec44cc484828529463ccf72b4ac6bec93e8598e7f0dadbcea5b"
	if got := hex.EncodeToString(c.Seal(nil, unhexTB(t, "101112131415161718191a1b1c"), plain, aad)); got != want {
		t.Errorf("sealed %s, want %s", got, want)
	}
}

func TestCCMRefusesBadParameters(t *testing.T) {
	block, _ := aes.NewCipher(make([]byte, 16))
	for _, p := range [][2]int{{6, 16}, {14, 16}, {12, 3}, {12, 2}, {12, 18}} {
		if _, err := newCCM(block, p[0], p[1]); err == nil {
			t.Errorf("nonce %d, tag %d accepted", p[0], p[1])
		}
	}
	c, _ := newCCM(block, 12, 16)
	if _, err := c.Open(nil, make([]byte, 12), make([]byte, 15), nil); err == nil {
		t.Error("a message shorter than its tag was opened")
	}
}

// slowCCM seals as RFC 3610, Section 2 describes it, with all blocks laid out in memory.
func slowCCM(block cipher.Block, tag int, nonce, plain, aad []byte) []byte {
	l := 15 - len(nonce)
	b := []byte{byte((tag-2)/2*8 + l - 1)}
	if len(aad) > 0 {
		b[0] += 64
	}
	b = append(b, nonce...)
	n := binary.BigEndian.AppendUint64(nil, uint64(len(plain)))
	b = append(b, n[8-l:]...)
	pad := func() {
		for len(b)%16 != 0 {
			b = append(b, 0)
		}
	}
	if len(aad) > 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(aad)))
		b = append(b, aad...)
		pad()
	}
	b = append(b, plain...)
	pad()
	mac := make([]byte, len(b))
	cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(mac, b)
	t := mac[len(mac)-16:][:tag]

	a := append([]byte{byte(l - 1)}, nonce...)
	a = append(a, make([]byte, l)...)
	stream := cipher.NewCTR(block, a)
	s0 := make([]byte, 16)
	stream.XORKeyStream(s0, s0)
	out := make([]byte, len(plain), len(plain)+tag)
	stream.XORKeyStream(out, plain)
	for i := range t {
		t[i] ^= s0[i]
	}
	return append(out, t...)
}

func FuzzCCM(f *testing.F) {
	f.Add(make([]byte, 16), make([]byte, 12), []byte("plain"), []byte("data"), uint8(16))
	f.Add([]byte("0123456789abcdef"), make([]byte, 7), make([]byte, 100), []byte{}, uint8(4))
	f.Add([]byte("0123456789abcdef"), make([]byte, 13), []byte{}, make([]byte, 31), uint8(8))
	f.Fuzz(func(t *testing.T, key, nonce, plain, aad []byte, tag uint8) {
		block, err := aes.NewCipher(key)
		if err != nil || len(aad) >= 0xff00 || len(plain) > 60000 {
			return
		}
		c, err := newCCM(block, len(nonce), int(tag))
		if err != nil {
			return
		}
		sealed := c.Seal(nil, nonce, plain, aad)
		if want := slowCCM(block, int(tag), nonce, plain, aad); !bytes.Equal(sealed, want) {
			t.Fatalf("sealed %x, reference %x", sealed, want)
		}
		if got, err := c.Open([]byte("x"), nonce, sealed, aad); err != nil || string(got) != "x"+string(plain) {
			t.Fatalf("opened %x, %v", got, err)
		}
		sealed[len(sealed)/2] ^= 0x80
		if _, err := c.Open(nil, nonce, sealed, aad); err == nil {
			t.Fatal("a change went unnoticed")
		}
	})
}
