//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Connections that were open before the programs were attached: found through the files of all tasks. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include "maps.bpf.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define ACK 0x10

/* Of the next requests: enough to see that they are in cleartext. */
#define EARLIER_BUDGET 4096

/* What is read of the kernel's structs; the places of the fields are relocated when the object is loaded. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	__u8 s6_addr[16];
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct socket {
	struct sock *sk;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct task_struct {
	int pid;
	int tgid;
	__u64 start_boottime;
	struct task_struct *group_leader;
	const struct cred *real_cred;
	struct css_set *cgroups;
	char comm[COMM_LEN];
};

struct file;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/*
 * iter/task_file (5.8; bpf_sock_from_file 5.11, socket cookies of kernel sockets 5.12) rather than iter/tcp, which lists one network namespace only, or
 * /proc/net/tcp, which has no way into the socket's storage. It runs in the context of the reader, once for every open file of every task in
 * the reader's PID namespace. It needs the kernel's BTF. The owner is the first task that has the socket open, not who opened it.
 */
SEC("iter/task_file")
int dynwatch_earlier(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	struct event *e;
	struct conn *c;
	struct opener *o;
	__u32 saddr[4] = {}, daddr[4] = {};
	__u16 family, dport, why;
	__u8 state;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	state = sk->__sk_common.skc_state;
	if ((family != AF_INET && family != AF_INET6) || sk->sk_type != SOCK_STREAM || sk->sk_protocol != IPPROTO_TCP ||
	    (state != TCP_ESTABLISHED && state != TCP_SYN_SENT))
		return 0;
	if (family == AF_INET) {
		saddr[2] = daddr[2] = bpf_htonl(0xffff);
		saddr[3] = sk->__sk_common.skc_rcv_saddr;
		daddr[3] = sk->__sk_common.skc_daddr;
	} else {
		bpf_probe_read_kernel(saddr, sizeof(saddr), &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(daddr, sizeof(daddr), &sk->__sk_common.skc_v6_daddr);
	}
	dport = sk->__sk_common.skc_dport;
	if (in_prefixes((__u8 *)daddr))
		why = BY_RANGE;
	else if (in_ports(bpf_ntohs(dport)))
		why = BY_PORT;
	else
		return 0;
	if (bpf_sk_storage_get(&conns, sk, NULL, 0))
		return 0; /* opened since, or seen through another task or file */
	follow_port(dport);
	c = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c) {
		count(LOST_STORAGE, 1);
		return 0;
	}
	o = &c->opener;
	o->cookie = bpf_get_socket_cookie(sk);
	o->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	o->connect_ns = bpf_ktime_get_ns();
	o->start_ns = task->group_leader->start_boottime;
	__builtin_memcpy(o->daddr, daddr, 16);
	bpf_probe_read_kernel(o->comm, sizeof(o->comm), &task->comm);
	o->netns_ino = sk->__sk_common.skc_net.net->ns.inum;
	o->tgid = task->tgid;
	o->tid = task->pid;
	o->uid = task->real_cred->uid.val;
	o->dport = dport;
	o->proto = IPPROTO_TCP;
	o->reason = why;
	o->flags = WAS_OPEN;
	c->left[FROM_CLIENT] = EARLIER_BUDGET;
	c->left[FROM_SERVER] = EARLIER_BUDGET;
	c->tail = 1;

	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count(LOST_RING_FULL, 1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->opener = *o;
	e->ts_ns = o->connect_ns;
	__builtin_memcpy(e->saddr, saddr, 16);
	__builtin_memcpy(e->daddr, daddr, 16);
	e->sport = bpf_htons(sk->__sk_common.skc_num);
	e->dport = dport;
	e->tcp_flags = ACK;
	c->number[FROM_CLIENT] = 1;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
