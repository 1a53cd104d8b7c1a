/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * BoringSSL and what is made of it, as AWS-LC. It verifies by the functions of X.509 that OpenSSL has, which have OpenSSL's probes; only its
 * connections lie otherwise in memory, and it keeps certificates as they came.
 */
#ifndef BORINGSSL_BPF_H
#define BORINGSSL_BPF_H

/* CBS, a part of BoringSSL's interface (openssl/bytestring.h). */
struct cbs {
	__u64 data, length;
};

/*
 * CRYPTO_BUFFER_new_from_CBS(const CBS *, CRYPTO_BUFFER_POOL *), of libcrypto: libssl keeps each certificate of a Certificate message with
 * it, in the thread that makes the handshake, and has them verified right after the last.
 */
SEC("uprobe/boringssl_certificate")
int dynwatch_boringssl_certificate(struct regs *ctx)
{
	struct cbs c = {};

	if (!read(&c, sizeof(c), C_ARG1(ctx)) && c.length <= MAX_CERTIFICATE * 4)
		certificate_at(c.data, c.length);
	return 0;
}

#endif
