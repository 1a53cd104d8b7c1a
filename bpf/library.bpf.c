//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What TLS libraries see: the peer's certificates, which TLS 1.3 hides from the wire, and how the client judges them. Nothing else is
 * read: no keys, no data.
 *
 * Programs of type kprobe, on user space's functions (uprobes). They run in the task that makes the handshake, which waits for them. Each
 * serves all processes that map the file it is attached to. Functions that carry data (SSL_read and the like) have no probe.
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "library.h"
#include "regs.bpf.h"

#define MAX_STRANDS 8192
#define MAX_IGNORED 16384
#define CERTIFICATE_MESSAGE 11 /* HandshakeType */

/* Offsets in struct ssl_st, which user space reads from the machine code of the library's own getters; 0 if it could not. */
const volatile __u32 ssl_verify_mode;
const volatile __u32 ssl_verify_callback;
const volatile __u32 ssl_verify_result;
const volatile __u32 ssl_server;
const volatile __u32 ssl_client_random;
const volatile __u32 ssl_server_name; /* of a pointer to the name that the program told the library */
/* BoringSSL: the offset of a pointer to what ssl_verify_mode and ssl_verify_callback lie in; the mode is a byte, and ssl_server the lowest bit of one. */
const volatile __u32 ssl_config;
const volatile __u32 ssl_client_random_in; /* the offset of a pointer to what ssl_client_random lies in; 0: it lies in the object itself */

/* A handshake that a thread or goroutine is in, or the last one that it made. */
struct handshake {
	__u64 object;
	__u8 random[32];
	__u16 flags;
	__u8 verified;  /* the library is done with its judgement */
	__u8 inspected; /* LIBRARY_INSPECTED was sent */
	__u8 pad[4];
};

struct strand {
	__u64 id;
	__u32 tgid;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_STRANDS);
	__type(key, struct strand);
	__type(value, struct handshake);
} strands SEC(".maps");

/* Processes that user space has found to make handshakes with others than DynamoDB only. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_IGNORED);
	__type(key, __u32);
	__type(value, __u8);
} ignored SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} library_events SEC(".maps");

/* A ring of their own for started programs: who attaches probes waits for it, and nobody waits for the other one. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} library_execs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LIBRARY_MAX_COUNTERS);
	__type(key, enum library_counter);
	__type(value, __u64);
} library_counters SEC(".maps");

static __always_inline void count(enum library_counter which)
{
	__u64 *v = bpf_map_lookup_elem(&library_counters, &which);

	if (v)
		*v += 1;
}

static __always_inline int read(void *to, __u32 n, __u64 from)
{
	return bpf_probe_read_user(to, n, (const void *)from);
}

static __always_inline int is_ignored(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&ignored, &tgid) != NULL;
}

/* What is common to all events. */
struct note {
	__u64 strand;
	__s64 value;
	__u64 code;
	__u64 data;        /* user address */
	const char *known; /* or the data itself, MAX_HOST bytes with length among them; NULL: it is not here */
	__u32 length;
	__u8 random[32];
	__u16 flags;
	__u8 kind;
	__u8 text; /* data, if there is any, ends with a zero byte, and length is not known */
};

