//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The packets of followed connections: handshake bytes in both directions within a budget, and how connections begin and end. */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "maps.bpf.h"
#include "look.bpf.h"

#define MAX_PIECE 4096   /* payload bytes in one event; a power of two */
#define MAX_PIECES 16    /* full ones of one packet: no budget is larger */
#define TAIL_BUDGET 2048 /* per direction once application data was seen: enough for alerts right after the handshake */
#define DOUBT_CLIENT_BUDGET 8192
#define DOUBT_SERVER_BUDGET 16384
#define CLEARTEXT_SERVER_BUDGET 4096

/*
 * Payload bytes that may have passed before the packet that is looked at. SOCKS negotiates in fewer: the client's greeting, and a name and a
 * password of up to 255 bytes each (RFC 1929); the server says next to nothing. Others have been answered by then, or were let go.
 */
#define FEW_SENT 576
#define FEW_RECEIVED 64

/* What the headers of a packet take at most, leaving IPv6 extension headers aside. */
#define V4_HEADERS (20 + 60)
#define V6_HEADERS (40 + 60)

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10
#define LAST 0x80 /* in piece_flags, in place of CWR, which nobody asks for */

/* Header structs of our own: those of vmlinux.h carry relocations that would need the kernel's BTF. */
struct ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 saddr;
	__be32 daddr;
};

struct ipv6 {
	__be32 version_class_flow;
	__be16 length;
	__u8 next_header;
	__u8 hop_limit;
	__be32 saddr[4];
	__be32 daddr[4];
};

struct tcp {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 offset;
	__u8 flags;
	__be16 window;
};

struct udp {
	__be16 sport;
	__be16 dport;
	__be16 length;
	__be16 checksum;
};

struct dns {
	__be16 id;
	__be16 flags;
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additionals;
};

struct question {
	struct udp udp;
	struct dns dns;
};

/*
 * What the hooks read of a packet. Addresses are in whole words: of single zeros in them, which IPv4 has, the verifier would take note, and walk all
 * that follows once for each family.
 */
struct packet {
	__u64 saddr[2];
	__u64 daddr[2];
	__u32 seq;
	__u32 ack;
	__u32 payload; /* offset of the payload */
	__u32 length;  /* of the payload; of a piece, as in struct event */
	/* The piece in hand: */
	__u32 skip; /* bytes of the payload before it */
	__u32 n;    /* bytes to copy */
	__u32 number;
	__be16 sport;
	__be16 dport;
	__u8 flags;
	__u8 piece_flags;
	__u8 final; /* the last piece ends what is copied of this direction */
	__u8 direction;
};

/*
 * What user space decided. By connection, as it may come when the socket has the next one already. Least recently used ones go first: a
 * decision is needed for milliseconds.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_VERDICTS);
	__type(key, struct connection);
	__type(value, enum verdict);
} verdicts SEC(".maps");

#define MAX_QUESTIONS 4096
#define ANSWER_NS 30000000000ULL /* how long an answer may take: as long as connection tracking waits for one */

/*
 * When which DNS question was sent by a socket without a peer: by the socket's cookie and, in the low 16 bits, the question's ID. Least recently
 * used ones go first: all but a few are answered within milliseconds.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_QUESTIONS);
	__type(key, __u64);
	__type(value, __u64);
} questions SEC(".maps");

/*
 * The offset of the transport header of an IPv6 packet that has extension headers, or -1. A global function, see search(): each of its ways out would
 * otherwise have the verifier walk through all that follows.
 */
__noinline int after_extensions(struct __sk_buff *skb, __u32 want)
{
	__u32 off = sizeof(struct ipv6), i;
	__u8 next;

	if (bpf_skb_load_bytes(skb, offsetof(struct ipv6, next_header), &next, sizeof(next)) < 0)
		return -1;
	for (i = 0; i < 6; i++) {
		__u8 ext[2];

		if (next != 0 && next != 43 && next != 60) /* hop-by-hop, routing and destination options */
			return -1;
		if (bpf_skb_load_bytes(skb, off, ext, sizeof(ext)) < 0)
			return -1;
		next = ext[0];
		off += (ext[1] + 1) * 8;
		if (next == want)
			return off;
	}
	return -1;
}

