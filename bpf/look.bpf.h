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
	LOOK_NO, /* none of ours */
	LOOK_YES,
	LOOK_DOUBT, /* these bytes do not tell; more of them may, to somebody who keeps them */
	LOOK_LATER, /* they come before what tells: look at the next packet */
};

#define MAX_EXTENSIONS 40 /* stepped over on the way to the server name */
#define NAME_WINDOW 128   /* bytes searched at a time; next to no server name is longer */
#define HTTP_WINDOWS 10   /* times NAME_WINDOW bytes of a cleartext request are searched */

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
#define EIGHT(a, b, c, d, e, f, g, h) ((__u64)FOUR(a, b, c, d) << 32 | FOUR(e, f, g, h))

/* An empty line, as the window holds it. */
#define END_OF_HEADERS FOUR('\r' | 0x20, '\n' | 0x20, '\r' | 0x20, '\n' | 0x20)

/* The window before the first character. Like every other it holds no zero byte. */
#define BLANK EIGHT(' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ')

/* What search() returns instead of its window. */
#define FOUND 0
#define ENDED 1

/*
 * Searches n bytes at off (at most NAME_WINDOW) for what stands in nothing but DynamoDB's names, targets and signatures: "dynamodb"
 * (dynamodb.REGION, X-Amz-Target: DynamoDB_…, the credential scope), ".ddb." (account endpoints) and "dax-clus" (dax-clusters).
 * window has the last eight characters before them; so has what is returned, or it is FOUND, or ENDED after an empty line.
 *
 * Global functions (5.6) are verified once, for any arguments, and not again for every way that leads to them: inlined, these loops
 * cost the verifier seconds.
 */
__noinline __u64 search(struct __sk_buff *skb, __u32 off, __u32 n, __u64 window)
{
	__u8 buf[NAME_WINDOW] = {};
	__u32 i, ended = 0;

	if (n == 0 || n > sizeof(buf))
		return window;
	barrier_var(n); /* else clang drops the mask that the verifier needs */
	n = ((n - 1) & (sizeof(buf) - 1)) + 1;
	if (bpf_skb_load_bytes(skb, off, buf, n) < 0)
		return window;
	barrier_var(n); /* else clang drops the loop's own bound, and tests for n by !=, from which Linux before 6.4 learns nothing */
#pragma clang loop unroll(disable)
	for (i = 0; i < NAME_WINDOW; i++) {
		if (i >= n)
			break;
		/* Lower case; what this does to other characters makes none of ours. */
		window = window << 8 | buf[i] | 0x20;
		if (window == EIGHT('d', 'y', 'n', 'a', 'm', 'o', 'd', 'b') || window == EIGHT('d', 'a', 'x', '-', 'c', 'l', 'u', 's') ||
		    (window & 0xffffffffff) == EIGHT(0, 0, 0, '.', 'd', 'd', 'b', '.'))
			return FOUND;
		ended |= (__u32)window == END_OF_HEADERS;
	}
	return ended ? ENDED : window;
}

/* Looks the name at off up among the operator's: up to n bytes, or to what ends a host in HTTP. One space before it does not count. */
__noinline int is_operators(struct __sk_buff *skb, __u32 off, __u32 n)
{
	__u8 buf[NAME_WINDOW] = {};
	__u64 hash = FNV_OFFSET;
	__u32 i;

	if (n == 0)
		return 0;
	if (n > sizeof(buf))
		n = sizeof(buf);
	barrier_var(n);
	n = ((n - 1) & (sizeof(buf) - 1)) + 1;
	if (bpf_skb_load_bytes(skb, off, buf, n) < 0)
		return 0;
	barrier_var(n);
#pragma clang loop unroll(disable)
	for (i = 0; i < NAME_WINDOW; i++) {
		if (i >= n)
			break;
		if (i == 0 && buf[i] == ' ')
			continue;
		if (buf[i] <= ' ' || buf[i] == ':')
			break;
		hash = (hash ^ (buf[i] | 0x20)) * FNV_PRIME;
	}
	return bpf_map_lookup_elem(&names, &hash) != NULL;
}

/*
 * Searches n bytes at off, as search() does, for a Host field (RFC 9110, Section 7.2). Returns where its value begins, or 0. By itself, as
 * one thing more to find in search()'s loop costs the verifier more than a loop of its own.
 */
__noinline __u32 find_host(struct __sk_buff *skb, __u32 off, __u32 n, __u64 window)
{
	__u8 buf[NAME_WINDOW] = {};
	__u32 i;

	if (n == 0 || n > sizeof(buf))
		return 0;
	barrier_var(n);
	n = ((n - 1) & (sizeof(buf) - 1)) + 1;
	if (bpf_skb_load_bytes(skb, off, buf, n) < 0)
		return 0;
	barrier_var(n);
#pragma clang loop unroll(disable)
	for (i = 0; i < NAME_WINDOW; i++) {
		if (i >= n)
			break;
		window = window << 8 | buf[i] | 0x20;
		if (window << 8 == EIGHT('\r' | 0x20, '\n' | 0x20, 'h', 'o', 's', 't', ':', 0))
			return off + i + 1;
	}
	return 0;
}

