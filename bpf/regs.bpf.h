/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The registers of an interrupted task, as uprobes get them: the one thing that differs between architectures. */
#ifndef REGS_BPF_H
#define REGS_BPF_H

#include <linux/types.h>

#if defined(__TARGET_ARCH_x86)

/* struct pt_regs of arch/x86/include/asm/ptrace.h. */
struct regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

/* System V ABI. */
#define C_ARG1(r) ((r)->di)
#define C_ARG2(r) ((r)->si)
#define C_ARG3(r) ((r)->dx)
#define C_ARG4(r) ((r)->cx)
#define C_RESULT(r) ((r)->ax)
#define C_IP(r) ((r)->ip)
/* Where a function returns to, at its first instruction. Not 0 if that cannot be read. */
#define C_CALLER(r, to) bpf_probe_read_user(to, sizeof(*(to)), (const void *)(r)->sp)

/* Go's ABIInternal (1.17 and later): src/cmd/compile/abi-internal.md. */
#define GO_ARG1(r) ((r)->ax)
#define GO_ARG2(r) ((r)->bx)
#define GO_ARG3(r) ((r)->cx)
#define GO_ROUTINE(r) ((r)->r14)

#elif defined(__TARGET_ARCH_arm64)

/* struct user_pt_regs of arch/arm64/include/uapi/asm/ptrace.h, which struct pt_regs begins with. */
struct regs {
	__u64 regs[31], sp, pc, pstate;
};

#define C_ARG1(r) ((r)->regs[0])
#define C_ARG2(r) ((r)->regs[1])
#define C_ARG3(r) ((r)->regs[2])
#define C_ARG4(r) ((r)->regs[3])
#define C_RESULT(r) ((r)->regs[0])
#define C_IP(r) ((r)->pc)
#define C_CALLER(r, to) (*(to) = (r)->regs[30], 0)
#define GO_ARG1(r) ((r)->regs[0])
#define GO_ARG2(r) ((r)->regs[1])
#define GO_ARG3(r) ((r)->regs[2])
#define GO_ROUTINE(r) ((r)->regs[28])

#else
#error "registers of this architecture are not known"
#endif

#endif