/* The second half of ::ffff:a.b.c.d, as little-endian machines hold it. */
static __always_inline __u64 mapped(__be32 addr)
{
	return (__u64)addr << 32 | bpf_htonl(0xffff);
}

/*
 * Reads the IP header. Returns the offset of the transport header, or -1. The packet begins at its IP header in both hooks, and its headers are
 * in the linear part of the buffer: the kernel has put them there, or has read them itself before the hook. So they are read where they are,
 * without a call.
 */
static __always_inline int read_ip(struct __sk_buff *skb, struct packet *p, __u8 want)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(0x0800)) {
		struct ipv4 *ip = data;

		if ((void *)(ip + 1) > end || ip->protocol != want || ip->fragment & bpf_htons(0x1fff))
			return -1;
		p->saddr[0] = 0;
		p->saddr[1] = mapped(ip->saddr);
		p->daddr[0] = 0;
		p->daddr[1] = mapped(ip->daddr);
		return (ip->version_ihl & 0xf) * 4;
	} else {
		struct ipv6 *ip = data;

		if ((void *)(ip + 1) > end)
			return -1;
		__builtin_memcpy(p->saddr, ip->saddr, 16);
		__builtin_memcpy(p->daddr, ip->daddr, 16);
		return ip->next_header == want ? (int)sizeof(*ip) : after_extensions(skb, want);
	}
}

/* The transport header of size bytes at off, NULL if the packet does not have it. */
static __always_inline void *header(struct __sk_buff *skb, int off, const __u32 size)
{
	void *at = (void *)(long)skb->data + (off & 0x3fff); /* six extension headers end before that: the verifier wants to know */

	return at + size <= (void *)(long)skb->data_end ? at : NULL;
}

static __always_inline int read_tcp(struct __sk_buff *skb, struct packet *p)
{
	int off = read_ip(skb, p, IPPROTO_TCP);
	struct tcp *tcp;
	__u32 len = skb->len;

	if (off < 0)
		return -1;
	tcp = header(skb, off, sizeof(*tcp));
	if (!tcp)
		return -1;
	p->sport = tcp->sport;
	p->dport = tcp->dport;
	p->seq = bpf_ntohl(tcp->seq);
	p->ack = bpf_ntohl(tcp->ack);
	p->flags = tcp->flags;
	p->payload = off + (tcp->offset >> 4) * 4;
	if (p->payload > len)
		return -1;
	p->length = len - p->payload;
	return 0;
}

/*
 * One event, in a record with room for max payload bytes, which is 0 or a power of two and at least p->n. c is NULL for an answer to a
 * datagram socket that was not connected.
 */
static __always_inline void send(struct __sk_buff *skb, struct conn *c, const struct packet *p, const __u32 max)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e) + max, 0);
	__u32 n = p->n;

	if (!e) {
		count(LOST_RING_FULL, 1);
		count(LOST_RING_BYTES, n);
		return;
	}
	if (c) {
		e->opener = c->opener;
	} else {
		__builtin_memset(&e->opener, 0, sizeof(e->opener));
		e->opener.cookie = bpf_get_socket_cookie(skb);
		e->opener.proto = IPPROTO_UDP;
		e->opener.reason = BY_DNS;
	}
	e->ts_ns = bpf_ktime_get_ns();
	__builtin_memcpy(e->saddr, p->saddr, 16);
	__builtin_memcpy(e->daddr, p->daddr, 16);
	e->seq = p->seq + p->skip;
	if (p->skip && p->flags & SYN)
		e->seq++; /* Fast Open: the SYN before the data has taken a number */
	e->ack = p->ack;
	e->length = p->length;
	e->captured = n;
	e->number = p->number;
	e->sport = p->sport;
	e->dport = p->dport;
	e->tcp_flags = p->piece_flags & ~LAST;
	e->direction = p->direction;
	e->final = p->final && p->piece_flags & LAST;
	if (max) {
		barrier_var(n); /* else clang drops the mask that the verifier needs */
		n = ((n - 1) & (max - 1)) + 1;
		if (bpf_skb_load_bytes(skb, p->payload + p->skip, e + 1, n) < 0) {
			count(LOST_COPY, 1);
			e->captured = 0;
		}
	}
	/* No flags: a reader that has caught up is woken, one that has not is not. Readers rest between batches, so wake-ups are few. */
	bpf_ringbuf_submit(e, 0);
}

