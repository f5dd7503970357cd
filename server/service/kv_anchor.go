package service

import (
	"encoding/binary"

	"daos/dataset/kv"
	"daos/internal/fault"
)

// anchor is where a page of a listing ended: u8 version, u8 direction, u64
// epoch, u16 length of the key, key, akey. Opaque to clients, the same in every
// server.
type anchor struct {
	epoch   uint64
	reverse bool
	after   kv.Name
}

func (a anchor) encode() []byte {
	b := make([]byte, 2, 12+len(a.after.Key)+len(a.after.Akey))
	b[0] = 1
	if a.reverse {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint64(b, a.epoch)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(a.after.Key)))
	return append(append(b, a.after.Key...), a.after.Akey...)
}

func parseAnchor(b []byte) (anchor, error) {
	bad := fault.New(fault.Invalid, "kv.list", "anchor", "the anchor is not one of a listing").Do("give back what the page before said, as it is")
	if len(b) < 12 || b[0] != 1 || b[1] > 1 {
		return anchor{}, bad
	}
	n := int(binary.LittleEndian.Uint16(b[10:]))
	if len(b) < 12+n {
		return anchor{}, bad
	}
	a := anchor{epoch: binary.LittleEndian.Uint64(b[2:]), reverse: b[1] == 1, after: kv.Name{Key: b[12 : 12+n], Akey: b[12+n:]}}
	if err := kv.CheckName(a.after.Key, a.after.Akey); err != nil {
		return anchor{}, bad.Because(err)
	}
	return a, nil
}
