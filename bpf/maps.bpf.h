/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Maps that the objects share: the loader gives each object the maps of the first. */
#ifndef MAPS_BPF_H
#define MAPS_BPF_H

#include "dynwatch.h"

#define MAX_PREFIXES 16384
#define MAX_VERDICTS 16384
#define MAX_OPENERS 4096 /* a power of two */
#define MAX_NAMES 1024

/* Payload bytes of a connection that are copied, by direction. */
#define CLIENT_BUDGET (16 << 10)
#define SERVER_BUDGET (64 << 10)

/* Per-connection state lives and dies with its socket: no eviction, no mix-up when a port is used again. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

#define PORT_PLACES 4096 /* a power of two */

/*
 * What a socket may be wanted for, by the port of its peer: bits of enum use. It tells the packets of nearly all sockets that nobody
 * follows apart by two loads, where asking for their storage takes a call. The low bits of a port in network order are its place; so
 * server ports share none with the ports that clients are given, and with few of each other. Bits are only ever set: once a
 * connection to a port was followed, all sockets with that port are asked for their storage.
 * A variable, for its place in memory to be known when a program is loaded, in a section of its own, for the objects to share it.
 */
__u8 port_uses[PORT_PLACES] SEC(".data.ports");

enum use {
	USE_FOLLOWED = 1 << 0, /* some connection to such a port is followed */
	USE_DNS = 1 << 1,      /* DNS answers come from it; or it is 0, where the socket has no peer. The loader sets it. */
};

static __always_inline __u8 uses_of(__be16 port)
{
	return port_uses[port & (PORT_PLACES - 1)];
}

static __always_inline void follow_port(__be16 port)
{
	if (!(uses_of(port) & USE_FOLLOWED)) /* what is not written stays in every processor's cache */
		port_uses[port & (PORT_PLACES - 1)] |= USE_FOLLOWED;
}

/*
 * Who opened the connections whose first bytes are still to be looked at. Nearly all of them are let go a moment later: socket storage made and freed
 * for each would cost more than all the rest of the look, and the bookkeeping of a hash map still half of it. So an opener is written
 * to the place that its cookie gives. Cookies count up, hence places are used in turn; one whose place is needed while it still waits moves to
 * the map displaced. The table is small on purpose: a large one would never be in the processor's cache.
 */
struct waiting {
	struct opener opener; /* cookie is 0 where nobody waits */
	__u64 check;          /* of the opener: two CPUs may write to one place at once */
	__u32 displaced;      /* somebody of this place is, or was, in displaced */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_OPENERS);
	__type(key, __u32);
	__type(value, struct waiting);
} openers SEC(".maps");

/* By socket cookie. The least recently used go first: those that never send anything, or more than MAX_OPENERS that all wait. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_OPENERS);
	__type(key, __u64);
	__type(value, struct opener);
} displaced SEC(".maps");

/* One ring for all CPUs: events come out in the order in which they were reserved. The loader sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_COUNTERS);
	__type(key, enum counter);
	__type(value, __u64);
} counters SEC(".maps");

/*
 * The set of prefixes is the inner map of slot 0. A new set is built aside and swapped in with one update: filling the map in use
 * would let connects slip through meanwhile. key_size, not __type: clang 14 leaves a forward declaration in the inner map's BTF.
 */
struct inner_prefixes {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PREFIXES);
	__uint(key_size, sizeof(struct prefix));
	__uint(value_size, sizeof(__u32));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, struct inner_prefixes);
} prefixes SEC(".maps");

static __always_inline void count(enum counter which, __u64 n)
{
	__u64 *v = bpf_map_lookup_elem(&counters, &which);

	if (v)
		*v += n;
}

/* The place of a connection whose first bytes are to be looked at. */
static __always_inline struct waiting *place_of(__u64 cookie)
{
	__u32 place = cookie & (MAX_OPENERS - 1);

	return bpf_map_lookup_elem(&openers, &place);
}

/* A value that an opener put together from two does not have. */
static __always_inline __u64 check_of(const struct opener *o)
{
	const __u64 *word = (const __u64 *)o;
	__u64 check = 0;
	__u32 i;

#pragma unroll
	for (i = 0; i < sizeof(*o) / sizeof(*word); i++)
		check ^= word[i];
	return check;
}

static __always_inline int in_prefixes(const __u8 addr[16])
{
	__u32 zero = 0;
	struct prefix key = { .bits = 128 };
	void *set = bpf_map_lookup_elem(&prefixes, &zero);

	if (!set)
		return 0;
	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(set, &key) != NULL;
}

/*
 * Where the kernel keeps what no helper tells, in bytes; the loader reads these, and those in connect.bpf.c, from the kernel's BTF. All 0
 * where there is none, or where the kernel refuses to let its memory be read (lockdown=confidentiality): then what uses them is dead
 * and never verified. CO-RE relocations would make every program need the kernel's BTF.
 */
const volatile __u32 sock_net;
const volatile __u32 net_inum;

/* Notes the inode number of the socket's network namespace. */
static __always_inline void note_netns(struct opener *o, struct bpf_sock *sk)
{
	__u64 common[8] = {}; /* the socket from its start, as the verifier lets nobody add to its address */

	if (!sock_net || !net_inum || sock_net >= sizeof(common))
		return;
	bpf_probe_read_kernel(common, sizeof(common), sk);
	bpf_probe_read_kernel(&o->netns_ino, sizeof(o->netns_ino), (void *)common[sock_net / 8] + net_inum);
}

/* Look at the first bytes of connections to other addresses. */
const volatile __u8 look_at_others = 1;

#define MAX_PORTS 16

/* Destination ports that are followed at any address; unused places are 0. */
const volatile __u16 ports[MAX_PORTS];

static __always_inline int in_ports(__u16 port)
{
	int i;

#pragma unroll
	for (i = 0; i < MAX_PORTS; i++) {
		if (!ports[i])
			return 0;
		if (ports[i] == port)
			return 1;
	}
	return 0;
}

#endif
