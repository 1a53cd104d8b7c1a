package endpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// The packed form is what the program carries of ip-ranges.json: 2.6 MB of JSON become some 80 kB. Numbers are unsigned varints
// (encoding/binary), strings have their length in front.
//
//	8 bytes   packedMagic
//	32 bytes  SHA-256 of the JSON file
//	varint    createDate, seconds since the Unix epoch; 0 is none
//	string    syncToken
//	varint    how many names follow; then each a string
//	varint    how many tags follow; then each: region, border group, how many services, services; all as indexes of names
//	varint    how many rows follow; then each:
//	          byte   how many leading bytes of the address are as in the row before (the first: as in ::)
//	          byte   prefix length in the 16-byte form
//	          bytes  the rest of the address up to the prefix length
//	          varint tag
//
// Rows are sorted, so that one pass over them builds the merged blocks.
const packedMagic = "dwrange1"

var errPacked = errors.New("packed ranges are damaged")

// MarshalBinary returns the packed form, which is what the built-in edition is made of. Equal files give equal bytes.
func (r *Ranges) MarshalBinary() ([]byte, error) {
	b := append([]byte(packedMagic), r.SHA256[:]...)
	var created uint64
	if !r.CreateDate.IsZero() {
		created = uint64(r.CreateDate.Unix())
	}
	b = binary.AppendUvarint(b, created)
	b = appendString(b, r.SyncToken)

	numbers := make(map[string]int)
	var names []string
	number := func(s string) {
		if _, ok := numbers[s]; !ok {
			numbers[s] = len(names)
			names = append(names, s)
		}
	}
	for i := range r.tags {
		t := &r.tags[i]
		number(t.region)
		number(t.border)
		for _, s := range t.services {
			number(s)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, s := range names {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(r.tags)))
	for i := range r.tags {
		t := &r.tags[i]
		b = binary.AppendUvarint(b, uint64(numbers[t.region]))
		b = binary.AppendUvarint(b, uint64(numbers[t.border]))
		b = binary.AppendUvarint(b, uint64(len(t.services)))
		for _, s := range t.services {
			b = binary.AppendUvarint(b, uint64(numbers[s]))
		}
	}
	rows := r.rows()
	b = binary.AppendUvarint(b, uint64(len(rows)))
	var last flow.IP
	for _, x := range rows {
		n := (int(x.bits) + 7) / 8
		shared := 0
		for shared < n && x.ip[shared] == last[shared] {
			shared++
		}
		b = append(b, byte(shared), x.bits)
		b = append(b, x.ip[shared:n]...)
		b = binary.AppendUvarint(b, uint64(x.tag))
		last = x.ip
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// unpacker reads the packed form; rest is what is left. The first error stays.
type unpacker struct {
	rest     []byte
	err      error
	rowCount int
	tagCount int
}

// unpack reads all but the rows into a Ranges, and passes once over the rows for the index. b is kept and must not change.
func unpack(b []byte) (*Ranges, error) {
	u := &unpacker{rest: b}
	if string(u.bytes(len(packedMagic))) != packedMagic {
		return nil, fmt.Errorf("%w: no magic", errPacked)
	}
	r := new(Ranges)
	copy(r.SHA256[:], u.bytes(len(r.SHA256)))
	if created := u.uvarint(1 << 40); created != 0 {
		r.CreateDate = time.Unix(int64(created), 0).UTC()
	}
	r.SyncToken = u.text()
	names := make([]string, u.uvarint(maxNames))
	for i := range names {
		names[i] = u.text()
	}
	name := func() string {
		if i := u.uvarint(maxNames); i < len(names) {
			return names[i]
		}
		u.fail()
		return ""
	}
	r.tags = make([]tag, u.uvarint(maxTags))
	for i := range r.tags {
		t := &r.tags[i]
		t.region, t.border = name(), name()
		n := u.uvarint(min(maxNames, len(u.rest)))
		t.services = make([]string, 0, n)
		for ; n > 0 && u.err == nil; n-- {
			s := name()
			t.services = append(t.services, s)
			t.dynamodb = t.dynamodb || s == serviceDynamoDB
		}
	}
	u.tagCount = len(r.tags)
	u.rowCount = u.uvarint(len(u.rest) / 3) // a row takes three bytes at least
	r.packed = &unpacker{rest: u.rest, rowCount: u.rowCount, tagCount: u.tagCount}
	if u.err == nil {
		r.index(u.rows(), u.rowCount)
	}
	if u.err != nil {
		return nil, u.err
	}
	return r, nil
}

// rows yields the rows, which must be all that is left. It consumes a copy of u, so that it can be called again; the error of the pass
// is left in u.
func (u *unpacker) rows() iter.Seq[row] {
	return func(yield func(row) bool) {
		c := *u
		defer func() { u.err = c.err }()
		var last row
		for i := range u.rowCount {
			head := c.bytes(2)
			x := row{bits: head[1]}
			shared, n := int(head[0]), (int(x.bits)+7)/8
			if shared > n || n > len(x.ip) {
				c.fail()
				return
			}
			x.ip = last.ip
			clear(x.ip[shared+copy(x.ip[shared:], c.bytes(n-shared)):])
			tag := c.uvarint(maxTags - 1)
			if c.err == nil && (tag >= u.tagCount || i > 0 && last.compare(row{x.ip, x.bits, uint16(tag)}) >= 0) {
				c.fail()
			}
			if c.err != nil {
				return
			}
			x.tag = uint16(tag)
			if !yield(x) {
				return
			}
			last = x
		}
		if len(c.rest) != 0 {
			c.fail()
		}
	}
}

func (u *unpacker) fail() {
	if u.err == nil {
		u.err = fmt.Errorf("%w, %d bytes before the end", errPacked, len(u.rest))
	}
}

// bytes takes n bytes; after an error, or when there are fewer, it returns zeros.
func (u *unpacker) bytes(n int) []byte {
	if u.err != nil || n > len(u.rest) {
		u.fail()
		return make([]byte, n)
	}
	b := u.rest[:n:n]
	u.rest = u.rest[n:]
	return b
}

// uvarint takes a number up to most; after an error it returns 0.
func (u *unpacker) uvarint(most int) int {
	v, n := binary.Uvarint(u.rest)
	if u.err != nil || n <= 0 || v > uint64(most) {
		u.fail()
		return 0
	}
	u.rest = u.rest[n:]
	return int(v)
}

func (u *unpacker) text() string { return string(u.bytes(u.uvarint(maxNameLen))) }
