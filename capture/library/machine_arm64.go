package library

import "debug/elf"

// machine is what probed files must be for.
const machine = elf.EM_AARCH64
