package afpacket

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/filter"
)

// ring is one packet socket and the memory that it shares with the kernel: blocks, each filled with packets by the kernel, handed over when it
// is full or some milliseconds old, and handed back when it has been read.
type ring struct {
	name   string
	index  int
	fd     int
	cooked bool // the socket gives packets from the network header on, and the link's facts in an address
	link   decode.LinkType
	match  *filter.Filter // evaluated here, on what the kernel's filter would see; nil if the kernel does it
	// refused is the length of the shortest expression of which the kernel did not take the program; 0 if it took all.
	refused int

	mem       []byte
	blockSize int
	block     int // the one that is read, or comes next
	left      int // packets of it that are not read yet
	at        int // of the next packet's header, in mem
	inHand    bool

	// gone: the interface does not exist any more.
	gone bool
	// received, drops and freezes add up PACKET_STATISTICS, which the kernel clears at every reading; received has the drops in it.
	received, drops, freezes uint64
	// read counts the packets that were taken out of the ring.
	read uint64
}

// Offsets in struct tpacket_block_desc (linux/if_packet.h).
const (
	blockStatus  = 8
	blockPackets = 12
	blockFirst   = 16
)

// addressOffset is where struct sockaddr_ll stands behind a packet's header, and headroom where it ends.
const (
	addressOffset = unix.SizeofTpacket3Hdr // already a multiple of TPACKET_ALIGNMENT
	headroom      = addressOffset + unix.SizeofSockaddrLinklayer
)

// retireAfter is how old a block may get before it is handed over although it has room. It is most of the delay of this source.
const retireAfter = 4 * time.Millisecond

// largestPacket is how much is kept of a packet unless Options say otherwise. Segmentation offload makes packets of up to 64 KiB and their headers, and larger
// ones where somebody has allowed that (BIG TCP). In blocks of 128 KiB the largest of loopback would leave half the memory empty.
const largestPacket = 256<<10 - frameOverhead

// frameOverhead is what a packet takes in a block beside itself: headers, alignment, and the block's own header.
const frameOverhead = 256

// wantedBlocks is how many blocks a ring should have, if packets are small enough. A block is handed over after retireAfter, however little is in it, so that
// the number of blocks bounds how long the reader may be away: a second, or a quarter of it with the default snap length and buffer.
const wantedBlocks = 256

// geometry is the size of a ring. A packet has to fit into one block.
type geometry struct{ blockSize, blocks, snapLen int }

func geometryFor(bufferBytes, snapLen int) geometry {
	page := unix.Getpagesize()
	block := page
	for block < snapLen+frameOverhead || block < bufferBytes/wantedBlocks && block < 1<<20 {
		block *= 2
	}
	return geometry{blockSize: block, blocks: max(bufferBytes/block, 2), snapLen: snapLen}
}

// openRing opens a socket that yields nothing yet. index 0 is every interface.
func openRing(name string, index int, cooked bool, g geometry) (_ *ring, err error) {
	kind, link := unix.SOCK_RAW, decode.LinkType(decode.LinkEthernet)
	if cooked {
		kind, link = unix.SOCK_DGRAM, decode.LinkSLL
	}
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // protocol 0: no packets before it is bound
	if err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return nil, &PermissionError{Op: "open packet socket", Capability: "CAP_NET_RAW", Err: err}
		}
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	r := &ring{name: name, index: index, fd: fd, cooked: cooked, link: link, blockSize: g.blockSize}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, fmt.Errorf("ask for TPACKET_V3: %w", err)
	}
	request := unix.TpacketReq3{
		Block_size: uint32(g.blockSize), Block_nr: uint32(g.blocks),
		// With version 3 packets take what they need; the kernel still wants these two to agree.
		Frame_size: uint32(g.blockSize), Frame_nr: uint32(g.blocks),
		Retire_blk_tov: uint32(retireAfter.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return nil, fmt.Errorf("ring of %d blocks of %d bytes: %w", g.blocks, g.blockSize, err)
	}
	r.mem, err = unix.Mmap(fd, 0, g.blocks*g.blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map ring of %d bytes: %w", g.blocks*g.blockSize, err)
	}
	return r, nil
}

// start begins to receive. The filter has to be attached before.
func (r *ring) start(promiscuous bool) error {
	address := &unix.SockaddrLinklayer{Protocol: bigEndian16(unix.ETH_P_ALL), Ifindex: r.index}
	if err := unix.Bind(r.fd, address); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	// An interface that is down is no obstacle: the socket tells so by an error, and receives when it comes up.
	if code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 && unix.Errno(code) != unix.ENETDOWN {
		return fmt.Errorf("bind: %w", unix.Errno(code))
	}
	if promiscuous && r.index != 0 {
		m := unix.PacketMreq{Ifindex: int32(r.index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("promiscuous mode: %w", err)
		}
	}
	return nil
}

// bound reports whether the interface still exists. The kernel gives the socket -1 for its interface when that is gone or in another network namespace
// now, whatever has its name or number then.
func (r *ring) bound() bool {
	address, err := unix.Getsockname(r.fd)
	link, ok := address.(*unix.SockaddrLinklayer)
	return err != nil || !ok || link.Ifindex >= 0
}

func bigEndian16(v uint16) uint16 { return v<<8 | v>>8 } // every platform that this is built for is little endian

func (r *ring) status() *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[r.block*r.blockSize+blockStatus]))
}

func (r *ring) word(at int) int { return int(*(*uint32)(unsafe.Pointer(&r.mem[at]))) }

// next returns the next packet. It is valid until the following call.
func (r *ring) next() (f frame, ok bool) {
	for {
		if r.inHand && r.left == 0 {
			atomic.StoreUint32(r.status(), unix.TP_STATUS_KERNEL)
			r.block = (r.block + 1) % (len(r.mem) / r.blockSize)
			r.inHand = false
		}
		if !r.inHand {
			if atomic.LoadUint32(r.status())&unix.TP_STATUS_USER == 0 {
				return frame{}, false
			}
			start := r.block * r.blockSize
			r.inHand, r.left, r.at = true, r.word(start+blockPackets), start+r.word(start+blockFirst)
			continue // it may be empty
		}
		end := (r.block + 1) * r.blockSize
		if r.at < 0 || r.at+headroom > end {
			r.left = 0 // never seen: the kernel would have to be wrong
			continue
		}
		header := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[r.at]))
		f, ok = r.frame(header, end)
		r.left--
		r.read++
		r.at += int(header.Next_offset)
		if ok {
			return f, true
		}
	}
}

// statistics adds what the kernel has counted since the last time.
func (r *ring) statistics() {
	if s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		r.received += uint64(s.Packets)
		r.drops += uint64(s.Drops)
		r.freezes += uint64(s.Freeze_q_cnt)
	}
}

// unread is how many packets the kernel has put into the ring, as of the last statistics, that were not read.
func (r *ring) unread() uint64 {
	if n := r.received - r.drops; n > r.read {
		return n - r.read
	}
	return 0
}

func (r *ring) close() {
	if r.mem != nil {
		unix.Munmap(r.mem)
		r.mem = nil
	}
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
}
