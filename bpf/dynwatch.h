/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the kernel side and Go share. Go's types are made from these by bpf2go: widest fields first, padding explicit. */
#ifndef DYNWATCH_H
#define DYNWATCH_H

#include <linux/types.h>

#define COMM_LEN 16

/* Directions of a connection, as seen from the side that called connect(). */
enum direction {
	FROM_CLIENT,
	FROM_SERVER,
};

/* Why a connection is copied. */
enum reason {
	BY_RANGE = 1, /* its address is in the set of prefixes */
	BY_PORT,      /* its port is in the set of ports */
	BY_NAME,      /* its first bytes bear a name of DynamoDB, or the operator's */
	BY_DOUBT,     /* its first bytes do not tell, such as a ClientHello without a server name: user space may decide */
	BY_DNS,       /* it carries DNS answers */
};

/* What user space decided of a connection (the values of the map verdicts). */
enum verdict {
	VERDICT_DROP = 1, /* copy nothing more of it */
	VERDICT_KEEP,     /* treat it as one whose name was found */
};

/* One connection of a socket, which may have others before and after it (AF_UNSPEC): the key of the map verdicts. */
struct connection {
	__u64 cookie;
	__u64 connect_ns;
};

/* Bits of opener.flags. */
enum {
	SAW_SYN = 1 << 0,    /* client_isn and syn_ns hold */
	SAW_SYNACK = 1 << 1, /* server_isn and synack_ns hold */
	WAS_OPEN = 1 << 2,   /* found open by the iterator: its handshake was not seen, the owner is who holds it */
};

/*
 * Counters of what did not reach user space, indexes of the map counters. They only rise.
 */
enum counter {
	LOST_RING_FULL,    /* events that found no room in the ring buffer */
	LOST_RING_BYTES,   /* payload bytes of these */
	LOST_STORAGE,      /* connections without socket storage (no memory): not followed */
	LOST_UNREADABLE,   /* packets of followed connections with headers that cannot be read */
	LOST_COPY,         /* events whose payload could not be copied */
	LOST_BUDGET,       /* connections whose budget was used up before their handshake ended */
	LOST_BUDGET_BYTES, /* payload bytes of these that were not copied */
	LOST_MPTCP,        /* connections to a followed address over Multipath TCP, whose packets are another socket's */
	LOST_DNS_CUT,      /* DNS answers longer than MAX_PIECE */
	COUNT_LOOKED,      /* connections to other addresses whose first bytes were looked at: no loss */
	COUNT_DOUBT,       /* of these, copied because the bytes did not tell: no loss */
	MAX_COUNTERS,
};

/*
 * Who opened a connection, and where to. Written when connect() runs, in the context of its caller.
 * Times are CLOCK_MONOTONIC but for start_ns. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.
 */
struct opener {
	__u64 cookie;    /* socket cookie: unique on this host until it reboots */
	__u64 cgroup_id; /* of the caller's cgroup (v2) */
	__u64 connect_ns;
	__u64 start_ns;  /* CLOCK_BOOTTIME start of the process; 0 where the kernel does not let it be read */
	__u64 syn_ns;    /* of a connection that was looked at first: connect_ns */
	__u64 synack_ns; /* of a connection that was looked at first: no later than this */
	__u8 daddr[16];  /* where the caller asked to connect to */
	char comm[COMM_LEN];
	__u32 netns_ino; /* 0 if unknown */
	__u32 tgid;
	__u32 tid;
	__u32 uid;
	__u32 client_isn;
	__u32 server_isn;
	__be16 dport;
	__u8 proto; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 reason;
	__u8 flags;
	__u8 pad[3];
};
_Static_assert(sizeof(struct opener) == 112, "opener has holes");

/*
 * One packet, or a piece of one: super-packets (GSO, GRO) come in pieces of MAX_PIECE, each with its own sequence number.
 * captured bytes of payload follow. Every event repeats the opener, so that none depends on an earlier one that may be lost.
 */
struct event {
	struct opener opener;
	__u64 ts_ns;    /* CLOCK_MONOTONIC */
	__u8 saddr[16]; /* the packet's own: behind a redirect it differs from opener.daddr */
	__u8 daddr[16];
	__u32 seq; /* of the first byte of this piece, or of the SYN */
	__u32 ack;
	__u32 length; /* payload bytes from this piece on to the end of the packet, or of this piece if another one follows */
	__u32 captured;
	__u32 number; /* counts the events of this direction from 0: a gap is a lost event */
	enum direction direction;
	__be16 sport;
	__be16 dport;
	__u8 tcp_flags; /* SYN only on the first piece, FIN and RST only on the last */
	__u8 final;     /* the budget of this direction ends here, after all that matters: nothing missing later is a loss */
	__u8 pad[2];
};
_Static_assert(sizeof(struct event) == 184, "event has holes");

/* A followed socket's state, in its storage: freed with it by the kernel. */
struct conn {
	struct opener opener;
	__u32 left[2];   /* budget: payload bytes that may still be copied, by direction */
	__u32 number[2]; /* of the next event */
	__u8 payload;    /* a bit per direction: carried payload */
	__u8 tail;       /* what matters was seen: the end of the budget is no loss any more */
	__u8 cut;        /* the budget's end was counted */
	__u8 pad[5];
};

/* The key of the set of prefixes. */
struct prefix {
	__u32 bits;
	__u8 addr[16];
};

#endif
