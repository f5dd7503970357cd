// Package sqltask is what the server and the process that runs an SQL statement
// say to each other: frames of a length (u32, little-endian) and a message, two of
// daos.query.v1.SqlTask in, SqlReply messages out, the last of them done, a plan,
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

// maxFrame bounds one message: a record batch with its longest row.
const maxFrame = 1 << 30

// WriteFrame writes one message.
func WriteFrame(w io.Writer, m proto.Message) error {
	b := make([]byte, 4, 4+proto.Size(m))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return fault.New(fault.Internal, "query.sql", "reply", "it can't be written").Because(err)
	}
	if len(b)-4 > maxFrame {
		return fault.New(fault.TooBig, "query.sql", "result", "a part of it has %d bytes", len(b)-4).Do("select fewer columns")
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	_, err = w.Write(b)
	return err
}

// ReadFrame reads one message; io.EOF at the end of the stream.
func ReadFrame(r io.Reader, m proto.Message) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxFrame {
		return fault.New(fault.Internal, "query.sql", "reply", "a message of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return io.ErrUnexpectedEOF
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fault.New(fault.Internal, "query.sql", "reply", "it can't be read").Because(err)
	}
	return nil
}
