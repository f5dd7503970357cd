package tensorarrow

import (
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"

	"daos/dataset/tensor"
	"daos/internal/fault"
)

// Slots of Arrow's flatbuffer tables (Message.fbs, Schema.fbs), as vtable offsets.
const (
	messageHeaderType = 6
	messageHeader     = 8
	messageBody       = 10
	schemaFields      = 6
	schemaMetadata    = 8
	fieldName         = 4
	fieldTypeKind     = 8
	fieldType         = 10
	fieldDictionary   = 12
	fieldChildren     = 14
	fieldMetadata     = 16
	pairKey           = 4
	pairValue         = 6
	timestampZone     = 6
)

// Values of MessageHeader and Type that are let through.
const headerSchema, headerRecordBatch = 1, 3

var typeKinds = map[byte]bool{
	2: true, 3: true, 4: true, 5: true, 6: true, // Int, FloatingPoint, Binary, Utf8, Bool
	12: true, 15: true, 16: true, // List, FixedSizeBinary, FixedSizeList
	19: true, 20: true, 21: true, // LargeBinary, LargeUtf8, LargeList
}

const kindTimestamp = 10

// elementKinds are further types of fixed width, which elements of arrays have.
var elementKinds = map[byte]bool{
	7: true, 8: true, 9: true, kindTimestamp: true, 11: true, 18: true, // Decimal, Date, Time, Timestamp, Interval, Duration
}

// checkMessage looks at the metadata of a message before Arrow's reader does,
// and returns the length of its body. That reader believes the lengths of
// vectors, and a flatbuffer may share tables and strings, so that a small one
// describes a schema of exponential size: everything in a schema is counted
// here first. A malformed one panics; the caller recovers.
func checkMessage(meta []byte, elements bool) (body int64, err error) {
	t := flatbuffers.Table{Bytes: meta, Pos: flatbuffers.GetUOffsetT(meta)}
	if o := t.Offset(messageBody); o != 0 {
		body = t.GetInt64(t.Pos + flatbuffers.UOffsetT(o))
	}
	if body < 0 || body > maxBody {
		return 0, fault.New(fault.TooBig, "tensor.arrow", "arrow stream", "a message body of %d bytes, at most %d are allowed", body, maxBody).
			Do("send smaller record batches")
	}
	switch kind := byteAt(&t, messageHeaderType); kind {
	case headerRecordBatch:
		return body, nil
	case headerSchema:
		o := t.Offset(messageHeader)
		if o == 0 {
			return 0, invalid("arrow stream", "a message without a header")
		}
		var h flatbuffers.Table
		t.Union(&h, flatbuffers.UOffsetT(o))
		c := counter{tables: maxTables, bytes: maxMeta, elements: elements}
		c.metadata(&h, schemaMetadata)
		return body, c.fields(&h, schemaFields, 0)
	default:
		return 0, fault.New(fault.Unsupported, "tensor.arrow", "arrow stream", "a message of kind %d (dictionaries and other kinds are not taken)", kind).
			Do("send plain columns")
	}
}

// maxTables is how many fields and metadata entries a schema may have in all.
const maxTables = 16 * tensor.MaxColumns

// counter is what is left of the bounds on a schema.
type counter struct {
	tables, bytes int
	elements      bool // elementKinds are let through too
}

func byteAt(t *flatbuffers.Table, slot flatbuffers.VOffsetT) byte {
	if o := t.Offset(slot); o != 0 {
		return t.GetByte(t.Pos + flatbuffers.UOffsetT(o))
	}
	return 0
}

func (c *counter) spend(tables, bytes int) {
	c.tables -= tables
	c.bytes -= bytes
	if tables < 0 || bytes < 0 || c.tables < 0 || c.bytes < 0 {
		panic(fault.New(fault.TooBig, "tensor.arrow", "arrow stream", "a schema of more than %d fields and metadata entries or %d bytes", maxTables, maxMeta))
	}
}

// text is a string of a table; its bytes are counted.
func (c *counter) text(t *flatbuffers.Table, slot flatbuffers.VOffsetT) []byte {
	o := t.Offset(slot)
	if o == 0 {
		return nil
	}
	b := t.ByteVector(t.Pos + flatbuffers.UOffsetT(o))
	c.spend(0, len(b))
	return b
}

// each calls fn for the tables of a vector.
func (c *counter) each(t *flatbuffers.Table, slot flatbuffers.VOffsetT, fn func(*flatbuffers.Table) error) error {
	o := t.Offset(slot)
	if o == 0 {
		return nil
	}
	n := t.VectorLen(flatbuffers.UOffsetT(o))
	c.spend(n, 0)
	for i := range n {
		at := t.Vector(flatbuffers.UOffsetT(o)) + flatbuffers.UOffsetT(4*i)
		if err := fn(&flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(at)}); err != nil {
			return err
		}
	}
	return nil
}

func (c *counter) metadata(t *flatbuffers.Table, slot flatbuffers.VOffsetT) {
	_ = c.each(t, slot, func(pair *flatbuffers.Table) error {
		c.text(pair, pairKey)
		c.text(pair, pairValue)
		return nil
	})
}

func (c *counter) fields(t *flatbuffers.Table, slot flatbuffers.VOffsetT, depth int) error {
	if depth > tensor.MaxDims+1 {
		return fault.New(fault.TooBig, "tensor.arrow", "arrow stream", "types nested deeper than %d", depth-1)
	}
	return c.each(t, slot, func(f *flatbuffers.Table) error {
		name := c.text(f, fieldName)
		kind := byteAt(f, fieldTypeKind)
		if known := typeKinds[kind] || c.elements && elementKinds[kind]; !known || f.Offset(fieldDictionary) != 0 {
			what := fmt.Sprintf("Arrow type number %d", kind)
			if f.Offset(fieldDictionary) != 0 {
				what = "a dictionary-encoded field"
			}
			return fault.New(fault.Unsupported, "tensor.arrow", fmt.Sprintf("field %q", name), "%s has no column type", what).
				Do("use bool, integers, floats, fixed_size_list or list of them, binary or utf8")
		}
		if o := f.Offset(fieldType); kind == kindTimestamp && o != 0 {
			var zone flatbuffers.Table
			f.Union(&zone, flatbuffers.UOffsetT(o))
			c.text(&zone, timestampZone)
		}
		c.metadata(f, fieldMetadata)
		return c.fields(f, fieldChildren, depth+1)
	})
}
