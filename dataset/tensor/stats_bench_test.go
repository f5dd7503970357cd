package tensor

import "testing"

// BenchmarkStats is what statistics cost an append, a byte.
func BenchmarkStats(b *testing.B) {
	for _, t := range []DType{Uint8, Int8, Int64, Float16, Float32, Float64} {
		b.Run(t.String(), func(b *testing.B) {
			c := &Column{Layout: Fixed, DType: t, Shape: []uint64{1024}}
			v := make([]byte, 256*c.ItemSize())
			for i := range v {
				v[i] = byte(i * 7)
			}
			b.SetBytes(int64(len(v)))
			for b.Loop() {
				statsOf(c, &Data{Values: v}, 256)
			}
		})
	}
}
