package flight

import flatbuffers "github.com/google/flatbuffers/go"

// recordHeader is an Arrow record batch under construction: its metadata, and
// its body by reference. arrow/go writes such metadata only for arrays that it
// has, and pads buffers to 8 bytes; here they are padded to 64.
type recordHeader struct {
	rows    int64
	nodes   [][2]int64 // length and null count of a field
	buffers [][2]int64 // offset in the body and length of a buffer
	body    [][]byte
	size    int64 // of the body
}

func (r *recordHeader) node(length, nulls int64) {
	r.nodes = append(r.nodes, [2]int64{length, nulls})
}

var padding [64]byte

func (r *recordHeader) buffer(b []byte) {
	r.buffers = append(r.buffers, [2]int64{r.size, int64(len(b))})
	if len(b) == 0 {
		return
	}
	r.body = append(r.body, b)
	r.size += int64(len(b))
	if pad := -r.size & 63; pad > 0 {
		r.body = append(r.body, padding[:pad])
		r.size += pad
	}
}

// Values of Arrow's Message.fbs and Schema.fbs.
const (
	metadataV5        = 4
	headerRecordBatch = 3
)

// encode writes the Message: {version, header_type, header: RecordBatch
// {length, nodes, buffers}, bodyLength}.
func (r *recordHeader) encode() []byte {
	b := flatbuffers.NewBuilder(256 + 16*(len(r.nodes)+len(r.buffers)))
	vector := func(pairs [][2]int64) flatbuffers.UOffsetT {
		b.StartVector(16, len(pairs), 8)
		for i := len(pairs) - 1; i >= 0; i-- {
			b.Prep(8, 16)
			b.PrependInt64(pairs[i][1])
			b.PrependInt64(pairs[i][0])
		}
		return b.EndVector(len(pairs))
	}
	nodes, buffers := vector(r.nodes), vector(r.buffers)
	b.StartObject(4)
	b.PrependInt64Slot(0, r.rows, 0)
	b.PrependUOffsetTSlot(1, nodes, 0)
	b.PrependUOffsetTSlot(2, buffers, 0)
	batch := b.EndObject()
	b.StartObject(5)
	b.PrependInt64Slot(3, r.size, 0)
	b.PrependUOffsetTSlot(2, batch, 0)
	b.PrependInt16Slot(0, metadataV5, 0)
	b.PrependByteSlot(1, headerRecordBatch, 0)
	b.Finish(b.EndObject())
	return b.FinishedBytes()
}
