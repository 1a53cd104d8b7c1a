/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The look at the first bytes of a connection to an address that nobody named: does it speak to DynamoDB all the same?
 *
 * It is answered here, not in user space, because the server's answer may come before user space has one, and copying every connection's
 * first flights until then costs more than reading a name: a ClientHello's extensions are stepped through to the server name.
 */
#ifndef LOOK_BPF_H
#define LOOK_BPF_H

enum look {
	LOOK_NO,	/* none of ours */
	LOOK_YES,
	LOOK_DOUBT,	/* these bytes do not tell; more of them may, to somebody who keeps them */
};

#define MAX_EXTENSIONS 40	/* stepped over on the way to the server name */
#define NAME_WINDOW 128		/* bytes searched at a time; no DynamoDB name is longer */
#define HTTP_WINDOWS 10		/* times NAME_WINDOW bytes of a cleartext request are searched */

/* The operator's own names: FNV-1a (64 bits) of the name in lower case. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_NAMES);
	__type(key, __u64);
	__type(value, enum reason);
} names SEC(".maps");

const volatile __u8 has_names;

#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

#define FOUR(a, b, c, d) ((__u32)(a) << 24 | (__u32)(b) << 16 | (__u32)(c) << 8 | (__u32)(d))

/* Eight characters as the sliding window holds them, in lower case, the last in the lowest byte. */
#define EIGHT(a, b, c, d, e, f, g, h) \
	((__u64)(a) << 56 | (__u64)(b) << 48 | (__u64)(c) << 40 | (__u64)(d) << 32 | \
	 (__u64)(e) << 24 | (__u64)(f) << 16 | (__u64)(g) << 8 | (__u64)(h))

/* An empty line, as the window holds it. */
#define END_OF_HEADERS FOUR('\r' | 0x20, '\n' | 0x20, '\r' | 0x20, '\n' | 0x20)

/* 1 if x is 0, else 0, without a branch. */
static __always_inline __u32 zero(__u32 x)
{
	return ~(x | -x) >> 31;
}

/*
 * Takes the next character into the window and compares: "dynamodb" (dynamodb.REGION, X-Amz-Target: DynamoDB_…, the credential scope),
 * ".ddb." (account endpoints) and "dax-clus" (dax-clusters) stand in nothing but DynamoDB's names, targets and signatures.
 */
static __always_inline int slide(__u64 *window, __u8 c)
{
	__u64 w = *window << 8 | c;

	*window = w;
	return w == EIGHT('d', 'y', 'n', 'a', 'm', 'o', 'd', 'b') || w == EIGHT('d', 'a', 'x', '-', 'c', 'l', 'u', 's') ||
	       (w & 0xffffffffff) == EIGHT(0, 0, 0, '.', 'd', 'd', 'b', '.');
}

/* Looks at the name of n bytes at off. */
static __always_inline int look_at_name(struct __sk_buff *skb, __u32 off, __u32 n)
{
	__u8 buf[NAME_WINDOW] = {};
	__u64 w = 0, hash = FNV_OFFSET;
	__u32 i;

	if (n == 0 || n > sizeof(buf))
		return LOOK_NO;
	barrier_var(n);
	n = ((n - 1) & (sizeof(buf) - 1)) + 1;
	if (bpf_skb_load_bytes(skb, off, buf, n) < 0)
		return LOOK_DOUBT;	/* the name goes on in the next segment */
#pragma clang loop unroll(disable)
	for (i = 0; i < NAME_WINDOW; i++) {
		__u8 c = buf[i] | 0x20;	/* lower case; what it does to other characters makes none of ours */

		if (i >= n)
			break;
		if (slide(&w, c))
			return LOOK_YES;
		hash = (hash ^ c) * FNV_PRIME;
	}
	if (!has_names)
		return LOOK_NO;
	return bpf_map_lookup_elem(&names, &hash) ? LOOK_YES : LOOK_NO;
}

/*
 * Looks at a TLS ClientHello (RFC 8446, Section 4.1.2) that begins at off. What cannot be read to its server name is left to user space:
 * a hello in several records or segments with the name in a later one, and one without a name.
 */
