package library

import (
	"debug/elf"
	"errors"
	"regexp"
	"slices"

	"github.com/dynwatch/dynwatch/bpf"
)

// boring reports whether a file is a half of BoringSSL or AWS-LC, which have most of OpenSSL's functions and other insides: each half has a
// function that OpenSSL has not.
func (s symbols) boring() bool {
	_, crypto := s["CRYPTO_BUFFER_new_from_CBS"]
	_, ssl := s["SSL_get0_peer_certificates"]
	return crypto || ssl
}

// wantedBoringCrypto are OpenSSL's but for what tells the certificates.
var wantedBoringCrypto = func() []wanted {
	list := slices.Clone(wantedCrypto)
	for i, w := range list {
		if w.probe == bpf.OpenSSLCertificate {
			list[i] = wanted{"CRYPTO_BUFFER_new_from_CBS", bpf.BoringSSLCertificate, true}
		}
	}
	return list
}()

// boringSSL looks for BoringSSL's halves.
func (c *contents) boringSSL(file *elf.File, s symbols) error {
	c.boring = true
	c.halves(file, s, wantedBoringCrypto)
	if len(c.ssl) > 0 {
		o := &c.offsets
		mode, in := pointedField(machine, s.code(file, "SSL_get_verify_mode"))
		callback, also := pointedField(machine, s.code(file, "SSL_get_verify_callback"))
		if mode != 0 && callback != 0 && in == also {
			o.VerifyMode, o.VerifyCallback, o.Config = mode, callback, in
		}
		o.ClientRandom, o.ClientRandomIn = randomField(machine, s.code(file, "SSL_get_client_random"))
		if o.ClientRandom == 0 {
			return errors.New("where BoringSSL keeps the ClientHello's random is not plain from SSL_get_client_random")
		}
		if o.Config == 0 {
			return errors.New("where BoringSSL keeps the mode of verification is not plain from SSL_get_verify_mode and SSL_get_verify_callback")
		}
		o.Server = field(machine, s.code(file, "SSL_is_server"))
		o.ServerName = returnedField(machine, s.code(file, "SSL_get_servername"))
	}
	if len(c.crypto)+len(c.ssl) > 0 {
		c.name = constant(file, awsLCPattern, "BoringSSL")
	}
	return nil
}

// awsLCPattern is AWS-LC's name, and mostly its version, as it stands among its constants.
var awsLCPattern = regexp.MustCompile(`AWS-LC( FIPS)? [0-9]+\.[0-9]+\.[0-9]+`)

// pointedField is the one offset that a getter reads in what its object points to at in. Both are 0 if it is not plain which.
func pointedField(machine elf.Machine, code []byte) (offset, in uint32) {
	list := accesses(machine, code)
	if len(list) != 1 || list[0].address || !list[0].wide || list[0].offset <= 0 || list[0].offset >= maxField {
		return 0, 0
	}
	var found int64
	for _, a := range accessesThrough(machine, code[list[0].after:], list[0].to) {
		if a.address || found != 0 && found != a.offset {
			return 0, 0
		}
		found = a.offset
	}
	if found = int64(plausible(found)); found == 0 {
		return 0, 0
	}
	return uint32(found), uint32(list[0].offset)
}
