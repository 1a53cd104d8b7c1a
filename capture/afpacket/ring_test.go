package afpacket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// madeRing is a ring in ordinary memory, of two blocks that hold the given frames.
func madeRing(cooked bool, blockSize int, frames ...[]byte) *ring {
	r := &ring{name: "made", fd: -1, cooked: cooked, link: decode.LinkEthernet, blockSize: blockSize, mem: make([]byte, 2*blockSize)}
	if cooked {
		r.link = decode.LinkSLL
	}
	for b := range 2 {
		block := r.mem[b*blockSize : (b+1)*blockSize]
		at := 48
		n := 0
		for _, f := range frames {
			size := (96 + len(f) + 15) &^ 15
			if at+size > blockSize {
				break
			}
			h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[at]))
			*h = unix.Tpacket3Hdr{Next_offset: uint32(size), Sec: 1, Nsec: 2, Snaplen: uint32(len(f)), Len: uint32(len(f)) + 5, Mac: 96}
			address := block[at+addressOffset:]
			binary.BigEndian.PutUint16(address[2:], unix.ETH_P_IP)
			binary.NativeEndian.PutUint16(address[8:], unix.ARPHRD_NONE)
			address[10] = unix.PACKET_OUTGOING
			copy(block[at+96:], f)
			at += size
			n++
		}
		binary.NativeEndian.PutUint32(block[blockStatus:], unix.TP_STATUS_USER)
		binary.NativeEndian.PutUint32(block[blockPackets:], uint32(n))
		binary.NativeEndian.PutUint32(block[blockFirst:], 48)
	}
	return r
}

func (r *ring) header(n int) *unix.Tpacket3Hdr {
	at := 48
	for range n {
		at += int((*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[at])).Next_offset)
	}
	return (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[at]))
}

func TestRingGivesBlocksBack(t *testing.T) {
	r := madeRing(false, 4096, synFrame(1), synFrame(2), synFrame(3))
	for round := range 2 {
		for want := range 3 {
			f, ok := r.next()
			if !ok || !bytes.Equal(f.data, synFrame(uint16(1+want))) || f.time != 1e9+2 || f.wire != len(f.data)+5 {
				t.Fatalf("round %d, packet %d: %+v, %v", round, want, f, ok)
			}
		}
	}
	if _, ok := r.next(); ok {
		t.Error("more than there was")
	}
	for b := range 2 {
		if binary.NativeEndian.Uint32(r.mem[b*4096+blockStatus:]) != unix.TP_STATUS_KERNEL {
			t.Errorf("block %d was kept", b)
		}
	}
}

func TestTagIsPutBack(t *testing.T) {
	for _, c := range []struct {
		name       string
		status     uint32
		tci        uint32
		tpid       uint16
		want       []byte
		moreOnWire int
	}{
		{"no tag", 0, 0, 0, synFrame(1), 5},
		{"a tag", unix.TP_STATUS_VLAN_VALID, 7, 0, synFrame(1, 7), 5},
		{"tag zero", unix.TP_STATUS_VLAN_VALID, 0, 0, synFrame(1, 0), 5},
		{"tag and type", unix.TP_STATUS_VLAN_VALID | unix.TP_STATUS_VLAN_TPID_VALID, 7, unix.ETH_P_8021Q, synFrame(1, 7), 5},
	} {
		r := madeRing(false, 4096, synFrame(1))
		h := r.header(0)
		h.Status, h.Hv1.Vlan_tci, h.Hv1.Vlan_tpid = c.status, c.tci, c.tpid
		if f, ok := r.next(); !ok || !bytes.Equal(f.data, c.want) || f.wire != len(c.want)+c.moreOnWire {
			t.Errorf("%s:\n got %x\nwant %x", c.name, f.data, c.want)
		}
	}
}

func TestCookedPacketGetsItsHeader(t *testing.T) {
	ip := synFrame(443)[14:]
	f, ok := madeRing(true, 4096, ip).next()
	want := append([]byte{0, 4, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0}, ip...)
	if !ok || !bytes.Equal(f.data, want) || f.wire != len(want)+5 {
		t.Errorf("\n got %x\nwant %x", f.data, want)
	}
	var seg flow.Segment
	if got := decode.New(decode.Options{}).Decode(decode.LinkSLL, f.data, f.wire, f.time, &seg); got != decode.Segment || seg.DstPort != 443 {
		t.Errorf("%v, %+v", got, seg)
	}
}

// FuzzRing holds that no content of the shared memory makes the reader leave it or never end.
func FuzzRing(f *testing.F) {
	f.Add(madeRing(false, 4096, synFrame(1), synFrame(2)).mem, false)
	f.Add(madeRing(true, 4096, synFrame(1)[14:]).mem, true)
	f.Fuzz(func(t *testing.T, mem []byte, cooked bool) {
		r := madeRing(cooked, 4096)
		copy(r.mem, mem)
		for b := range 2 { // the kernel has no more packets in a block than fit
			n := binary.NativeEndian.Uint32(r.mem[b*4096+blockPackets:])
			binary.NativeEndian.PutUint32(r.mem[b*4096+blockPackets:], n%64)
		}
		for n := 0; ; n++ {
			p, ok := r.next()
			if !ok {
				return
			}
			if n > 128 || len(p.data) > 4096+sllLen {
				t.Fatalf("packet %d of %d bytes", n, len(p.data))
			}
		}
	})
}

// BenchmarkNext reads the frames of two blocks again and again, all of it but the system calls.
func BenchmarkNext(b *testing.B) {
	frame := append(synFrame(443), make([]byte, 1400)...)
	binary.BigEndian.PutUint16(frame[16:], uint16(len(frame)-14))
	for _, size := range []int{256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			r := madeRing(false, size, bytesOf(frame, size/2000)...)
			s := &Source{rings: []*ring{r}, dec: decode.New(decode.Options{})}
			var seg flow.Segment
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				f, ok := r.next()
				if !ok {
					for n := range 2 {
						binary.NativeEndian.PutUint32(r.mem[n*size+blockStatus:], unix.TP_STATUS_USER)
					}
					f, _ = r.next()
				}
				if !s.take(r, f, &seg) {
					b.Fatal("no segment")
				}
			}
		})
	}
}

func bytesOf(frame []byte, n int) (out [][]byte) {
	for range n {
		out = append(out, frame)
	}
	return out
}
