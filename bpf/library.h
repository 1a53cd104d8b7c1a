/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the library probes and Go share. Go's types are made from these by bpf2go. */
#ifndef LIBRARY_H
#define LIBRARY_H

#include <linux/types.h>

#define MAX_CERTIFICATE 16384 /* bytes of one certificate; a power of two */
#define MAX_HOST 256          /* bytes of a host name; a power of two */

enum library_kind {
	LIBRARY_CERTIFICATE = 1, /* the library reads a certificate of the peer's; data is its DER */
	LIBRARY_HANDSHAKE,       /* it is about to judge the chain that came before; value is how it verifies, data the name that it was told */
	LIBRARY_VERIFIED,        /* its own judgement; value is what the function returned */
	LIBRARY_HOST,            /* it compares the leaf with a host name, which is data */
	LIBRARY_ASKED,           /* the program asks for the judgement; value is the answer */
	LIBRARY_INSPECTED,       /* the program itself looks at a certificate after the handshake */
};

/* Bits of library_event.flags. */
enum {
	LIBRARY_RANDOM = 1 << 0,   /* random holds */
	LIBRARY_VALUE = 1 << 1,    /* value holds */
	LIBRARY_CALLBACK = 1 << 2, /* the program has a function of its own that judges */
	LIBRARY_SERVER = 1 << 3,   /* this end is the server */
	LIBRARY_FIRST = 1 << 4,    /* the first certificate of a message */
	LIBRARY_GO = 1 << 5,       /* of a handshake: crypto/tls; value is InsecureSkipVerify, data the name that it was told */
	LIBRARY_GNUTLS = 1 << 6,   /* GnuTLS; of a handshake: value is 1 if it verifies by itself, data the name */
	LIBRARY_SESSION = 1 << 7,  /* of an inspection: at the certificates of this very session; code is who asks for them */
	LIBRARY_S2N = 1 << 8,      /* s2n; of a handshake: value is 1 if it verifies, length how many certificates the chain has */
	LIBRARY_CHAIN = 1 << 9,    /* with LIBRARY_SESSION: at all of them, not at the leaf alone */
};

/* Counters of what did not reach user space, indexes of the map library_counters. They only rise. */
enum library_counter {
	LIBRARY_LOST_RING,   /* events that found no room in the ring buffer */
	LIBRARY_LOST_LARGE,  /* certificates larger than MAX_CERTIFICATE */
	LIBRARY_LOST_READ,   /* events whose memory could not be read */
	LIBRARY_LOST_EXEC,   /* started programs that found no room in their ring buffer */
	LIBRARY_PASSED_OVER, /* handshakes of processes that user space does not care for: no loss */
	LIBRARY_MAX_COUNTERS,
};

/* captured bytes of data follow. */
struct library_event {
	__u64 ts_ns;  /* CLOCK_MONOTONIC */
	__u64 strand; /* what runs the handshake: the thread, or the goroutine's address */
	__s64 value;
	__u64 code; /* address of the program's own: of a handshake its function that judges, or is shown messages, of an inspection who asks; 0: none, or not known */
	__u32 tgid;
	__u32 tid;
	__u32 length; /* of the data where it was found */
	__u32 captured;
	__u8 random[32]; /* of the ClientHello: goes over the network in clear, and is no other connection's */
	enum library_kind kind;
	__u16 flags;
	__u8 pad[2];
};
_Static_assert(sizeof(struct library_event) == 88, "library_event has holes");

#endif
