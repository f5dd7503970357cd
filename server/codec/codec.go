package codec

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the stock codec, for everything else
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"

	"daos/internal/bufpool"
)

// Codec implements encoding.CodecV2.
type Codec struct{ stock encoding.CodecV2 }

// New returns a Codec.
func New() *Codec { return &Codec{stock: encoding.GetCodecV2("proto")} }

// Name is that of the stock codec, so that clients see no difference.
func (c *Codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (c *Codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*Message); ok {
		return m.buffers(), nil
	}
	return c.stock.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c *Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *flight.FlightData:
		return readFlightData(data, m)
	case *Message:
		return fmt.Errorf("codec: a Message can only be sent")
	}
	return c.stock.Unmarshal(data, v)
}

// InstallPool makes gRPC take its buffers from a pool that does not clear them,
// in the whole process, and returns the pool for ServerOptions. gRPC allows it
// only before any server or client exists: main calls it first.
func InstallPool() *bufpool.Pool {
	p := new(bufpool.Pool)
	experimental.SetDefaultBufferPool(p)
	return p
}

// ServerOptions make a gRPC server use a Codec and the pool, with the buffer
// and message sizes that suit record batches.
func ServerOptions(p *bufpool.Pool) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(New()),
		experimental.BufferPool(p),
		grpc.WriteBufferSize(512 << 10),
		grpc.ReadBufferSize(128 << 10),
		grpc.MaxRecvMsgSize(MaxReceive),
		grpc.MaxSendMsgSize(MaxReceive),
	}
}

// MaxReceive is the largest message that the server takes. gRPC's own default,
// 4 MiB, is what uploads of C++ clients meet first, which have no limit.
const MaxReceive = 64<<20 + 1<<20
