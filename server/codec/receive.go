package codec

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// readFlightData reads a FlightData with one copy of its body, into memory that
// is the message's own. The stock codec joins the frames in one copy and takes
// the body out in another.
func readFlightData(data mem.BufferSlice, into *flight.FlightData) error {
	into.Reset()
	r := data.Reader()
	defer r.Close()
	for r.Remaining() > 0 {
		num, typ, err := readTag(r)
		if err != nil {
			return err
		}
		if typ != protowire.BytesType {
			if err := skip(r, num, typ); err != nil {
				return err
			}
			continue
		}
		n, err := readVarint(r)
		if err != nil {
			return err
		}
		if n > uint64(r.Remaining()) {
			return errTruncated
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return errTruncated
		}
		switch num {
		case fieldDescriptor:
			into.FlightDescriptor = new(flight.FlightDescriptor)
			if err := proto.Unmarshal(b, into.FlightDescriptor); err != nil {
				return err
			}
		case fieldHeader:
			into.DataHeader = b
		case fieldAppMetadata:
			into.AppMetadata = b
		case fieldBody:
			into.DataBody = b
		}
	}
	return nil
}

var (
	errTruncated = errors.New("codec: a FlightData that is cut short")
	errVarint    = errors.New("codec: a FlightData with a malformed number")
)

func readVarint(r *mem.Reader) (uint64, error) {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, errTruncated
		}
		if shift == 63 && b > 1 {
			return 0, errVarint
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errVarint
}

func readTag(r *mem.Reader) (protowire.Number, protowire.Type, error) {
	v, err := readVarint(r)
	if err != nil {
		return 0, 0, err
	}
	num, typ := protowire.DecodeTag(v)
	if num < protowire.MinValidNumber {
		return 0, 0, fmt.Errorf("codec: a FlightData with field number %d", num)
	}
	return num, typ, nil
}

// skip passes over a field that FlightData does not have.
func skip(r *mem.Reader, num protowire.Number, typ protowire.Type) error {
	var n int
	switch typ {
	case protowire.VarintType:
		_, err := readVarint(r)
		return err
	case protowire.Fixed32Type:
		n = 4
	case protowire.Fixed64Type:
		n = 8
	default:
		return fmt.Errorf("codec: a FlightData with field %d of type %d", num, typ)
	}
	if k, err := r.Discard(n); err != nil || k != n {
		return errTruncated
	}
	return nil
}