/* Looks at the server name of n bytes at off. */
static __always_inline int look_at_name(struct __sk_buff *skb, __u32 off, __u32 n)
{
	if (off + n > skb->len)
		return LOOK_DOUBT; /* it goes on in the next segment */
	if (n == 0 || n > NAME_WINDOW)
		return LOOK_DOUBT; /* so rare that user space may read it, which knows the operator's names of any length */
	if (search(skb, off, n, BLANK) == FOUND)
		return LOOK_YES;
	return has_names && is_operators(skb, off, n) ? LOOK_YES : LOOK_NO;
}

/*
 * Looks at a TLS ClientHello (RFC 8446, Section 4.1.2) that begins at off. What cannot be read to its server name is left to user space:
 * a hello in several records or segments with the name in a later one, and one without a name.
 */
static __always_inline int look_at_hello(struct __sk_buff *skb, __u32 off)
{
	struct {
		__be16 type, len;
	} ext;
	__u8 head[44]; /* record header 5, handshake header 4, version 2, random 32, session id length 1 */
	__be16 len;
	__u8 len8;
	__u32 i, end;

	if (bpf_skb_load_bytes(skb, off, head, sizeof(head)) < 0)
		return LOOK_DOUBT;
	if (head[1] != 3 || head[5] != 1)
		return LOOK_NO;
	off += sizeof(head) + head[43];
	if (bpf_skb_load_bytes(skb, off, &len, sizeof(len)) < 0) /* cipher suites */
		return LOOK_DOUBT;
	off += 2 + bpf_ntohs(len);
	if (bpf_skb_load_bytes(skb, off, &len8, sizeof(len8)) < 0) /* compression methods */
		return LOOK_DOUBT;
	off += 1 + len8;
	if (bpf_skb_load_bytes(skb, off, &len, sizeof(len)) < 0) /* extensions */
		return LOOK_DOUBT;
	off += 2;
	end = off + bpf_ntohs(len);
	for (i = 0; i < MAX_EXTENSIONS; i++) {
		if (off >= end)
			break;
		if (bpf_skb_load_bytes(skb, off, &ext, sizeof(ext)) < 0)
			return LOOK_DOUBT;
		off += 4;
		if (ext.type == 0) { /* server_name: list length 2, name type 1, name length 2, name (RFC 6066, Section 3) */
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
 * headers end in a later segment is left in doubt.
 */
static __always_inline int look_at_request(struct __sk_buff *skb, __u32 off, __u32 len)
{
	__u64 window = BLANK;
	__u32 i;

	for (i = 0; i < HTTP_WINDOWS; i++) {
		__u32 n = len < NAME_WINDOW ? len : NAME_WINDOW, host;

		if (!n)
			return LOOK_DOUBT;
		host = has_names ? find_host(skb, off, n, window) : 0;
		if (host && is_operators(skb, host, skb->len - host))
			return LOOK_YES;
		window = search(skb, off, n, window);
		if (window == FOUND)
			return LOOK_YES;
		if (window == ENDED)
			return LOOK_NO;
		off += n;
		len -= n;
	}
	return LOOK_NO;
}

/* Whether the payload is a name and a password for a SOCKS server (RFC 1929): version, length and name, length and password. */
static __always_inline int is_password(struct __sk_buff *skb, __u32 off, __u32 len)
{
	__u8 name, password;

	if (bpf_skb_load_bytes(skb, off + 1, &name, sizeof(name)) < 0 || bpf_skb_load_bytes(skb, off + 2 + name, &password, sizeof(password)) < 0)
		return 0;
	return len == 3 + name + password;
}

/* Looks at a client segment's payload of len bytes at off. */
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
		return look_at_request(skb, off, len);
	case FOUR('C', 'O', 'N', 'N'): /* the target follows "CONNECT " (RFC 9110, Section 9.3.6) */
		if (has_names && len > 8 && is_operators(skb, off + 8, len - 8))
			return LOOK_YES;
		return look_at_request(skb, off, len);
	case FOUR(0x67, 'J', '7', 'y'): /* DAX in cleartext */
		return LOOK_YES;
	case FOUR('P', 'R', 'I', ' '): /* HTTP/2 in cleartext: its headers are compressed */
	case FOUR('P', 'R', 'O', 'X'): /* a PROXY protocol header, text or binary: what matters comes after it */
	case FOUR('\r', '\n', '\r', '\n'):
		return LOOK_DOUBT;
	}
	if (first >> 24 == 5 || first >> 24 == 4) /* SOCKS: what matters comes after its greeting */
		return LOOK_DOUBT;
	if (first >> 24 == 1 && is_password(skb, off, len))
		return LOOK_LATER;
	if ((first & 0x8000ff00) == 0x80000100) /* a ClientHello in SSL 2.0's form */
		return LOOK_DOUBT;
	return LOOK_NO;
}

#endif