static __always_inline int look_at_hello(struct __sk_buff *skb, __u32 off)
{
	struct { __be16 type, len; } ext;
	__u8 head[44];	/* record header 5, handshake header 4, version 2, random 32, session id length 1 */
	__be16 len;
	__u8 len8;
	__u32 i, end;

	if (bpf_skb_load_bytes(skb, off, head, sizeof(head)) < 0)
		return LOOK_DOUBT;
	if (head[1] != 3 || head[5] != 1)
		return LOOK_NO;
	off += sizeof(head) + head[43];
	if (bpf_skb_load_bytes(skb, off, &len, sizeof(len)) < 0)	/* cipher suites */
		return LOOK_DOUBT;
	off += 2 + bpf_ntohs(len);
	if (bpf_skb_load_bytes(skb, off, &len8, sizeof(len8)) < 0)	/* compression methods */
		return LOOK_DOUBT;
	off += 1 + len8;
	if (bpf_skb_load_bytes(skb, off, &len, sizeof(len)) < 0)	/* extensions */
		return LOOK_DOUBT;
	off += 2;
	end = off + bpf_ntohs(len);
	for (i = 0; i < MAX_EXTENSIONS; i++) {
		if (off >= end)
			break;
		if (bpf_skb_load_bytes(skb, off, &ext, sizeof(ext)) < 0)
			return LOOK_DOUBT;
		off += 4;
		if (ext.type == 0) {	/* server_name: list length 2, name type 1, name length 2, name (RFC 6066, Section 3) */
			if (bpf_skb_load_bytes(skb, off + 3, &len, sizeof(len)) < 0)
				return LOOK_DOUBT;
			return look_at_name(skb, off + 5, bpf_ntohs(len));
		}
		off += bpf_ntohs(ext.len);
	}
	return LOOK_DOUBT;
}

/*
 * Looks at a cleartext HTTP/1 request of len bytes at off: request line, headers, and what follows, up to a bound. A request whose
 * headers end in a later segment is left in doubt. Windows are searched whole, zero-padded: with another end for each, the
 * verifier would follow every one of them through the rest.
 */
static __always_inline int look_at_request(struct __sk_buff *skb, __u32 off, __u32 len)
{
	__u8 buf[NAME_WINDOW] = {};
	__u64 w = 0;
	__u32 i, j, ended = 0;

	for (i = 0; i < HTTP_WINDOWS; i++) {
		if (len < sizeof(buf)) {
			__u32 n = len;

			__builtin_memset(buf, 0, sizeof(buf));
			if (!n)
				break;
			barrier_var(n);
			n = ((n - 1) & (sizeof(buf) - 1)) + 1;
			if (bpf_skb_load_bytes(skb, off, buf, n) < 0)
				break;
			len = 0;
		} else {
			if (bpf_skb_load_bytes(skb, off, buf, sizeof(buf)) < 0)
				break;
			off += sizeof(buf);
			len -= sizeof(buf);
		}
#pragma clang loop unroll(disable)
		for (j = 0; j < sizeof(buf); j++) {
			if (slide(&w, buf[j] | 0x20))
				return LOOK_YES;
			ended |= zero((__u32)w ^ END_OF_HEADERS);
		}
		if (ended || !len)
			break;
	}
	return ended || len ? LOOK_NO : LOOK_DOUBT;
}

/*
 * Looks at a client segment's payload of len bytes at off. Global, so that the verifier looks at it once, for any arguments (5.6).
 */
__noinline int look_at(struct __sk_buff *skb, __u32 off, __u32 len)
{
	__be32 four;
	__u32 first;

	if (len < 4)
		return LOOK_DOUBT;
	if (bpf_skb_load_bytes(skb, off, &four, sizeof(four)) < 0)
		return LOOK_NO;
	first = bpf_ntohl(four);
	if (first >> 16 == 0x1603)
		return look_at_hello(skb, off);
	switch (first) {
	case FOUR('G', 'E', 'T', ' '):
	case FOUR('P', 'O', 'S', 'T'):
	case FOUR('P', 'U', 'T', ' '):
	case FOUR('H', 'E', 'A', 'D'):
	case FOUR('D', 'E', 'L', 'E'):
	case FOUR('O', 'P', 'T', 'I'):
	case FOUR('P', 'A', 'T', 'C'):
	case FOUR('C', 'O', 'N', 'N'):
		return look_at_request(skb, off, len);
	case FOUR(0x67, 'J', '7', 'y'):	/* DAX in cleartext */
		return LOOK_YES;
	case FOUR('P', 'R', 'I', ' '):	/* HTTP/2 in cleartext: its headers are compressed */
	case FOUR('P', 'R', 'O', 'X'):	/* a PROXY protocol header, text or binary: what matters comes after it */
	case FOUR('\r', '\n', '\r', '\n'):
		return LOOK_DOUBT;
	}
	if (first >> 24 == 5 || first >> 24 == 4)	/* SOCKS: what matters comes after its greeting */
		return LOOK_DOUBT;
	if ((first & 0x8000ff00) == 0x80000100)	/* a ClientHello in SSL 2.0's form */
		return LOOK_DOUBT;
	return LOOK_NO;
}

#endif
