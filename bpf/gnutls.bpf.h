/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * GnuTLS. All is read from the arguments of exported functions but two things: the random of the ClientHello, whose place user space reads from
 * the code of gnutls_session_get_random, and which end a session is, which stands at its very beginning and must say that it is the client's.
 */
#ifndef GNUTLS_BPF_H
#define GNUTLS_BPF_H

#define GNUTLS_CLIENT 2      /* GNUTLS_CLIENT of gnutls.h */
#define GNUTLS_NAME_DNS 1    /* gnutls_server_name_type_t */
#define GNUTLS_CHAIN 8       /* certificates of a chain that are read */
#define GNUTLS_STRANDS 2048  /* threads */
#define GNUTLS_SESSIONS 1024 /* that were told something before their handshake */
#define GNUTLS_HOOKS (~0ULL) /* in place of the address of one hook: there were several */

/* The offset of the random in a session; 0 if user space could not find it. */
const volatile __u32 gnutls_client_random;
/*
 * How far the library's code reaches before the beginning of gnutls_pcert_import_x509_raw, and from there on. The probe may lie some bytes behind
 * that, which makes no difference: nothing is called from the first and the last bytes of a library's code.
 */
const volatile __u64 gnutls_code_before;
const volatile __u64 gnutls_code_behind;

/* gnutls_datum_t */
struct gnutls_datum {
	__u64 data;
	__u32 size;
	__u32 pad;
};

/* The session whose handshake a thread makes, or made last. */
struct gnutls_strand {
	__u64 session;
	__u64 status;    /* where the judgement that is under way puts its result */
	__u64 random[4]; /* of the handshake whose chain was told */
};

struct gnutls_key {
	__u64 session;
	__u32 tgid;
	__u32 pad;
};

/* What the program told the library of a session before its handshake. */
struct gnutls_told {
	__u64 hook;    /* the program's function that is shown messages */
	__u32 length;  /* of name */
	__u8 verifies; /* it verifies by itself */
	__u8 pad[3];
	char name[MAX_HOST];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GNUTLS_STRANDS);
	__type(key, __u64); /* process and thread */
	__type(value, struct gnutls_strand);
} gnutls_strands SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GNUTLS_SESSIONS);
	__type(key, struct gnutls_key);
	__type(value, struct gnutls_told);
} gnutls_sessions SEC(".maps");

/* A new entry of gnutls_sessions, which is too large for the stack. */
static const volatile struct gnutls_told gnutls_nothing;

static __always_inline struct gnutls_key gnutls_key(__u64 session)
{
	struct gnutls_key key = { .session = session, .tgid = bpf_get_current_pid_tgid() >> 32 };

	return key;
}

static __always_inline struct gnutls_told *gnutls_told(__u64 session)
{
	struct gnutls_key key = gnutls_key(session);
	struct gnutls_told *t = bpf_map_lookup_elem(&gnutls_sessions, &key);

	if (t)
		return t;
	bpf_map_update_elem(&gnutls_sessions, &key, (const void *)&gnutls_nothing, BPF_NOEXIST);
	return bpf_map_lookup_elem(&gnutls_sessions, &key);
}

static __always_inline struct gnutls_strand *gnutls_strand(void)
{
	__u64 id = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&gnutls_strands, &id);
}

/* Notes which session the thread is at. */
static __always_inline struct gnutls_strand *gnutls_enter(__u64 session)
{
	struct gnutls_strand *s = gnutls_strand(), new = { .session = session };
	__u64 id = bpf_get_current_pid_tgid();

	if (!s) {
		bpf_map_update_elem(&gnutls_strands, &id, &new, BPF_ANY);
		return bpf_map_lookup_elem(&gnutls_strands, &id);
	}
	s->session = session;
	return s;
}

/* Reads the random of a client's session. Returns 0 if it is none. */
static __always_inline int gnutls_random(__u64 session, void *random)
{
	__u32 entity = 0;

	if (!gnutls_client_random)
		return 0;
	if (read(&entity, sizeof(entity), session) || read(random, 32, session + gnutls_client_random)) {
		count(LIBRARY_LOST_READ);
		return 0;
	}
	return entity == GNUTLS_CLIENT;
}

