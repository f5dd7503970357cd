package cli_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// writeNpy writes a .npy file of int32 numbers 0, 1, 2, ... of a shape.
func (w *world) writeNpy(name string, shape []int) {
	w.t.Helper()
	dims, n := "", 1
	for _, d := range shape {
		dims += fmt.Sprintf("%d, ", d)
		n *= d
	}
	head := fmt.Sprintf("{'descr': '<i4', 'fortran_order': False, 'shape': (%s), }", dims)
	head += strings.Repeat(" ", 63-(len(head)+10)%64) + "\n"
	var b bytes.Buffer
	b.WriteString("\x93NUMPY\x01\x00")
	_ = binary.Write(&b, binary.LittleEndian, uint16(len(head))) // a buffer takes everything
	b.WriteString(head)
	for i := range n {
		_ = binary.Write(&b, binary.LittleEndian, int32(i))
	}
	if err := os.WriteFile(w.path(name), b.Bytes(), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// randomIndex is the text of an index along an axis, its positions, and whether
// the axis stays.
func randomIndex(rng *rand.Rand, n int) (text string, at []int, stays bool) {
	if rng.IntN(4) == 0 {
		i := rng.IntN(n)
		if rng.IntN(2) == 0 {
			return fmt.Sprint(i - n), []int{i}, false
		}
		return fmt.Sprint(i), []int{i}, false
	}
	from, to, step := 0, n, 1
	bound := func(v *int) string {
		if rng.IntN(3) == 0 {
			return ""
		}
		b := rng.IntN(2*n+3) - n - 1
		if *v = b; b < 0 {
			*v = b + n
		}
		*v = min(max(*v, 0), n)
		return fmt.Sprint(b)
	}
	text = bound(&from) + ":" + bound(&to)
	if rng.IntN(2) == 0 {
		step = 1 + rng.IntN(n+1)
		text += fmt.Sprintf(":%d", step)
	}
	for i := from; i < to; i += step {
		at = append(at, i)
	}
	return text, at, true
}

// Random slices of an array and of a tensor column give the elements that the
// same text names, in C order.
func TestQuerySlice_Random(t *testing.T) {
	rng := seeded(t)
	w := newWorld(t)
	w.serve()
	w.must("pool", "create", "p")
	shape := []int{4 + rng.IntN(9), 2 + rng.IntN(6), 1 + rng.IntN(5)}
	w.writeNpy("x.npy", shape)
	w.must("array", "import", "x.npy", "p/a/x", "--chunks", "3,2,4", "-q")
	w.must("tensor", "import", "x.npy", "p/t", "--create", "--column", "x", "-q")
	for range 25 {
		texts, at, stays := make([]string, 3), make([][]int, 3), make([]bool, 3)
		for d, n := range shape {
			texts[d], at[d], stays[d] = randomIndex(rng, n)
		}
		text := "[" + strings.Join(texts, ", ") + "]"
		var rows, samples strings.Builder
		for _, i := range at[0] {
			var cell []any
			for _, j := range at[1] {
				var line []any
				for _, k := range at[2] {
					v := (i*shape[1]+j)*shape[2] + k
					for d, x := range []int{i, j, k} {
						if stays[d] {
							fmt.Fprintf(&rows, "%d,", x)
						}
					}
					fmt.Fprintf(&rows, "%d\n", v)
					line = append(line, v)
				}
				if stays[2] {
					cell = append(cell, line)
				} else {
					cell = append(cell, line...)
				}
			}
			var v any = cell
			if !stays[1] {
				v = cell[0]
			}
			b, err := json.Marshal(map[string]any{"_id": i, "x": v})
			if err != nil {
				t.Fatal(err)
			}
			samples.Write(append(b, '\n'))
		}
		got := w.must("query", "slice", "p/a/x"+text, "--format", "csv", "-q")
		_, body, _ := strings.Cut(got, "\n")
		if body != rows.String() {
			t.Errorf("%s of an array of shape %v:\n%s\nnot\n%s", text, shape, body, rows.String())
		}
		if len(at[1])*len(at[2]) == 0 {
			continue // a column of nothing has no form
		}
		got = strings.NewReplacer(" ", "").Replace(w.must("query", "slice", "p/t/x"+text, "--format", "ndjson", "-q"))
		if got != samples.String() {
			t.Errorf("%s of samples of shape %v:\n%s\nnot\n%s", text, shape, got, samples.String())
		}
	}
}