/* Sends an event with room for max bytes of data, which is 0 or a power of two and at least the note's length. */
static __always_inline void send(const struct note *o, const __u32 max)
{
	struct library_event *e = bpf_ringbuf_reserve(&library_events, sizeof(*e) + max, 0);
	__u64 id = bpf_get_current_pid_tgid();
	__u32 n = o->length;
	long copied;

	if (!e) {
		count(LIBRARY_LOST_RING);
		return;
	}
	e->ts_ns = bpf_ktime_get_ns();
	e->strand = o->strand;
	e->value = o->value;
	e->code = o->code;
	e->tgid = id >> 32;
	e->tid = id;
	e->length = o->length;
	e->captured = 0;
	__builtin_memcpy(e->random, o->random, sizeof(e->random));
	e->kind = o->kind;
	e->flags = o->flags;
	__builtin_memset(e->pad, 0, sizeof(e->pad));
	if (max && o->text && o->data) {
		copied = bpf_probe_read_user_str(e + 1, max, (const void *)o->data);
		if (copied > 0)
			e->length = e->captured = copied - 1;
		else
			count(LIBRARY_LOST_READ);
	} else if (max == MAX_HOST && o->known) {
		__builtin_memcpy(e + 1, o->known, MAX_HOST);
		e->captured = n;
	} else if (max && n) {
		barrier_var(n); /* else clang drops the mask that the verifier needs */
		n = ((n - 1) & (max - 1)) + 1;
		if (read(e + 1, n, o->data))
			count(LIBRARY_LOST_READ);
		else
			e->captured = n;
	}
	/* The reader looks by itself, with every packet that it reads: waking it would cost more than all the rest. */
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* A certificate: picks the size of the record, which the verifier wants constant. */
static __noinline int send_certificate(const struct note *o)
{
	if (!o)
		return 0;
	if (o->length <= 1024)
		send(o, 1024);
	else if (o->length <= 2048)
		send(o, 2048);
	else if (o->length <= 4096)
		send(o, 4096);
	else if (o->length <= MAX_CERTIFICATE)
		send(o, MAX_CERTIFICATE);
	else
		count(LIBRARY_LOST_LARGE);
	return 0;
}

static __always_inline __u32 three(const __u8 *b)
{
	return (__u32)b[0] << 16 | (__u32)b[1] << 8 | b[2];
}

/*
 * Reports length bytes at p if they are a certificate inside a Certificate message: there, and nowhere else that certificates are read
 * from (PEM, PKCS #12), its length stands in three bytes right before it (RFC 8446, Section 4.4.2; RFC 5246, Section 7.4.2). So the CA
 * bundle that a program reads costs little more than the probe.
 */
static __always_inline void certificate_at(__u64 p, __u64 length)
{
	struct note o = {};
	__u8 b[11];
	__u32 list;

	if (length < 64 || length > 0xffffff || read(b, sizeof(b), p - sizeof(b)))
		return;
	if (three(b + 8) != length)
		return;
	if (is_ignored())
		return;
	o.strand = (__u32)bpf_get_current_pid_tgid();
	o.kind = LIBRARY_CERTIFICATE;
	o.data = p;
	o.length = length;
	/* The first of a message: before it the list's length, in TLS 1.3 an empty context, and the message's length and type. */
	list = three(b + 5);
	if ((b[1] == CERTIFICATE_MESSAGE && three(b + 2) == list + 3) || (b[0] == CERTIFICATE_MESSAGE && !b[4] && three(b + 1) == list + 4))
		o.flags = LIBRARY_FIRST;
	send_certificate(&o);
}

/*
 * d2i_X509(X509 **, const unsigned char **in, long len), of libcrypto: all versions of libssl read each certificate of a Certificate
 * message with it, in the thread that makes the handshake.
 */
SEC("uprobe/openssl_certificate")
int dynwatch_openssl_certificate(struct regs *ctx)
{
	__u64 p = 0;

	if (C_ARG3(ctx) <= MAX_CERTIFICATE * 4 && !read(&p, sizeof(p), C_ARG2(ctx)))
		certificate_at(p, C_ARG3(ctx));
	return 0;
}

/* Reads the random of the ClientHello, and which end this is. Returns 0 if the object is none that offsets are known of. */
static __always_inline int read_object(__u64 object, struct note *o)
{
	__u64 at = object;
	__u32 server = 0;

	if (!ssl_client_random)
		return 0;
	if (ssl_client_random_in && read(&at, sizeof(at), object + ssl_client_random_in))
		return 0;
	if (read(o->random, sizeof(o->random), at + ssl_client_random))
		return 0;
	o->flags |= LIBRARY_RANDOM;
	if (ssl_server && !read(&server, sizeof(server), object + ssl_server) && (ssl_config ? server & 1 : server))
		o->flags |= LIBRARY_SERVER;
	return 1;
}

static __always_inline void note_handshake(__u64 strand, __u64 object, const struct note *o)
{
	struct strand key = { .id = strand, .tgid = bpf_get_current_pid_tgid() >> 32 };
	struct handshake h = { .object = object, .flags = o->flags };

	__builtin_memcpy(h.random, o->random, sizeof(h.random));
	bpf_map_update_elem(&strands, &key, &h, BPF_ANY);
}

static __always_inline struct handshake *handshake_of(__u64 strand)
{
	struct strand key = { .id = strand, .tgid = bpf_get_current_pid_tgid() >> 32 };

	return bpf_map_lookup_elem(&strands, &key);
}

/*
 * X509_STORE_CTX_set_ex_data(X509_STORE_CTX *, int index, void *data), of libcrypto: libssl gives it the connection (SSL *) once for every
 * chain, right before it has the chain verified. What else may call it has no ClientHello random that was seen on the wire.
 */
SEC("uprobe/openssl_handshake")
int dynwatch_openssl_handshake(struct regs *ctx)
{
	__u64 object = C_ARG3(ctx), config = object;
	struct note o = { .kind = LIBRARY_HANDSHAKE, .strand = (__u32)bpf_get_current_pid_tgid() };
	__u32 mode = 0;

	if (is_ignored()) {
		count(LIBRARY_PASSED_OVER);
		return 0;
	}
	if (!object || !read_object(object, &o) || o.flags & LIBRARY_SERVER)
		return 0;
	if (ssl_config && (read(&config, sizeof(config), object + ssl_config) || !config)) {
		o.flags |= LIBRARY_CALLBACK;
	} else {
		if (ssl_verify_mode && !read(&mode, ssl_config ? 1 : sizeof(mode), config + ssl_verify_mode)) {
			o.value = mode;
			o.flags |= LIBRARY_VALUE;
		}
		if (!ssl_verify_callback || read(&o.code, sizeof(o.code), config + ssl_verify_callback) || o.code)
			o.flags |= LIBRARY_CALLBACK;
	}
	if (ssl_server_name && !read(&o.data, sizeof(o.data), object + ssl_server_name))
		o.text = 1;
	note_handshake(o.strand, object, &o);
	send(&o, MAX_HOST);
	return 0;
}

/* X509_verify_cert(X509_STORE_CTX *), on its return: 1 if the chain is good, before the program's own opinion. */
SEC("uretprobe/openssl_verified")
int dynwatch_openssl_verified(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_VERIFIED, .strand = (__u32)bpf_get_current_pid_tgid(), .flags = LIBRARY_RANDOM | LIBRARY_VALUE };
	struct handshake *h = handshake_of(o.strand);

	if (!h)
		return 0;
	if (h->verified) { /* the program verifies a chain by itself, outside of a handshake */
		if (h->inspected)
			return 0;
		h->inspected = 1;
		o.kind = LIBRARY_INSPECTED;
	}
	h->verified = 1;
	__builtin_memcpy(o.random, h->random, sizeof(o.random));
	o.value = (__s32)C_RESULT(ctx);
	send(&o, 0);
	return 0;
}