/* gnutls_server_name_set(session, type, const void *name, size_t length) */
SEC("uprobe/gnutls_name")
int dynwatch_gnutls_name(struct regs *ctx)
{
	__u64 n = C_ARG4(ctx);
	struct gnutls_told *t;

	if ((__u32)C_ARG2(ctx) != GNUTLS_NAME_DNS || !n || n >= MAX_HOST || is_ignored())
		return 0;
	t = gnutls_told(C_ARG1(ctx));
	if (!t)
		return 0;
	barrier_var(n);
	n = ((n - 1) & (MAX_HOST - 1)) + 1;
	t->length = read(t->name, n, C_ARG3(ctx)) ? 0 : n;
	return 0;
}

/* gnutls_session_set_verify_cert(session, const char *hostname, unsigned flags): the library verifies, and a bad chain ends the handshake. */
SEC("uprobe/gnutls_verifies")
int dynwatch_gnutls_verifies(struct regs *ctx)
{
	struct gnutls_told *t;

	if (is_ignored())
		return 0;
	t = gnutls_told(C_ARG1(ctx));
	if (t)
		t->verifies = !(__u32)C_ARG3(ctx); /* flags relax it */
	return 0;
}

/*
 * gnutls_handshake_set_hook_function(session, type, when, function): the program is shown handshake messages, and may read the certificates there.
 * Whose function it is matters, for what some do with them is known. The library has one at a time, but what an earlier one saw it saw.
 */
SEC("uprobe/gnutls_hook")
int dynwatch_gnutls_hook(struct regs *ctx)
{
	struct gnutls_told *t = gnutls_told(C_ARG1(ctx));
	__u64 hook = C_ARG4(ctx);

	if (t)
		t->hook = t->hook && t->hook != hook ? GNUTLS_HOOKS : hook;
	return 0;
}

/* gnutls_deinit(session): the next one may lie at the same place. */
SEC("uprobe/gnutls_end")
int dynwatch_gnutls_end(struct regs *ctx)
{
	struct gnutls_key key = gnutls_key(C_ARG1(ctx));

	bpf_map_delete_elem(&gnutls_sessions, &key);
	return 0;
}

/* gnutls_handshake(session): may return and be called again until the handshake is done. */
SEC("uprobe/gnutls_handshake")
int dynwatch_gnutls_handshake(struct regs *ctx)
{
	if (!is_ignored())
		gnutls_enter(C_ARG1(ctx));
	return 0;
}

/* Reports whether size bytes at data are as long as the certificate that begins there says (DER: a SEQUENCE with two bytes of length). */
static __always_inline int is_certificate(__u64 data, __u32 size)
{
	__u8 b[4];

	return size > 256 && !read(b, sizeof(b), data) && b[0] == 0x30 && b[1] == 0x82 && ((__u32)b[2] << 8 | b[3]) + 4 == size;
}

/*
 * gnutls_pcert_import_x509_raw(gnutls_pcert_st *, const gnutls_datum_t *certificate, format, flags), called by the library itself: it does so with
 * certificates of peers alone. Up to TLS 1.2 it is given each certificate where it stands in the Certificate message, in TLS 1.3 the first of
 * an array of them (GnuTLS 3.6 to 3.8). The first call tells the whole chain.
 */
SEC("uprobe/gnutls_certificates")
int dynwatch_gnutls_certificates(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_CERTIFICATE, .flags = LIBRARY_FIRST, .strand = (__u32)bpf_get_current_pid_tgid() };
	__u64 at = C_ARG2(ctx), from = C_ARG3(ctx), caller = 0;
	struct gnutls_strand *s;
	struct gnutls_told *t;
	struct gnutls_key key;
	struct gnutls_datum d;
	__u64 random[4];
	__u8 b[6];
	__u32 i, left = 0;

	if (C_CALLER(ctx, &caller) || caller - (C_IP(ctx) - gnutls_code_before) >= gnutls_code_before + gnutls_code_behind)
		return 0;
	if (is_ignored()) {
		count(LIBRARY_PASSED_OVER);
		return 0;
	}
	s = gnutls_strand();
	if (!s || from != 0 || !gnutls_random(s->session, random))
		return 0;
	if (s->random[0] == random[0] && s->random[1] == random[1] && s->random[2] == random[2] && s->random[3] == random[3])
		return 0;
	if (read(&d, sizeof(d), at) || !is_certificate(d.data, d.size))
		return 0;
	__builtin_memcpy(s->random, random, sizeof(random));
	if (!read(b, sizeof(b), d.data - sizeof(b)) && three(b + 3) == d.size && three(b) >= d.size + 3)
		left = three(b); /* in a message: the rest of its list */
	for (i = 0; i < GNUTLS_CHAIN; i++) {
		o.data = d.data;
		o.length = d.size;
		send_certificate(&o);
		o.flags = 0;
		if (left) {
			left -= d.size + 3;
			d.data += d.size;
			if (left < 3 || read(b, 3, d.data))
				break;
			d.data += 3;
			d.size = three(b);
			if (d.size + 3 > left)
				break;
		} else {
			at += sizeof(d);
			if (read(&d, sizeof(d), at))
				break;
		}
		if (!is_certificate(d.data, d.size))
			break;
	}
	o.kind = LIBRARY_HANDSHAKE;
	o.flags = LIBRARY_RANDOM | LIBRARY_VALUE | LIBRARY_GNUTLS;
	o.data = 0;
	o.length = 0;
	__builtin_memcpy(o.random, random, sizeof(o.random));
	key = gnutls_key(s->session);
	t = bpf_map_lookup_elem(&gnutls_sessions, &key);
	if (t) {
		o.value = t->verifies;
		o.code = t->hook;
		if (t->hook)
			o.flags |= LIBRARY_CALLBACK;
		o.known = t->name;
		o.length = t->length;
	}
	send(&o, MAX_HOST);
	return 0;
}

