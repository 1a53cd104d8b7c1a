package ebpf

import "math/bits"

// window is how many numbers are looked at, the latest and those before it: of older ones none comes any more.
const window = 32

// numbers follows the numbers that the kernel gives the events of one connection and direction, from 0 on. Two processors may swap events: they take
// numbers and then room in the ring buffer. So a number that is missing is no loss before the others have had time to come.
type numbers struct {
	next uint32
	// missing has bit i set if number next-1-i has not come.
	missing uint32
	// unknown: what comes first is the beginning.
	unknown bool
}

// take notes a number that came. It returns how many can come no more, and whether some are missing that were not before.
func (n *numbers) take(number uint32) (lost uint64, gap bool) {
	if n.unknown {
		n.unknown, n.next = false, number
	}
	ahead := number - n.next
	if ahead >= 1<<31 { // it comes late
		n.missing &^= 1 << (n.next - 1 - number) // 0 beyond the window
		return 0, false
	}
	for range min(ahead, window) { // these are missing so far
		lost += uint64(n.missing >> (window - 1))
		n.missing = n.missing<<1 | 1
	}
	lost += uint64(ahead - min(ahead, window))
	lost += uint64(n.missing >> (window - 1))
	n.missing <<= 1
	n.next = number + 1
	return lost, ahead > 0
}

// settle returns how many numbers are missing, and gives them up.
func (n *numbers) settle() (lost uint64) {
	lost = uint64(bits.OnesCount32(n.missing))
	n.missing = 0
	return lost
}