/* A piece of MAX_PIECE. Not inlined, nor is the next: the verifier walks each once per call, and there are many ways to a call. */
static __noinline int send_full(struct __sk_buff *skb, struct conn *c, const struct packet *p)
{
	send(skb, c, p, MAX_PIECE);
	return 0;
}

/* The last piece of a packet: picks the size of the record, which the verifier wants constant. */
static __noinline int send_last(struct __sk_buff *skb, struct conn *c, const struct packet *p)
{
	if (p->n == 0)
		send(skb, c, p, 0);
	else if (p->n <= 128)
		send(skb, c, p, 128);
	else if (p->n <= 512)
		send(skb, c, p, 512);
	else if (p->n <= 1024)
		send(skb, c, p, 1024);
	else if (p->n <= 2048)
		send(skb, c, p, 2048);
	else
		send(skb, c, p, MAX_PIECE);
	return 0;
}

/* Sends budget bytes of the packet's payload in pieces, and its flags: SYN with the first, FIN and RST with the last. */
static __always_inline void send_packet(struct __sk_buff *skb, struct conn *c, struct packet *p, __u32 budget)
{
	__u32 length = p->length, i;

	p->skip = 0;
	p->n = MAX_PIECE;
	p->length = MAX_PIECE;
	p->piece_flags = p->flags & ~(FIN | RST | LAST);
	for (i = 0; i < MAX_PIECES; i++) {
		if (budget <= MAX_PIECE)
			break;
		p->number = c->number[p->direction & 1]++;
		send_full(skb, c, p);
		p->piece_flags &= ~SYN;
		p->skip += MAX_PIECE;
		budget -= MAX_PIECE;
	}
	p->n = budget;
	p->length = length - p->skip;
	p->piece_flags |= (p->flags & (FIN | RST)) | LAST;
	p->number = c->number[p->direction & 1]++;
	send_last(skb, c, p);
}

/* Sets the budgets by what the client's bytes show. first: nothing came before them. */
static __always_inline void adjust_budget(struct __sk_buff *skb, struct conn *c, const struct packet *p, int first)
{
	__u8 b[4];

	if (c->tail || bpf_skb_load_bytes(skb, p->payload, b, sizeof(b)) < 0)
		return;
	if (b[0] == 0x17 && b[1] == 3 && c->payload & (1 << FROM_SERVER)) {
		/* Application data after the server's answer: its first flight is through. (Before it, they are early data.) */
		c->tail = 1;
		if (c->left[FROM_CLIENT] > TAIL_BUDGET)
			c->left[FROM_CLIENT] = TAIL_BUDGET;
		if (c->left[FROM_SERVER] > TAIL_BUDGET)
			c->left[FROM_SERVER] = TAIL_BUDGET;
	} else if (first && b[0] >= 'A' && b[0] <= 'Z' && !(b[0] == 'C' && b[3] == 'N') && !(b[0] == 'P' && b[1] == 'R')) {
		/* A cleartext request, but for CONNECT, PRI and PROXY: of the answer the header is enough. */
		c->tail = 1;
		if (c->left[FROM_SERVER] > CLEARTEXT_SERVER_BUDGET)
			c->left[FROM_SERVER] = CLEARTEXT_SERVER_BUDGET;
	}
}