/*
 * What follows tells what the program does about a chain. None asks whether the process is ignored: of a chain that was told, all is to be told, for
 * what is missing means that nothing was done.
 *
 * gnutls_certificate_verify_peers(session, data, elements, unsigned *status): gnutls_certificate_verify_peers2 and 3 call it, and the library itself.
 */
SEC("uprobe/gnutls_verify")
int dynwatch_gnutls_verify(struct regs *ctx)
{
	struct gnutls_strand *s = gnutls_enter(C_ARG1(ctx));

	if (s)
		s->status = C_ARG4(ctx);
	return 0;
}

/* The same on its return: 0, and what is wrong with the chain in bits of the status; or less, if it could not judge. */
SEC("uretprobe/gnutls_verified")
int dynwatch_gnutls_verified(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_VERIFIED, .strand = (__u32)bpf_get_current_pid_tgid(), .flags = LIBRARY_RANDOM };
	struct gnutls_strand *s = gnutls_strand();
	__u32 status = 0;
	__u64 at;

	if (!s || !s->status) {
		count(LIBRARY_LOST_READ);
		return 0;
	}
	at = s->status;
	s->status = 0;
	if (!gnutls_random(s->session, o.random))
		return 0;
	if ((__s32)C_RESULT(ctx) >= 0 && !read(&status, sizeof(status), at)) {
		o.value = status;
		o.flags |= LIBRARY_VALUE;
	}
	send(&o, 0);
	return 0;
}

/* gnutls_x509_crt_check_hostname2(cert, const char *hostname, flags): called by the library where it was told a name, or by the program. */
SEC("uprobe/gnutls_host")
int dynwatch_gnutls_host(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_HOST, .strand = (__u32)bpf_get_current_pid_tgid(), .flags = LIBRARY_RANDOM, .text = 1 };
	struct gnutls_strand *s = gnutls_strand();

	if (!s || !gnutls_random(s->session, o.random))
		return 0;
	o.data = C_ARG2(ctx);
	send(&o, MAX_HOST);
	return 0;
}

/* gnutls_certificate_get_peers(session, …), the only way to a peer's certificates; and who asks, for what some do with them is known. */
SEC("uprobe/gnutls_peers")
int dynwatch_gnutls_peers(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_INSPECTED, .strand = (__u32)bpf_get_current_pid_tgid(), .flags = LIBRARY_RANDOM | LIBRARY_SESSION };

	if (!gnutls_random(C_ARG1(ctx), o.random))
		return 0;
	if (C_CALLER(ctx, &o.code))
		o.code = 0;
	send(&o, 0);
	return 0;
}

/*
 * gnutls_pubkey_export, gnutls_x509_crt_check_issuer and their like: called by who compares certificates with what it knows (pinning), and by the
 * library itself while it judges.
 */
SEC("uprobe/gnutls_compared")
int dynwatch_gnutls_compared(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_INSPECTED, .strand = (__u32)bpf_get_current_pid_tgid(), .flags = LIBRARY_RANDOM };
	struct gnutls_strand *s = gnutls_strand();

	if (!s || s->status || !gnutls_random(s->session, o.random))
		return 0;
	send(&o, 0);
	return 0;
}

#endif