/*
 * X509_check_host(X509 *, const char *name, size_t length, …), of libcrypto: called within X509_verify_cert where the name was set
 * (SSL_set1_host, X509_VERIFY_PARAM_set1_host), or by the program.
 */
SEC("uprobe/openssl_host")
int dynwatch_openssl_host(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_HOST, .strand = (__u32)bpf_get_current_pid_tgid(), .flags = LIBRARY_RANDOM };
	struct handshake *h = handshake_of(o.strand);
	__u64 n = C_ARG3(ctx);

	if (!h)
		return 0;
	__builtin_memcpy(o.random, h->random, sizeof(o.random));
	o.data = C_ARG2(ctx);
	o.length = n < MAX_HOST ? n : 0;
	o.text = !n;
	send(&o, MAX_HOST);
	return 0;
}

/*
 * SSL_get_verify_result(const SSL *), of libssl: programs that let every chain pass and decide themselves ask it before they send anything.
 */
SEC("uprobe/openssl_asked")
int dynwatch_openssl_asked(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_ASKED, .strand = (__u32)bpf_get_current_pid_tgid() };
	__u64 object = C_ARG1(ctx), result = 0;

	if (is_ignored() || !object || !read_object(object, &o) || o.flags & LIBRARY_SERVER)
		return 0;
	if (ssl_verify_result && !read(&result, sizeof(result), object + ssl_verify_result)) {
		o.value = result;
		o.flags |= LIBRARY_VALUE;
	}
	send(&o, 0);
	return 0;
}