/* A packet with payload of a connection that is copied: returns how much of it to copy. */
static __always_inline __u32 spend(struct __sk_buff *skb, struct conn *c, struct packet *p)
{
	__u8 dir = p->direction & 1;
	__u32 n = p->length, left;

	if (dir == FROM_CLIENT && c->left[dir])
		adjust_budget(skb, c, p, !(c->payload & (1 << FROM_CLIENT)));
	c->payload |= 1 << dir;
	/*
	 * Resolvers keep a connection open for many questions (RFC 7766, Section 6.2.1): each is to have room for its answer. Only what the
	 * other side says makes room, so that one which never stops talking is not copied for ever. TLS or HTTP at this port has its tail.
	 */
	if (c->opener.reason == BY_DNS && !c->tail) {
		if (dir == FROM_CLIENT)
			c->left[FROM_SERVER] = SERVER_BUDGET;
		else
			c->left[FROM_CLIENT] = CLIENT_BUDGET;
	}
	left = c->left[dir];
	if (n > left) {
		if (!c->tail) {
			if (!c->cut)
				count(LOST_BUDGET, 1);
			c->cut = 1;
			count(LOST_BUDGET_BYTES, n - left);
		}
		n = left;
	}
	if (n > MAX_PIECES * MAX_PIECE) /* a packet beyond 64 KiB (BIG TCP) */
		n = MAX_PIECES * MAX_PIECE;
	c->left[dir] = left - n;
	p->final = c->tail && n == left;
	return n;
}

/* Does what user space decided of a doubtful connection. Returns 0 if it is let go. */
static __always_inline int obey(struct conn *c)
{
	struct connection key = { c->opener.cookie, c->opener.connect_ns };
	enum verdict *v = bpf_map_lookup_elem(&verdicts, &key);

	if (!v)
		return 1;
	if (*v == VERDICT_DROP)
		return 0;
	c->opener.reason = BY_NAME;
	if (c->tail) /* what matters has passed, and one direction may have ended with an event that is final */
		return 1;
	c->left[FROM_CLIENT] += CLIENT_BUDGET - DOUBT_CLIENT_BUDGET;
	c->left[FROM_SERVER] += SERVER_BUDGET - DOUBT_SERVER_BUDGET;
	return 1;
}

/*
 * A TCP packet of a followed socket. Returns 0 if the socket is let go. Not inlined, nor is dns_answer: the hooks themselves then have no stack
 * frame to set up for the packets that nobody follows.
 */
static __noinline int follow(struct __sk_buff *skb, struct conn *c, __u8 dir)
{
	struct packet p = { .direction = dir };
	__u32 budget = 0;

	if (read_tcp(skb, &p) < 0) {
		count(LOST_UNREADABLE, 1);
		return 1;
	}
	if (p.flags & SYN) {
		__u64 now = bpf_ktime_get_ns();

		if (dir == FROM_CLIENT) {
			c->opener.client_isn = p.seq;
			c->opener.syn_ns = now;
			c->opener.flags |= SAW_SYN;
		} else {
			c->opener.server_isn = p.seq;
			c->opener.synack_ns = now;
			c->opener.flags |= SAW_SYNACK;
		}
	}
	if (p.length) {
		if (c->opener.reason == BY_DOUBT && (c->left[FROM_CLIENT] || c->left[FROM_SERVER]) && !obey(c))
			return 0;
		budget = spend(skb, c, &p);
	}
	/* The server's SYN has no event of its own: every later one tells of it. */
	if (!budget && !(p.flags & (FIN | RST)) && (!(p.flags & SYN) || dir == FROM_SERVER))
		return 1;
	send_packet(skb, c, &p, budget);
	return 1;
}

/* Lets go of the opener of a connection that was looked at. */
static __always_inline void forget(struct waiting *w, __u64 cookie)
{
	if (w->opener.cookie == cookie)
		w->opener.cookie = 0;
	else
		bpf_map_delete_elem(&displaced, &cookie);
}

/*
 * A packet that a socket without storage sends while next to nothing has passed over it: if its connection goes to an address that nobody
 * named, this is where its first bytes are looked at. Packets no longer than headers can be are passed over unread, which keeps the opening ones cheap and
 * a SOCKS greeting out of the way; a first message of so few bytes is no request to DynamoDB. The socket gets its storage here if
 * the connection is followed from this packet on.
 */
