package httpwire

import (
	"bytes"
	"slices"
)

const (
	// maxTableBody is how much of a body is looked at for table names. SDKs that sort members put TableName behind a large Item;
	// such a name is missed, which is the price of the bound.
	maxTableBody = 4 << 10
	// maxTables is how many names one request may give; BatchGetItem and transactions allow 100.
	maxTables = 100
)

// tableCollector holds the front of one request body while it is read, and clears it afterwards: it is customer data.
type tableCollector struct {
	active bool
	body   []byte
}

func (t *tableCollector) start() { t.active, t.body = true, t.body[:0] }

func (t *tableCollector) stop() {
	t.active = false
	clear(t.body)
	t.body = t.body[:0]
}

// add takes content, and reports whether it has enough.
func (t *tableCollector) add(b []byte) (full bool) {
	t.body = append(t.body, b[:min(len(b), maxTableBody-len(t.body))]...)
	return len(t.body) == maxTableBody
}

// read puts the names into r and reports whether there are any. It ends the collecting.
func (t *tableCollector) read(r *Request) bool {
	if !t.active {
		return false
	}
	readTables(t.body, func(name []byte) {
		if len(r.Tables) < maxTables && !slices.Contains(r.Tables, string(name)) {
			r.Tables = append(r.Tables, string(name))
		}
	})
	t.stop()
	return len(r.Tables) > 0
}

// readTables finds table names in the front of a DynamoDB JSON request: the top-level TableName, the keys of RequestItems, and
// TransactItems[].*.TableName. Everything else, item data above all, is stepped over. It stops at the first thing it cannot read.
func readTables(body []byte, add func(name []byte)) {
	j := jsonReader{b: body}
	name := func(s []byte) {
		if n := tableName(s); n != nil {
			add(n)
		}
	}
	tableNameMember := func(key []byte) bool {
		if string(key) == "TableName" {
			s, ok := j.str()
			name(s)
			return ok
		}
		return j.skip()
	}
	j.members(func(key []byte) bool {
		switch string(key) {
		case "RequestItems":
			return j.members(func(key []byte) bool {
				name(key)
				return j.skip()
			})
		case "TransactItems":
			return j.elements(func() bool {
				return j.members(func([]byte) bool { return j.members(tableNameMember) })
			})
		}
		return tableNameMember(key)
	})
}

// tableName is the name itself: 3 to 255 of [A-Za-z0-9_.-], or the part behind table/ of an ARN, whose account id is not kept. nil if it is neither.
func tableName(s []byte) []byte {
	if bytes.HasPrefix(s, []byte("arn:")) {
		_, rest, _ := bytes.Cut(s, []byte(":table/"))
		s, _, _ = bytes.Cut(rest, []byte{'/'})
	}
	if len(s) < 3 || len(s) > 255 {
		return nil
	}
	for _, x := range s {
		if (x|0x20 < 'a' || x|0x20 > 'z') && (x < '0' || x > '9') && x != '_' && x != '.' && x != '-' {
			return nil
		}
	}
	return s
}

// jsonReader steps through JSON text without building values. Every method reports false at malformed or truncated text. Values are
// stepped over by counting brackets, so nesting costs no stack.
type jsonReader struct {
	b []byte
	i int
}

// peek is the next byte that is no white space, 0 at the end.
func (j *jsonReader) peek() byte {
	for ; j.i < len(j.b); j.i++ {
		switch j.b[j.i] {
		case ' ', '\t', '\r', '\n':
		default:
			return j.b[j.i]
		}
	}
	return 0
}

func (j *jsonReader) accept(b byte) bool {
	if j.peek() != b {
		return false
	}
	j.i++
	return true
}

// str reads a string and returns its raw content, escapes undone by nobody.
func (j *jsonReader) str() ([]byte, bool) {
	if !j.accept('"') {
		return nil, false
	}
	for start := j.i; j.i < len(j.b); j.i++ {
		switch j.b[j.i] {
		case '\\':
			j.i++
		case '"':
			j.i++
			return j.b[start : j.i-1], true
		}
	}
	return nil, false
}

// members reads an object; each is called in front of a member's value and must read it.
func (j *jsonReader) members(each func(key []byte) bool) bool {
	if !j.accept('{') {
		return false
	}
	if j.accept('}') {
		return true
	}
	for {
		key, ok := j.str()
		if !ok || !j.accept(':') || !each(key) {
			return false
		}
		if !j.accept(',') {
			return j.accept('}')
		}
	}
}

// elements reads an array.
func (j *jsonReader) elements(each func() bool) bool {
	if !j.accept('[') {
		return false
	}
	if j.accept(']') {
		return true
	}
	for {
		if !each() {
			return false
		}
		if !j.accept(',') {
			return j.accept(']')
		}
	}
}

// skip steps over one value.
func (j *jsonReader) skip() bool {
	depth := 0
	for {
		switch b := j.peek(); b {
		case 0:
			return false
		case '"':
			if _, ok := j.str(); !ok {
				return false
			}
		case '{', '[':
			depth++
			j.i++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return false
			}
			j.i++
		case ',', ':':
			if depth == 0 {
				return false
			}
			j.i++
			continue
		default: // number, true, false, null
			for j.i < len(j.b) && bytes.IndexByte([]byte(" \t\r\n,:{}[]\""), j.b[j.i]) < 0 {
				j.i++
			}
		}
		if depth == 0 {
			return true
		}
	}
}
