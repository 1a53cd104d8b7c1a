//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Who opens a connection: noted where the caller of connect() is the current task, and kept with the socket. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "maps.bpf.h"

#define IPPROTO_MULTIPATH 262

/* Follow DNS. */
const volatile __u8 dns = 1;

const volatile __u32 task_group_leader;
const volatile __u32 task_start_boottime;

static __always_inline __u64 start_of_process(int is_leader)
{
	void *task;
	__u64 start = 0;

	if (!task_group_leader || !task_start_boottime)
		return 0;
	task = (void *)bpf_get_current_task();
	if (!is_leader)
		bpf_probe_read_kernel(&task, sizeof(task), task + task_group_leader);
	bpf_probe_read_kernel(&start, sizeof(start), task + task_start_boottime);
	return start;
}

/* Decides if the connection is followed, and why; 0 if not. */
static __always_inline int wanted(const __u8 addr[16], __u16 port, __u32 proto)
{
	if (dns && port == 53)
		return BY_DNS;
	if (proto == IPPROTO_UDP)
		return 0;
	if (in_prefixes(addr))
		return BY_RANGE;
	if (in_ports(port))
		return BY_PORT;
	return 0;
}

/* Keeps the opener of a connection until its first bytes are looked at. */
static __always_inline void await_look(const struct opener *o)
{
	struct waiting *w = place_of(o->cookie);
	__u64 other;

	if (!w)
		return;
	other = w->opener.cookie;
	if (other && other != o->cookie) {
		if (bpf_map_update_elem(&displaced, &other, &w->opener, BPF_ANY))
			count(LOST_STORAGE, 1);
		w->displaced = 1;
	}
	w->opener = *o;
	w->check = check_of(o);
}

static __always_inline int opened(struct bpf_sock_addr *ctx, const __u8 addr[16])
{
	__u32 proto = ctx->protocol;
	__u16 dport = ctx->user_port;
	struct bpf_sock *sk = ctx->sk;
	struct opener o = {};
	struct conn *c;
	__u64 id;
	int why;

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP && proto != IPPROTO_MULTIPATH)
		return 1;
	why = wanted(addr, bpf_ntohs(dport), proto);
	if (proto == IPPROTO_MULTIPATH) {
		if (why)
			count(LOST_MPTCP, 1);
		return 1;
	}
	if (!sk)
		return 1;
	if (!why) {
		/* A datagram socket may be connected again elsewhere, a stream socket after AF_UNSPEC: what was noted is stale. */
		if (bpf_sk_storage_get(&conns, sk, NULL, 0)) /* cheaper than deleting what is not there */
			bpf_sk_storage_delete(&conns, sk);
		if (proto != IPPROTO_TCP || !look_at_others)
			return 1;
	}
	o.cookie = bpf_get_socket_cookie(ctx);
	o.cgroup_id = bpf_get_current_cgroup_id();
	o.connect_ns = bpf_ktime_get_ns();
	__builtin_memcpy(o.daddr, addr, 16);
	bpf_get_current_comm(o.comm, sizeof(o.comm));
	id = bpf_get_current_pid_tgid();
	o.tgid = id >> 32;
	o.tid = id;
	o.start_ns = start_of_process(o.tgid == o.tid);
	o.uid = bpf_get_current_uid_gid();
	o.dport = dport;
	o.proto = proto;
	o.reason = why;
	if (!why) {
		await_look(&o);
		return 1;
	}
	note_netns(&o, sk);
	follow_port(dport);
	c = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c) {
		count(LOST_STORAGE, 1);
		return 1;
	}
	c->opener = o;
	c->left[FROM_CLIENT] = CLIENT_BUDGET;
	c->left[FROM_SERVER] = SERVER_BUDGET;
	c->number[FROM_CLIENT] = 0;
	c->number[FROM_SERVER] = 0;
	c->payload = 0;
	c->tail = 0;
	c->cut = 0;
	return 1;
}

/*
 * cgroup/connect4 and connect6 (4.17; with socket storage and these helpers 5.10) rather than a kprobe on tcp_connect: no kernel symbols, typed
 * arguments, and one attachment at the root serves every namespace. They run in the context of the caller, also for non-blocking
 * connect, TCP Fast Open (MSG_FASTOPEN, TCP_FASTOPEN_CONNECT) and io_uring, before any packet. They miss sockets that were connected before,
 * and the subflows of Multipath TCP. They always allow.
 */
SEC("cgroup/connect4")
int dynwatch_connect4(struct bpf_sock_addr *ctx)
{
	__u32 ip = ctx->user_ip4;
	__u32 addr[4] = { 0, 0, bpf_htonl(0xffff), ip };

	return opened(ctx, (const __u8 *)addr);
}

/* IPv4-mapped destinations come here too, and are looked up as the IPv4 addresses that they are. */
SEC("cgroup/connect6")
int dynwatch_connect6(struct bpf_sock_addr *ctx)
{
	__u32 addr[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };

	return opened(ctx, (const __u8 *)addr);
}

char _license[] SEC("license") = "GPL";