static __noinline int look(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct packet p = {};
	struct waiting *w;
	struct opener *o;
	struct conn *c;
	__u64 cookie, check;
	int what, found;

	if (skb->len <= (skb->protocol == bpf_htons(0x0800) ? V4_HEADERS : V6_HEADERS))
		return 0;
	cookie = bpf_get_socket_cookie(skb);
	w = place_of(cookie);
	if (!w)
		return 0;
	found = w->opener.cookie == cookie;
	if (!found && !w->displaced)
		return 0;
	o = found ? &w->opener : bpf_map_lookup_elem(&displaced, &cookie);
	if (!o)
		return 0;
	count(COUNT_LOOKED, 1);
	if (read_tcp(skb, &p) < 0) {
		count(LOST_UNREADABLE, 1);
		what = LOOK_NO;
	} else {
		what = look_at(skb, p.payload, p.length);
	}
	if (what == LOOK_LATER)
		return 0;
	if (what == LOOK_NO) {
		forget(w, cookie);
		return 0;
	}
	follow_port(sk->dst_port);
	c = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c) {
		count(LOST_STORAGE, 1);
		return 0;
	}
	c->opener = *o;
	check = w->check;
	forget(w, cookie);
	o = &c->opener;
	if (o->cookie != cookie || (found && check_of(o) != check)) { /* another took its place under our eyes */
		count(LOST_STORAGE, 1);
		bpf_sk_storage_delete(&conns, sk);
		return 0;
	}
	note_netns(o, sk);
	if (what == LOOK_YES) {
		o->reason = BY_NAME;
		c->left[FROM_CLIENT] = CLIENT_BUDGET;
		c->left[FROM_SERVER] = SERVER_BUDGET;
	} else {
		count(COUNT_DOUBT, 1);
		o->reason = BY_DOUBT;
		c->left[FROM_CLIENT] = DOUBT_CLIENT_BUDGET;
		c->left[FROM_SERVER] = DOUBT_SERVER_BUDGET;
	}
	if (!(p.flags & SYN)) {
		/* What the opening packets said, as far as this one tells: the SYN went out with connect, the answer came before now. */
		o->client_isn = p.seq - 1;
		o->server_isn = p.ack - 1;
		o->syn_ns = o->connect_ns;
		o->synack_ns = bpf_ktime_get_ns();
		o->flags |= SAW_SYN | SAW_SYNACK;
	}
	return follow(skb, c, FROM_CLIENT);
}

static __always_inline __u64 question_key(struct __sk_buff *skb, __be16 id)
{
	return bpf_get_socket_cookie(skb) << 16 | id;
}

/*
 * A packet that a socket without a peer sends: noted if it is a DNS question (RFC 1035, Section 4.1.1), to whatever port, for behind a redirect (the
 * resolver that Docker gives its containers is one) it is not 53 any more, nor is the address that of the answer.
 */
static __noinline int dns_question(struct __sk_buff *skb)
{
	struct packet p = {};
	struct question *q;
	__u64 key, now;
	int off = read_ip(skb, &p, IPPROTO_UDP);

	if (off < 0)
		return 0;
	q = header(skb, off, sizeof(*q));
	/* Of the flags a question may have: recursion desired, authentic data, checking disabled. */
	if (!q || q->dns.flags & ~bpf_htons(0x0130) || q->dns.questions != bpf_htons(1) || q->dns.answers || q->dns.authorities)
		return 0;
	key = question_key(skb, q->dns.id);
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&questions, &key, &now, BPF_ANY);
	return 0;
}

/* Whether a socket without a peer has asked what the message at off answers. */
static __always_inline int asked(struct __sk_buff *skb, __u32 off)
{
	__u64 key, *then;
	__be16 id;

	if (bpf_skb_load_bytes(skb, off, &id, sizeof(id)) < 0)
		return 0;
	key = question_key(skb, id);
	then = bpf_map_lookup_elem(&questions, &key);
	return then && bpf_ktime_get_ns() - *then < ANSWER_NS;
}

/*
 * A datagram that a socket receives: forwarded if it comes from port 53, and from the socket's peer or in answer to a question of the socket's. Else
 * whoever reaches an open port could have it taken for a resolver's answer. What comes from others than the peer the kernel itself drops.
 */
