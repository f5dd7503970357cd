package flight

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	flightv1 "daos/proto/gen/daos/flight/v1"
)

const (
	ticketVersion = 1
	macSize       = 16
)

// mac signs what a ticket says: version u32, dataset id u64, command.
func mac(key []byte, version uint32, id uint64, command []byte) []byte {
	h := hmac.New(sha256.New, key)
	var b [12]byte
	binary.LittleEndian.PutUint32(b[:], version)
	binary.LittleEndian.PutUint64(b[4:], id)
	h.Write(b[:])
	h.Write(command)
	return h.Sum(nil)[:macSize]
}

// ticket makes the bytes of a ticket for a command with its epoch filled in.
func ticket(key []byte, id object.DatasetID, c *flightv1.Command) ([]byte, error) {
	command, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, err
	}
	return signed(key, id, command)
}

// signed makes the bytes of a ticket for the bytes of a command.
func signed(key []byte, id object.DatasetID, command []byte) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&flightv1.Ticket{
		Version: ticketVersion, Command: command, DatasetId: uint64(id), Mac: mac(key, ticketVersion, uint64(id), command),
	})
}

// openTicket checks a ticket and reads its command.
func openTicket(key, b []byte) (target, object.DatasetID, error) {
	const do = "take tickets from GetFlightInfo of this server, unchanged"
	var t flightv1.Ticket
	if err := proto.Unmarshal(b, &t); err != nil {
		return target{}, 0, fault.New(fault.Invalid, "flight.ticket", "", "the ticket can't be read").Because(err).Do(do)
	}
	if t.GetVersion() != ticketVersion {
		return target{}, 0, fault.New(fault.Invalid, "flight.ticket", "", "a ticket of version %d, this server gives out %d", t.GetVersion(), ticketVersion).Do(do)
	}
	if !hmac.Equal(mac(key, t.GetVersion(), t.GetDatasetId(), t.GetCommand()), t.GetMac()) {
		return target{}, 0, fault.New(fault.Permission, "flight.ticket", "", "the ticket is not signed by this server").Do(do)
	}
	to, err := parseCommand(t.GetCommand())
	return to, object.DatasetID(t.GetDatasetId()), err
}

// reading is a dataset that a ticket reads.
type reading struct {
	address address.Address
	id      object.DatasetID
	epoch   object.Epoch
}

// sources are the datasets that a ticket reads; id is the ticket's.
func (t *target) sources(id object.DatasetID) ([]reading, error) {
	if t.listing != nil {
		return nil, nil
	}
	if t.sqlPart == nil {
		return []reading{{t.address, id, object.Epoch(t.epoch())}}, nil
	}
	var out []reading
	for _, x := range t.sqlPart.GetSources() {
		a, err := address.Parse(x.GetAddress())
		if err != nil {
			return nil, err
		}
		out = append(out, reading{a, object.DatasetID(x.GetDatasetId()), object.Epoch(x.GetEpoch())})
	}
	return out, nil
}
