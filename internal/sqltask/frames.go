// Package sqltask is what the server and the process that runs an SQL statement
// say to each other: frames of two lengths (u32, little-endian), a message, and the
// payload of a result, which the message is without; two of daos.query.v1.SqlTask in, SqlReply messages out, the last of them done, a plan,
// or an error. The first task has what a statement may use, so that the process is
// ready when the second comes, which may be minutes later.
//
// It is all that the server knows of that process; internal/sqlworker is the
// other side.
package sqltask

import (
	"encoding/binary"
	"io"
	"strings"

	"google.golang.org/protobuf/proto"

	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
)

// Command is the hidden command of the binary that is that process.
const Command = "sql-worker"

// ReadingFile is the file in its folder with the names of the Parquet files that
// it has open: what it died of, perhaps.
const ReadingFile = "reading"

// Names of the process, as `ps` shows them: before it has its statement, and then.
const (
	NameSpare = "daos-sql-spare"
	NameBusy  = "daos-sql"
)

const scanLabel = "scan of statement "

// ScanLabel is what a scan of a statement is called among the queries that run.
func ScanLabel(query string) string { return scanLabel + query }

// ScanOf is the statement that a scan of this label belongs to.
func ScanOf(label string) (query string, ok bool) { return strings.CutPrefix(label, scanLabel) }

const (
	headSize = 8
	// maxFrame bounds one message: a record batch with its longest row.
	maxFrame = 1 << 30
)

// WriteFrame writes one message. The payload of a result is not copied.
func WriteFrame(w io.Writer, m proto.Message) error {
	var payload []byte
	if batch := batchOf(m); batch != nil && len(batch.Payload) > 0 {
		payload, batch.Payload = batch.Payload, nil
		defer func() { batch.Payload = payload }()
	}
	b := make([]byte, headSize, headSize+proto.Size(m))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return fault.New(fault.Internal, "query.sql", "reply", "it can't be written").Because(err)
	}
	if max(len(b)-headSize, len(payload)) > maxFrame {
		return fault.New(fault.TooBig, "query.sql", "result", "a part of it has %d bytes", len(b)-headSize+len(payload)).Do("select fewer columns")
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-headSize))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(payload)))
	if _, err = w.Write(b); err == nil && len(payload) > 0 {
		_, err = w.Write(payload)
	}
	return err
}

// batchOf is the part of a result that a message is, nil if it is none.
func batchOf(m proto.Message) *queryv1.SqlResponse {
	r, _ := m.(*queryv1.SqlReply)
	return r.GetBatch()
}

// ReadFrame reads one message; io.EOF at the end of the stream.
func ReadFrame(r io.Reader, m proto.Message) error {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n, size := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	if max(n, size) > maxFrame {
		return fault.New(fault.Internal, "query.sql", "reply", "a message of %d bytes", max(n, size))
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return io.ErrUnexpectedEOF
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fault.New(fault.Internal, "query.sql", "reply", "it can't be read").Because(err)
	}
	if size == 0 {
		return nil
	}
	batch := batchOf(m)
	if batch == nil {
		return fault.New(fault.Internal, "query.sql", "reply", "bytes of no result")
	}
	batch.Payload = make([]byte, size)
	if _, err := io.ReadFull(r, batch.Payload); err != nil {
		return io.ErrUnexpectedEOF
	}
	return nil
}
