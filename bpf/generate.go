package bpf

// The objects serve every little-endian machine: the programs read no registers of an interrupted task, and the kernel's structs only at
// offsets that the loader gives. -mcpu=v3 (Linux 5.1) is what 5.10, the oldest kernel that is supported, has, atomics with results left out.
//
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -go-package bpf -target bpfel connect connect.bpf.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -go-package bpf -target bpfel -type event -type prefix -type connection -type verdict -type counter -type reason -type direction packet packet.bpf.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Wno-missing-declarations -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -go-package bpf -target bpfel earlier earlier.bpf.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -go-package bpf -target amd64,arm64 -type library_event -type library_kind -type library_counter library library.bpf.c
