/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Go's crypto/tls, which every program has of its own. Its functions take arguments in registers (ABIInternal, Go 1.17) and run on goroutines, which
 * move between threads; none has a probe on its return, as Go moves stacks. Offsets are those of Go 1.21 to 1.26, the same on amd64 and
 * arm64; each use checks something that must hold, and what is told is believed only where the wire shows the same random and name.
 */
#ifndef GOLANG_BPF_H
#define GOLANG_BPF_H

#define GO_CHAIN 8        /* certificates of a chain that are read */
#define GO_CONN_CONFIG 80 /* tls.Conn.config */

/* The beginning of clientHandshakeState and clientHandshakeStateTLS13. */
struct go_handshake {
	__u64 conn;
	__u64 ctx[2];
	__u64 server_hello;
	__u64 client_hello;
};

struct go_slice {
	__u64 data;
	__u64 len;
	__u64 cap;
};

/* The beginning of clientHelloMsg. */
struct go_hello {
	struct go_slice original;
	__u64 version;
	struct go_slice random;
};

/* tls.Config, as far as it is read. */
struct go_config {
	__u64 rand[2];
	__u64 time;
	struct go_slice certificates;
	__u64 name_to_certificate;
	__u64 get_certificate;
	__u64 get_client_certificate;
	__u64 get_config_for_client;
	__u64 verify_peer_certificate;
	__u64 verify_connection;
	__u64 root_cas;
	struct go_slice next_protos;
	__u64 server_name;
	__u64 server_name_len;
	__u64 client_auth;
	__u64 client_cas;
	__u8 insecure_skip_verify;
};
_Static_assert(offsetof(struct go_config, server_name) == 128, "Config.ServerName");
_Static_assert(offsetof(struct go_config, insecure_skip_verify) == 160, "Config.InsecureSkipVerify");

/*
 * (*clientHandshakeStateTLS13).readServerCertificate and (*clientHandshakeState).doFullHandshake: both have the ClientHello at hand, and both call
 * verifyServerCertificate on the same goroutine.
 */
SEC("uprobe/go_handshake")
int dynwatch_go_handshake(struct regs *ctx)
{
	struct note o = { .flags = LIBRARY_RANDOM };
	struct go_handshake hs;
	struct go_hello hello;

	if (is_ignored() || read(&hs, sizeof(hs), GO_ARG1(ctx)) || read(&hello, sizeof(hello), hs.client_hello))
		return 0;
	if (hello.random.len != sizeof(o.random) || read(o.random, sizeof(o.random), hello.random.data))
		return 0;
	note_handshake(GO_ROUTINE(ctx), hs.conn, &o);
	return 0;
}

/* Reads how a connection is set to verify. Anything that cannot be leaves it open. */
static __always_inline void read_config(__u64 conn, struct note *o)
{
	struct go_config c;
	__u64 config;

	if (read(&config, sizeof(config), conn + GO_CONN_CONFIG) || read(&c, sizeof(c), config))
		return;
	if (c.insecure_skip_verify > 1 || c.certificates.len > c.certificates.cap || c.next_protos.len > c.next_protos.cap)
		return;
	if (!c.server_name_len || c.server_name_len >= MAX_HOST)
		return;
	o->data = c.server_name;
	o->length = c.server_name_len;
	o->value = c.insecure_skip_verify;
	o->flags |= LIBRARY_VALUE;
	if (c.verify_peer_certificate || c.verify_connection)
		o->flags |= LIBRARY_CALLBACK;
}

/* (*Conn).verifyServerCertificate(certificates [][]byte): the chain as it was sent, and the connection. */
SEC("uprobe/go_certificates")
int dynwatch_go_certificates(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_CERTIFICATE, .flags = LIBRARY_FIRST, .strand = GO_ROUTINE(ctx) };
	__u64 conn = GO_ARG1(ctx), list = GO_ARG2(ctx), n = GO_ARG3(ctx);
	struct handshake *h = handshake_of(o.strand);
	__u32 i;

	if (!h || h->object != conn || !n || n > GO_CHAIN)
		return 0;
	for (i = 0; i < GO_CHAIN; i++) {
		struct go_slice der;

		if (i >= n || read(&der, sizeof(der), list + i * sizeof(der)))
			break;
		o.data = der.data;
		o.length = der.len < 0xffffff ? der.len : 0xffffff;
		send_certificate(&o);
		o.flags = 0;
	}
	o.kind = LIBRARY_HANDSHAKE;
	o.flags = LIBRARY_RANDOM | LIBRARY_GO;
	o.data = 0;
	o.length = 0;
	__builtin_memcpy(o.random, h->random, sizeof(o.random));
	read_config(conn, &o);
	send(&o, MAX_HOST);
	return 0;
}

#endif