/* The program gets at certificates of a session's. Who asks is told, for what some do with them is known. */
static __always_inline void session_inspected(struct regs *ctx, __u16 flags)
{
	struct note o = { .kind = LIBRARY_INSPECTED, .strand = (__u32)bpf_get_current_pid_tgid() };
	__u64 object = C_ARG1(ctx);

	if (C_CALLER(ctx, &o.code))
		o.code = 0;
	if (is_ignored() || !object || !read_object(object, &o) || o.flags & LIBRARY_SERVER)
		return;
	o.flags |= LIBRARY_SESSION | flags;
	send(&o, 0);
}

/*
 * SSL_get_peer_certificate(const SSL *) and its like, of libssl: who wants to compare a certificate with one that it knows (pinning) must get it first.
 */
SEC("uprobe/openssl_peer")
int dynwatch_openssl_peer(struct regs *ctx)
{
	session_inspected(ctx, 0);
	return 0;
}

/* SSL_get_peer_cert_chain(const SSL *) and its like, of libssl: most who ask mean to do something with it. */
SEC("uprobe/openssl_chain")
int dynwatch_openssl_chain(struct regs *ctx)
{
	session_inspected(ctx, LIBRARY_CHAIN);
	return 0;
}

/*
 * i2d_X509, i2d_X509_PUBKEY and their like, of libcrypto: what a program calls to compare a certificate with one that it knows (pinning).
 * Which arguments does not matter. Told once for each handshake.
 */
SEC("uprobe/openssl_inspected")
int dynwatch_openssl_inspected(struct regs *ctx)
{
	struct note o = { .kind = LIBRARY_INSPECTED, .strand = (__u32)bpf_get_current_pid_tgid(), .flags = LIBRARY_RANDOM };
	struct handshake *h = handshake_of(o.strand);

	if (!h || !h->verified || h->inspected)
		return 0;
	h->inspected = 1;
	__builtin_memcpy(o.random, h->random, sizeof(o.random));
	send(&o, 0);
	return 0;
}

/*
 * sched_process_exec (5.10: as a raw tracepoint, without BTF): a program was started, which may map libraries that have no probes yet. The
 * task is the new program's.
 */
SEC("raw_tracepoint/sched_process_exec")
int dynwatch_exec(void *ctx)
{
	__u64 *tgid = bpf_ringbuf_reserve(&library_execs, sizeof(*tgid), 0);

	if (!tgid) {
		count(LIBRARY_LOST_EXEC);
		return 0;
	}
	*tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_ringbuf_submit(tgid, 0);
	return 0;
}

#include "boringssl.bpf.h"
#include "golang.bpf.h"
#include "gnutls.bpf.h"
#include "s2n.bpf.h"

/* Types that Go wants are found through what names them. */
const struct library_event *const library_event_type = NULL;

char _license[] SEC("license") = "GPL";
