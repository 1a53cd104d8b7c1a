package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestKeyProof(t *testing.T) {
	rsaA, rsaB := rsaKey(t, 2048), rsaKey(t, 2048)
	short := smallRSA(t, 512)
	ecA, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ecB, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edA, edB := ed25519Key(t), ed25519Key(t)
	client, server := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	params := []byte{3, 0, 29, 32, 1, 2, 3}
	message := bytes.Join([][]byte{client, server, params}, nil)
	hashed := func(h crypto.Hash) []byte { d := h.New(); d.Write(message); return d.Sum(nil) }
	both := func() []byte {
		a, b := md5.Sum(message), sha1.Sum(message)
		return append(a[:], b[:]...)
	}()
	sign := func(key crypto.Signer, digest []byte, opts crypto.SignerOpts) []byte {
		sig, err := key.Sign(rand.Reader, digest, opts)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	pss := func(h crypto.Hash) *rsa.PSSOptions {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
	}
	tests := []struct {
		name            string
		version, scheme uint16
		key, other      crypto.PublicKey
		signature       []byte
	}{
		{"TLS 1.2 rsa_pkcs1_sha256", 0x0303, 0x0401, rsaA.Public(), rsaB.Public(), sign(rsaA, hashed(crypto.SHA256), crypto.SHA256)},
		{"TLS 1.2 rsa_pkcs1_sha1", 0x0303, 0x0201, rsaA.Public(), rsaB.Public(), sign(rsaA, hashed(crypto.SHA1), crypto.SHA1)},
		{"TLS 1.2 rsa_pkcs1_md5", 0x0303, 0x0101, rsaA.Public(), rsaB.Public(), sign(rsaA, hashed(crypto.MD5), crypto.MD5)},
		{"TLS 1.2 rsa_pkcs1_sha512", 0x0303, 0x0601, rsaA.Public(), ecA.Public(), sign(rsaA, hashed(crypto.SHA512), crypto.SHA512)},
		{"TLS 1.2 rsa_pss_rsae_sha256", 0x0303, 0x0804, rsaA.Public(), rsaB.Public(), sign(rsaA, hashed(crypto.SHA256), pss(crypto.SHA256))},
		{"TLS 1.2 rsa_pss_rsae_sha384", 0x0303, 0x0805, rsaA.Public(), rsaB.Public(), sign(rsaA, hashed(crypto.SHA384), pss(crypto.SHA384))},
		{"TLS 1.2 rsa_pss_pss_sha512", 0x0303, 0x080b, rsaA.Public(), rsaB.Public(), sign(rsaA, hashed(crypto.SHA512), pss(crypto.SHA512))},
		{"TLS 1.2 ecdsa sha256 on P-384", 0x0303, 0x0403, ecA.Public(), ecB.Public(), sign(ecA, hashed(crypto.SHA256), crypto.SHA256)},
		{"TLS 1.2 ecdsa sha1", 0x0303, 0x0203, ecA.Public(), rsaA.Public(), sign(ecA, hashed(crypto.SHA1), crypto.SHA1)},
		{"TLS 1.2 ed25519", 0x0303, 0x0807, edA.Public(), edB.Public(), sign(edA, message, crypto.Hash(0))},
		{"TLS 1.2 with a key of 512 bits", 0x0303, 0x0201, short.Public(), rsaA.Public(), signPKCS1(short, crypto.SHA1)(message)},
		{"TLS 1.1 RSA", 0x0302, 0, rsaA.Public(), rsaB.Public(), sign(rsaA, both, crypto.MD5SHA1)},
		{"TLS 1.0 RSA, scheme ignored", 0x0301, 0x0403, rsaA.Public(), rsaB.Public(), sign(rsaA, both, crypto.MD5SHA1)},
		{"TLS 1.0 ECDSA", 0x0301, 0, ecA.Public(), ecB.Public(), sign(ecA, hashed(crypto.SHA1), crypto.SHA1)},
		{"SSL 3.0 RSA", 0x0300, 0, rsaA.Public(), edA.Public(), sign(rsaA, both, crypto.MD5SHA1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proof := func(key crypto.PublicKey, client, server, params, sig []byte) session.KeyProof {
				return VerifyServerKeyExchange(key, tt.version, tt.scheme, client, server, params, sig)
			}
			if got := proof(tt.key, client, server, params, tt.signature); got != session.KeyProofValid {
				t.Errorf("own key: %d", got)
			}
			if got := proof(tt.other, client, server, params, tt.signature); got != session.KeyProofInvalid {
				t.Errorf("other key: %d", got)
			}
			if got := proof(tt.key, server, client, params, tt.signature); got != session.KeyProofInvalid {
				t.Errorf("randoms exchanged: %d", got)
			}
			if got := proof(tt.key, client, server, params[:5], tt.signature); got != session.KeyProofInvalid {
				t.Errorf("other params: %d", got)
			}
			if got := proof(tt.key, client, server, params, nil); got != session.KeyProofInvalid {
				t.Errorf("empty signature: %d", got)
			}
			if got := proof(nil, client, server, params, tt.signature); got != session.KeyProofUnsupported {
				t.Errorf("no key: %d", got)
			}
			if got := proof(tt.key, client[:31], server, params, tt.signature); got != session.KeyProofNone {
				t.Errorf("short random: %d", got)
			}
		})
	}
	for _, scheme := range []uint16{0, 0x0402, 0x0808, 0x0904, 0xfefe, 0x0701} {
		if got := VerifyServerKeyExchange(rsaA.Public(), 0x0303, scheme, client, server, params, []byte{1}); got != session.KeyProofUnsupported {
			t.Errorf("scheme %04x: %d", scheme, got)
		}
	}
	if got := VerifyServerKeyExchange(rsaA.Public(), 0x0304, 0x0401, client, server, params, []byte{1}); got != session.KeyProofNone {
		t.Errorf("TLS 1.3: %d", got)
	}
	content := append(bytes.Repeat([]byte{' '}, 64), "TLS 1.3, server CertificateVerify\x00transcript hash"...)
	h := crypto.SHA256.New()
	h.Write(content)
	sig := sign(rsaA, h.Sum(nil), pss(crypto.SHA256))
	if got := VerifyCertificateVerify(rsaA.Public(), 0x0804, content, sig); got != session.KeyProofValid {
		t.Errorf("CertificateVerify: %d", got)
	}
	if got := VerifyCertificateVerify(rsaB.Public(), 0x0804, content, sig); got != session.KeyProofInvalid {
		t.Errorf("CertificateVerify, other key: %d", got)
	}
	if got := VerifyCertificateVerify(rsaB.Public(), 0x0804, nil, sig); got != session.KeyProofNone {
		t.Errorf("CertificateVerify of nothing: %d", got)
	}
}

func TestSmallRSAAgreesWithStandardLibrary(t *testing.T) {
	key := rsaKey(t, 1024)
	for _, h := range []crypto.Hash{crypto.MD5, crypto.SHA1, crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		message := []byte("message")
		d := h.New()
		d.Write(message)
		digest := d.Sum(nil)
		sig, err := rsa.SignPKCS1v15(nil, key, h, digest)
		if err != nil {
			t.Fatal(err)
		}
		if verifySmallPKCS1(&key.PublicKey, h, digest, sig) != valid {
			t.Errorf("%v: good signature refused", h)
		}
		for _, at := range []int{0, len(sig) / 2, len(sig) - 1} {
			bad := bytes.Clone(sig)
			bad[at] ^= 1
			if verifySmallPKCS1(&key.PublicKey, h, digest, bad) != invalid {
				t.Errorf("%v: bad signature accepted", h)
			}
		}
		if verifySmallPKCS1(&key.PublicKey, h, digest, sig[1:]) != invalid || verifySmallPKCS1(&key.PublicKey, h, digest, append([]byte{0}, sig...)) != invalid {
			t.Errorf("%v: signature of wrong length accepted", h)
		}
	}
}

func BenchmarkServerKeyExchange(b *testing.B) {
	client, server, params := make([]byte, 32), make([]byte, 32), make([]byte, 69)
	message := bytes.Join([][]byte{client, server, params}, nil)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	rsa2048, rsa4096 := rsaKey(b, 2048), rsaKey(b, 4096)
	for _, bench := range []struct {
		name   string
		scheme uint16
		key    crypto.Signer
	}{{"RSA2048", 0x0401, rsa2048}, {"RSA4096", 0x0401, rsa4096}, {"P256", 0x0403, p256}, {"P384", 0x0403, p384}, {"P521", 0x0403, p521}} {
		h := crypto.SHA256.New()
		h.Write(message)
		sig, err := bench.key.Sign(rand.Reader, h.Sum(nil), crypto.SHA256)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if VerifyServerKeyExchange(bench.key.Public(), 0x0303, bench.scheme, client, server, params, sig) != session.KeyProofValid {
					b.Fatal("not valid")
				}
			}
		})
	}
}