static __noinline int dns_answer(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct packet p = { .direction = FROM_SERVER };
	struct udp *udp;
	struct conn *c;
	int off = read_ip(skb, &p, IPPROTO_UDP);

	if (off < 0)
		return 0;
	udp = header(skb, off, sizeof(*udp));
	if (!udp || udp->sport != bpf_htons(53))
		return 0;
	p.payload = off + sizeof(*udp);
	if (p.payload >= skb->len || (sk->dst_port != udp->sport && !asked(skb, p.payload)))
		return 0;
	p.length = skb->len - p.payload;
	p.n = p.length;
	if (p.n > MAX_PIECE) {
		count(LOST_DNS_CUT, 1);
		p.n = MAX_PIECE;
	}
	p.sport = udp->sport;
	p.dport = udp->dport;
	c = bpf_sk_storage_get(&conns, sk, NULL, 0);
	if (c)
		p.number = c->number[FROM_SERVER]++;
	send_last(skb, c, &p);
	return 0;
}

/*
 * cgroup_skb (4.10; with socket storage and the ring buffer 5.10) rather than packet sockets, tc or XDP: the socket is at hand, so that a packet of
 * no interest costs one look into its socket; one attachment at the root serves every interface and namespace, loopback included; and
 * locally redirected packets still belong to the socket that asked. Both see packets before segmentation (GSO) and after
 * aggregation (GRO), with payload in pages: never linear, hence bpf_skb_load_bytes. Egress runs in the context of whoever makes TCP
 * send, ingress in that of whoever is interrupted: "current" means nothing in either. They miss packets of sockets in TIME-WAIT, and
 * resets that the kernel sends for sockets that are gone. They always let the packet pass.
 */
SEC("cgroup_skb/egress")
int dynwatch_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tcp;
	struct conn *c;
	__u8 uses;

	if (!sk)
		return 1;
	uses = uses_of(sk->dst_port);
	if (uses || sk->state == BPF_TCP_SYN_SENT) {
		if (uses & USE_DNS && sk->state == BPF_TCP_CLOSE) /* that of a datagram socket without a peer, too */
			dns_question(skb);
		/* Another program at connect may have changed the port: the SYN has the one that counts. */
		if (uses & USE_FOLLOWED || sk->state == BPF_TCP_SYN_SENT) {
			/* The helper itself turns away what is no full socket (since 5.10). */
			c = bpf_sk_storage_get(&conns, sk, NULL, 0);
			if (c) {
				if (c->opener.proto != IPPROTO_TCP)
					return 1;
				follow_port(sk->dst_port);
				if (!follow(skb, c, FROM_CLIENT))
					bpf_sk_storage_delete(&conns, sk);
				return 1;
			}
		}
	}
	if (!look_at_others || skb->len <= V4_HEADERS)
		return 1;
	tcp = bpf_tcp_sock(sk);
	if (tcp && tcp->bytes_acked <= FEW_SENT && tcp->bytes_received <= FEW_RECEIVED)
		look(skb, sk);
	return 1;
}

SEC("cgroup_skb/ingress")
int dynwatch_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct conn *c;
	__u8 uses;

	if (!sk)
		return 1;
	uses = uses_of(sk->dst_port);
	if (!uses)
		return 1;
	if (uses & USE_FOLLOWED) {
		c = bpf_sk_storage_get(&conns, sk, NULL, 0);
		if (c && c->opener.proto == IPPROTO_TCP) {
			if (!follow(skb, c, FROM_SERVER))
				bpf_sk_storage_delete(&conns, sk);
			return 1;
		}
	}
	if (!(uses & USE_DNS))
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (sk && sk->protocol == IPPROTO_UDP)
		dns_answer(skb, sk);
	return 1;
}

/* Types that Go wants are found through what names them. */
const struct event *const event_type = NULL;
const struct prefix *const prefix_type = NULL;
const struct connection *const connection_type = NULL;

char _license[] SEC("license") = "GPL";
