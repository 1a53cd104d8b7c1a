//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The plainest programs that could do the source's work, for its cost to be held against on the same machine: destinations are looked up at connect,
 * what is followed has socket storage, every packet's socket is asked for its own, and payload is copied from there within a
 * budget. Nothing looks at other connections, at DNS, at how a handshake ends, or tells what was lost.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define CLIENT_BUDGET 4096
#define SERVER_BUDGET 16384
#define MAX_PIECE 2048

struct owner {
	__u64 cookie;
	__u64 cgroup_id;
	__u64 connect_ns;
	__u64 pid_tgid;
	__u32 uid;
	__u32 addr;
	char comm[16];
	__u32 left[2];
};

struct record {
	__u64 cookie;
	__u64 ts_ns;
	__u32 kind;
	__u32 captured;
	struct owner owner;
};

struct prefix {
	__u32 bits;
	__u32 addr;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct prefix);
	__type(value, __u32);
} plain_set SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct owner);
} plain_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} plain_events SEC(".maps");

enum kind {
	CONNECT,
	STATE,
	TO_SERVER,
	TO_CLIENT,
};

static __always_inline void tell(const struct owner *o, __u32 kind)
{
	struct record *r = bpf_ringbuf_reserve(&plain_events, sizeof(*r), 0);

	if (!r)
		return;
	r->cookie = o->cookie;
	r->ts_ns = bpf_ktime_get_ns();
	r->kind = kind;
	r->captured = 0;
	r->owner = *o;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

SEC("cgroup/connect4")
int plain_connect4(struct bpf_sock_addr *ctx)
{
	struct prefix key = { .bits = 32, .addr = ctx->user_ip4 };
	struct bpf_sock *sk = ctx->sk;
	struct owner *o;

	if (ctx->protocol != IPPROTO_TCP || !sk || !bpf_map_lookup_elem(&plain_set, &key))
		return 1;
	o = bpf_sk_storage_get(&plain_owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o)
		return 1;
	o->cookie = bpf_get_socket_cookie(ctx);
	o->cgroup_id = bpf_get_current_cgroup_id();
	o->connect_ns = bpf_ktime_get_ns();
	o->pid_tgid = bpf_get_current_pid_tgid();
	o->uid = bpf_get_current_uid_gid();
	o->addr = ctx->user_ip4;
	bpf_get_current_comm(o->comm, sizeof(o->comm));
	o->left[0] = CLIENT_BUDGET;
	o->left[1] = SERVER_BUDGET;
	tell(o, CONNECT);
	return 1;
}

static __always_inline int packet(struct __sk_buff *skb, __u32 dir)
{
	struct bpf_sock *sk = skb->sk;
	struct record *r;
	struct owner *o;
	__u32 n, off;
	__u8 offset;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	o = bpf_sk_storage_get(&plain_owners, sk, NULL, 0);
	if (!o || !o->left[dir] || skb->protocol != bpf_htons(0x0800) || bpf_skb_load_bytes(skb, 20 + 12, &offset, 1) < 0)
		return 1;
	off = 20 + (offset >> 4) * 4;
	if (skb->len <= off)
		return 1;
	n = skb->len - off;
	if (n > o->left[dir])
		n = o->left[dir];
	o->left[dir] -= n;
	r = bpf_ringbuf_reserve(&plain_events, sizeof(*r) + MAX_PIECE, 0);
	if (!r)
		return 1;
	r->cookie = o->cookie;
	r->ts_ns = bpf_ktime_get_ns();
	r->kind = TO_SERVER + dir;
	if (n > MAX_PIECE)
		n = MAX_PIECE;
	r->captured = n;
	barrier_var(n);
	n = ((n - 1) & (MAX_PIECE - 1)) + 1;
	bpf_skb_load_bytes(skb, off, r + 1, n);
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 1;
}

SEC("cgroup_skb/egress")
int plain_egress(struct __sk_buff *skb)
{
	return packet(skb, 0);
}

SEC("cgroup_skb/ingress")
int plain_ingress(struct __sk_buff *skb)
{
	return packet(skb, 1);
}

SEC("sockops")
int plain_sockops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk;
	struct owner *o;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	o = bpf_sk_storage_get(&plain_owners, sk, NULL, 0);
	if (!o)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG);
	else
		tell(o, STATE);
	return 1;
}

char _license[] SEC("license") = "GPL";
