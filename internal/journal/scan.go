package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// MaxRecord is how many bytes a record may have. A longer line is damage.
const MaxRecord = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcSize is the checksum in hex and a space.
const crcSize = 9

// appendLine adds a record as a line. Records are JSON of one line.
func appendLine(b, record []byte) []byte {
	b = appendSum(b, record)
	b = append(b, ' ')
	b = append(b, record...)
	return append(b, '\n')
}

func appendSum(b, record []byte) []byte {
	var sum [crc32.Size]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(record, castagnoli))
	return hex.AppendEncode(b, sum[:])
}

// record takes a line apart; ok is false if its checksum does not hold.
func record(line []byte) (r []byte, ok bool) {
	if len(line) < crcSize || line[crcSize-1] != ' ' {
		return nil, false
	}
	r = line[crcSize:]
	var sum [crcSize]byte
	return r, bytes.Equal(appendSum(sum[:0], r), line[:crcSize-1])
}

// ForeignError says that a file is another kind of journal, or of another version of the program.
type ForeignError struct {
	Kind, WantKind     string
	Schema, WantSchema int
}

func (e *ForeignError) Error() string {
	if e.Kind != e.WantKind {
		return fmt.Sprintf("it is a journal of %q, not of %q", e.Kind, e.WantKind)
	}
	return fmt.Sprintf("it has schema %d, this program reads schema %d", e.Schema, e.WantSchema)
}

// Found is what reading a journal met.
type Found struct {
	// Records were read; Damaged lines were not.
	Records, Damaged int
	end              int64 // of the last whole line
	torn             int64 // bytes behind it
}

// Read calls f with each record of a journal, which is valid until f returns. It takes no lock: somebody may be writing. What is damaged
// is left out and counted; a torn end is not counted, because the writer may be at it.
func Read(path, kind string, schema int, f func(record []byte) error) (Found, error) {
	file, err := os.Open(path)
	if err != nil {
		return Found{}, err
	}
	defer file.Close()
	got, err := scan(file, kind, schema, f)
	if err != nil {
		return got, fmt.Errorf("%s: %w", path, err)
	}
	return got, nil
}

// scan reads lines. Damage counts only once a good line follows it: without one it is the torn end of an append.
func scan(r io.Reader, kind string, schema int, f func([]byte) error) (Found, error) {
	var got Found
	in := bufio.NewReaderSize(r, 64<<10)
	var at int64
	first, bad := true, 0
	for {
		line, length, err := readLine(in)
		at += length
		if err != nil && !errors.Is(err, io.EOF) {
			return got, err
		}
		if errors.Is(err, io.EOF) { // no newline: the end, or the torn end
			break
		}
		rec, ok := record(line)
		if !ok {
			bad++
			continue
		}
		got.Damaged, bad = got.Damaged+bad, 0
		got.end = at
		if first {
			first = false
			var h header
			if json.Unmarshal(rec, &h) == nil && h.Journal != "" {
				if h.Journal != kind || h.Schema != schema {
					return got, &ForeignError{h.Journal, kind, h.Schema, schema}
				}
				continue
			}
			got.Damaged++ // the header is gone, but what follows may be read
		}
		if f(rec) != nil {
			got.Damaged++
			continue
		}
		got.Records++
	}
	got.torn = at - got.end
	if first && at > 0 { // not one good line: that is no torn end
		got.Damaged, got.torn = max(bad, 1), 0
	}
	return got, nil
}

// readLine returns the next line without its newline; nil, with its length, if it is longer than any record.
func readLine(in *bufio.Reader) (line []byte, length int64, err error) {
	for {
		part, err := in.ReadSlice('\n')
		length += int64(len(part))
		if length <= MaxRecord+crcSize+1 {
			line = append(line, part...)
		} else {
			line = nil
		}
		switch {
		case err == nil:
			if line == nil {
				return nil, length, nil
			}
			return line[:len(line)-1], length, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, length, err
		}
	}
}
