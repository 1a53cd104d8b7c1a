/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * s2n, the TLS of the AWS Common Runtime, over any libcrypto. User space finds its one function that judges chains, and where its connections and
 * configurations keep what is read here, in the machine code of each file.
 */
#ifndef S2N_BPF_H
#define S2N_BPF_H

#define S2N_CLIENT 1 /* s2n_mode (s2n.h) */
#define S2N_CHAIN 4  /* certificates of a chain that are read, as many as Amazon shows */

/* Offsets in struct s2n_connection. */
const volatile __u32 s2n_client_random;
const volatile __u32 s2n_mode;
const volatile __u32 s2n_config;
/* Offsets in struct s2n_config: the byte that has s2n_off_bit set if nothing is verified, and the program's own judge; 0 if it can have none. */
const volatile __u32 s2n_off;
const volatile __u32 s2n_off_bit;
const volatile __u32 s2n_callback;

/* Whether this connection verifies. s2n does not bear that a configuration changes once it is a connection's, so it is as it was. */
static __always_inline void s2n_verifies(__u64 connection, struct note *o)
{
	__u64 config = 0, callback = 0;
	__u8 off = 0;

	if (read(&config, sizeof(config), connection + s2n_config) || !config || read(&off, sizeof(off), config + s2n_off))
		return;
	o->value = !(off & s2n_off_bit);
	o->flags |= LIBRARY_VALUE;
	if (s2n_callback && (read(&callback, sizeof(callback), config + s2n_callback) || callback))
		o->flags |= LIBRARY_CALLBACK;
}

/*
 * s2n_x509_validator_validate_cert_chain(validator, struct s2n_connection *, uint8_t *list, uint32_t length, …): both ends come here with what is in
 * the peer's Certificate message, whether they verify or not. Before the list there is what the message has before it (RFC 8446, Section 4.4.2; RFC 5246,
 * Section 7.4.2): if not, this is another function.
 */
SEC("uprobe/s2n_certificates")
int dynwatch_s2n_certificates(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_CERTIFICATE, .flags = LIBRARY_FIRST, .strand = (__u32)bpf_get_current_pid_tgid() };
	__u64 connection = C_ARG2(ctx), at = C_ARG3(ctx);
	__u32 left = C_ARG4(ctx), mode = 0, total = left, length, i, n, certificates = 0;
	__u8 b[8];

	if (!s2n_client_random || left > 0xffffff || read(b, sizeof(b), at - sizeof(b)) || three(b + 5) != left)
		return 0;
	/* In TLS 1.3 there is an empty context before the list. */
	length = b[0] == CERTIFICATE_MESSAGE && !b[4] ? three(b + 1) : 0;
	barrier_var(length);
	if (length != left + 4 && (b[1] != CERTIFICATE_MESSAGE || three(b + 2) != left + 3))
		return 0;
	if (is_ignored()) {
		count(LIBRARY_PASSED_OVER);
		return 0;
	}
	if (read(&mode, sizeof(mode), connection + s2n_mode) || read(o.random, sizeof(o.random), connection + s2n_client_random)) {
		count(LIBRARY_LOST_READ);
		return 0;
	}
	if (mode != S2N_CLIENT)
		return 0;
	for (i = 0; i < S2N_CHAIN; i++) {
		if (left < 3 || read(b, 3, at))
			break;
		n = three(b);
		if (!n || n > left - 3)
			break;
		o.data = at + 3;
		o.length = n;
		send_certificate(&o);
		certificates++;
		o.flags = 0;
		at += 3 + n;
		left -= 3 + n;
		if (length == total + 4) { /* TLS 1.3: what extensions a certificate has */
			if (left < 2 || read(b, 2, at))
				break;
			n = 2 + ((__u32)b[0] << 8 | b[1]);
			if (n > left)
				break;
			at += n;
			left -= n;
		}
	}
	o.kind = LIBRARY_HANDSHAKE;
	o.flags = LIBRARY_RANDOM | LIBRARY_S2N;
	o.data = 0;
	o.length = certificates + !!left; /* of a chain that was not read to its end one is missing, as of one that was not told whole */
	s2n_verifies(connection, &o);
	send(&o, 0);
	return 0;
}

/* s2n_connection_get_peer_cert_chain(struct s2n_connection *, …), the only way to the peer's certificates: who compares them with what it knows. */
SEC("uprobe/s2n_peer")
int dynwatch_s2n_peer(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_INSPECTED, .strand = (__u32)bpf_get_current_pid_tgid(), .flags = LIBRARY_RANDOM | LIBRARY_SESSION };

	if (!s2n_client_random || is_ignored())
		return 0;
	if (read(o.random, sizeof(o.random), C_ARG1(ctx) + s2n_client_random)) {
		count(LIBRARY_LOST_READ);
		return 0;
	}
	send(&o, 0);
	return 0;
}

#endif
