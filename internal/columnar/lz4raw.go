package columnar

import (
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/pierrec/lz4/v4"
)

// lz4Raw is the codec that writers mean by "lz4" today (LZ4_RAW of the Parquet
// format: one block without a frame), which Arrow v17 has not. It only reads.
type lz4Raw struct{ compress.Codec }

// lz4RawCode is its number in the format.
const lz4RawCode = 7

// knowLZ4 makes the codec known to Arrow, once.
var knowLZ4 = sync.OnceFunc(func() { compress.RegisterCodec(compress.Compression(lz4RawCode), lz4Raw{}) })

// Decode implements compress.Codec; dst has the length of what is compressed.
func (lz4Raw) Decode(dst, src []byte) []byte {
	n, err := lz4.UncompressBlock(src, dst)
	if err != nil {
		panic(fmt.Errorf("lz4: %w", err))
	}
	return dst[:n]
}

// NewReader implements compress.Codec; blocks are not read as streams.
func (lz4Raw) NewReader(r io.Reader) io.ReadCloser { return io.NopCloser(r) }
