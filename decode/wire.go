package decode

import (
	"errors"
	"fmt"
)

// Wire types of the protobuf encoding.
const (
	wireVarint     = 0
	wireFixed64    = 1
	wireBytes      = 2
	wireStartGroup = 3
	wireEndGroup   = 4
	wireFixed32    = 5
)

// What stands in place of the next position where there is none.
const (
	truncated = -1 - iota
	overlong
	illegal
)

// reader walks the fields of one protobuf message:
//
//	for r.next() {
//		switch r.field {
//		case 1:
//			name = string(r.bytes())
//		}
//	}
//	return r.err
//
// It accepts what the decoders accept that gogo/protobuf generates for Kubernetes (generated.pb.go, skipGenerated), and
// reads the same from it. Package protowire does not: it refuses a tenth varint byte above 1, field numbers beyond
// 32 bits, and a group whose end has another number than its start.
type reader struct {
	buf    []byte
	field  int32
	wire   int
	number uint64 // value of a varint
	start  int    // where the value begins
	pos    int    // where it ends and the next field begins
	err    error  // the first error; after it there are no more fields
}

// next reads the next field. It returns false at the end of the message or after an error.
func (r *reader) next() bool {
	if r.err != nil || r.pos >= len(r.buf) {
		return false
	}
	tag, pos := varint(r.buf, r.pos)
	field, wire := int32(tag>>3), int(tag&7)
	if pos >= 0 && field <= 0 {
		pos = illegal
	}
	r.field, r.wire = field, wire
	r.start = pos
	switch {
	case pos < 0:
	case wire == wireVarint:
		r.number, pos = varint(r.buf, pos)
	case wire == wireBytes:
		r.start, pos = chunk(r.buf, pos)
	default:
		pos = skip(r.buf, pos, wire)
	}
	if pos < 0 {
		r.fail(pos)
		return false
	}
	r.pos = pos
	return true
}

// bytes returns the value of a length-delimited field: bytes, a message, or a string, valid UTF-8 or not. It aliases the
// message.
func (r *reader) bytes() []byte {
	if !r.is(wireBytes) {
		return nil
	}
	return r.buf[r.start:r.pos]
}

// uint64 returns the value of a varint field.
func (r *reader) uint64() uint64 {
	if !r.is(wireVarint) {
		return 0
	}
	return r.number
}

// entry returns key and value of a map<string, string> field. They alias the message. As in the generated decoders it is
// the message around the entry that bounds them, and their wire types are not looked at.
func (r *reader) entry() (key, value []byte) {
	if !r.is(wireBytes) {
		return nil, nil
	}
	for pos := r.start; pos < r.pos; {
		tag, start := varint(r.buf, pos)
		if start < 0 {
			r.fail(start)
			return nil, nil
		}
		switch int32(tag >> 3) {
		case 1:
			if start, pos = chunk(r.buf, start); pos >= 0 {
				key = r.buf[start:pos]
			}
		case 2:
			if start, pos = chunk(r.buf, start); pos >= 0 {
				value = r.buf[start:pos]
			}
		default:
			if pos = skip(r.buf, start, int(tag&7)); pos > r.pos {
				pos = truncated
			}
		}
		if pos < 0 {
			r.fail(pos)
			return nil, nil
		}
	}
	return key, value
}

// message takes over the error, if any, of decoding the current field as a message.
func (r *reader) message(name string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
}

// is checks the wire type of the current field.
func (r *reader) is(wire int) bool {
	if r.wire != wire {
		r.err = fmt.Errorf("field %d: wire type %d, want %d", r.field, r.wire, wire)
	}
	return r.err == nil
}

func (r *reader) fail(pos int) {
	switch pos {
	case truncated:
		r.err = errors.New("ends in the middle of a field")
	case overlong:
		r.err = errors.New("varint of more than ten bytes")
	default:
		r.err = fmt.Errorf("field %d: illegal tag", r.field)
	}
}

// skip returns the position after a value of the given wire type, a group with all that is in it included.
func skip(buf []byte, pos, wire int) int {
	for depth := 0; ; {
		switch wire {
		case wireVarint:
			_, pos = varint(buf, pos)
		case wireFixed64:
			pos += 8
		case wireBytes:
			_, pos = chunk(buf, pos)
		case wireStartGroup:
			depth++
		case wireEndGroup:
			depth--
		case wireFixed32:
			pos += 4
		default:
			return illegal
		}
		switch {
		case pos < 0:
			return pos
		case pos > len(buf):
			return truncated
		case depth < 0:
			return illegal
		case depth == 0:
			return pos
		}
		var tag uint64
		if tag, pos = varint(buf, pos); pos < 0 {
			return pos
		}
		wire = int(tag & 7)
	}
}

// chunk returns where the length-delimited value at pos starts and ends.
func chunk(buf []byte, pos int) (start, end int) {
	n, start := varint(buf, pos)
	if start < 0 {
		return start, start
	}
	if n > uint64(len(buf)-start) {
		return truncated, truncated
	}
	return start, start + int(n)
}

// varint returns the varint at pos and the position after it. It is small enough to be inlined, for the usual case of one
// byte.
func varint(buf []byte, pos int) (v uint64, next int) {
	if pos < len(buf) && buf[pos] < 0x80 {
		return uint64(buf[pos]), pos + 1
	}
	return longVarint(buf, pos)
}

// longVarint reads up to ten bytes. Bits beyond the 64th are dropped.
func longVarint(buf []byte, pos int) (v uint64, next int) {
	for shift := 0; shift < 64; shift += 7 {
		if pos >= len(buf) {
			return 0, truncated
		}
		v |= uint64(buf[pos]&0x7f) << shift
		pos++
		if buf[pos-1] < 0x80 {
			return v, pos
		}
	}
	return 0, overlong
}
