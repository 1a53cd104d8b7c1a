package filter

// A parsed expression is a tree of these nodes. Every node knows the byte offset that a message about it points at.

type node interface{ offset() int }

// position is embedded in every node.
type position int

func (p position) offset() int { return int(p) }

// bothNode is "left and right" or "left or right".
type bothNode struct {
	position
	or          bool
	left, right node
}

type notNode struct {
	position
	of node
}

// direction is the src/dst qualifier.
type direction uint8

const (
	dirDefault direction = iota // as dirOr
	dirSrc
	dirDst
	dirOr
	dirAnd
)

// qualifiers say what kind of thing an id is. Ids that follow "and" or "or" without their own inherit the last ones written.
type qualifiers struct {
	set   bool    // false: there is nothing to inherit
	proto keyword // a protocol, or keyNone
	dir   direction
	kind  keyword // keyHost, keyNet, keyPort, keyPortrange, keyProto, or keyNone, which means host
}

// idNode is one value with its qualifiers: "tcp dst port 443".
type idNode struct {
	position
	qual qualifiers
	id   token
	// prefix is the length after a slash, mask the address after "mask"; at most one of them.
	hasPrefix bool
	prefix    uint32
	mask      *token
	text      string // as written, with prefix or mask
}

// protoNode is a protocol that stands alone: "tcp".
type protoNode struct {
	position
	proto keyword
}

// castNode is "broadcast" or "multicast", of ether when proto is keyNone.
type castNode struct {
	position
	proto     keyword
	multicast bool
}

// lengthNode is "less N" (at most N bytes on the wire) or "greater N" (at least N).
type lengthNode struct {
	position
	greater bool
	n       uint32
}

// encapNode is vlan, mpls, pppoed or pppoes, with the tag, label or session that it asks for.
type encapNode struct {
	position
	key keyword
	has bool
	n   uint32
}

// relationNode compares two arithmetic expressions; op is one of > < >= <= = !=.
type relationNode struct {
	position
	op          string
	left, right arith
}

// Arithmetic.
type arith interface{ offset() int }

type numberArith struct {
	position
	n uint32
}

type lenArith struct{ position }

// binaryArith has op one of | & ^ << >> + - * / %.
type binaryArith struct {
	position
	op          string
	left, right arith
}

type negArith struct {
	position
	of arith
}

// indexArith is proto[at:size]; size is 1, 2 or 4 bytes.
type indexArith struct {
	position
	proto keyword
	at    arith
	size  uint8
}
