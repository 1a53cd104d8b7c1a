package ebpf

import "testing"

func TestNumbersBeginAnewBehindTheLargest(t *testing.T) {
	n := numbers{next: 1<<32 - 2}
	var lost uint64
	for _, number := range []uint32{1<<32 - 2, 0, 1<<32 - 1, 2} {
		l, _ := n.take(number)
		lost += l
	}
	if lost != 0 || n.next != 3 || n.settle() != 1 || n.settle() != 0 {
		t.Errorf("%d lost, %+v", lost, n)
	}
}

func TestNumbersBeginWhereTheyAreNotKnown(t *testing.T) {
	n := numbers{unknown: true}
	for _, number := range []uint32{1000, 1002, 1001} {
		if lost, gap := n.take(number); lost != 0 || gap != (number == 1002) {
			t.Errorf("%d: %d lost, gap %t", number, lost, gap)
		}
	}
	if n.settle() != 0 {
		t.Errorf("%+v", n)
	}
}

func BenchmarkNumbers(b *testing.B) {
	var n numbers
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		n.take(i)
	}
}
