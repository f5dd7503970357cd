package tensortest

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"

	"daos/dataset/tensor"
)

// Source makes a Source of pieces.
func Source(pieces ...*tensor.Rows) tensor.Source { return &pieceSource{pieces} }

type pieceSource struct{ rest []*tensor.Rows }

func (s *pieceSource) Next(context.Context) (*tensor.Rows, error) {
	if len(s.rest) == 0 {
		return nil, io.EOF
	}
	r := s.rest[0]
	s.rest = s.rest[1:]
	return r, nil
}

// Cells is one column as a list of samples; nil is null.
type Cells [][]byte

// Pack makes Data of cells.
func Pack(c *tensor.Column, cells Cells) tensor.Data {
	var d tensor.Data
	if c.Layout != tensor.Fixed {
		d.Offsets = []uint64{0}
	}
	for i, v := range cells {
		null := v == nil
		if null && d.Valid == nil {
			d.Valid = make([]byte, len(cells))
			for k := range d.Valid {
				d.Valid[k] = 1
			}
		}
		if null {
			d.Valid[i] = 0
			if c.Layout == tensor.Fixed {
				v = make([]byte, c.ItemSize())
			}
		}
		d.Values = append(d.Values, v...)
		if c.Layout != tensor.Fixed {
			d.Offsets = append(d.Offsets, uint64(len(d.Values)))
		}
	}
	return d
}

// Unpack is the inverse of Pack for n rows.
func Unpack(c *tensor.Column, d *tensor.Data, n int) Cells {
	out := make(Cells, n)
	for i := range out {
		if d.Valid != nil && d.Valid[i] == 0 {
			continue
		}
		if c.Layout == tensor.Fixed {
			s := c.ItemSize()
			out[i] = d.Values[i*s : (i+1)*s]
		} else {
			out[i] = d.Values[d.Offsets[i]:d.Offsets[i+1]:d.Offsets[i+1]]
		}
		if out[i] == nil {
			out[i] = []byte{}
		}
	}
	return out
}

// PackRows makes Rows of one list of cells a column, all of equal length.
func PackRows(cols []tensor.Column, cells []Cells) *tensor.Rows {
	r := &tensor.Rows{Columns: make([]tensor.Data, len(cols))}
	for i := range cols {
		r.N = len(cells[i])
		r.Columns[i] = Pack(&cols[i], cells[i])
	}
	return r
}

// RandomCells makes n samples of a column, with the values that go wrong most
// easily among them: NaN, infinities, -0, nulls, empty samples, long strings of
// several alphabets, runs of 0xff.
func RandomCells(rng *rand.Rand, c *tensor.Column, n int) Cells {
	out := make(Cells, n)
	for i := range out {
		if c.Nullable && rng.IntN(5) == 0 {
			continue
		}
		switch c.Layout {
		case tensor.Fixed:
			out[i] = randomElements(rng, c.DType, c.ItemSize()/c.DType.Size())
		case tensor.Ragged:
			out[i] = randomElements(rng, c.DType, rng.IntN(20))
		case tensor.Bytes:
			out[i] = make([]byte, rng.IntN(150))
			for k := range out[i] {
				out[i][k] = byte(rng.Uint32())
				if rng.IntN(3) > 0 {
					out[i][k] = 0xff
				}
			}
		case tensor.String:
			letters := []rune("aZ09 äß€漢😀")
			v := []byte{}
			for k := rng.IntN(60); k > 0; k-- {
				v = append(v, string(letters[rng.IntN(len(letters))])...)
			}
			out[i] = v
		}
	}
	return out
}

func randomElements(rng *rand.Rand, t tensor.DType, n int) []byte {
	b := make([]byte, 0, n*t.Size())
	for ; n > 0; n-- {
		v := rng.Uint64()
		if rng.IntN(2) == 0 {
			v %= 7
		}
		switch t {
		case tensor.Bool:
			v %= 2
		case tensor.Float16:
			v = uint64([]uint16{0x7e00, 0x7c00, 0xfc00, 0x8000, 0, 1, 0x3c00, 0xbc00, uint16(v) & 0x7bff}[rng.IntN(9)])
		case tensor.Float32:
			f := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.Copysign(0, -1)), 0, float32(rng.NormFloat64())}[rng.IntN(6)]
			v = uint64(math.Float32bits(f))
		case tensor.Float64:
			f := []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0, rng.NormFloat64()}[rng.IntN(6)]
			v = math.Float64bits(f)
		}
		var e [8]byte
		binary.LittleEndian.PutUint64(e[:], v)
		b = append(b, e[:t.Size()]...)
	}
	return b
}
