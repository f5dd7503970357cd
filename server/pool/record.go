package pool

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"daos/engine/object"
	"daos/internal/fault"
	"daos/server/control"
)

// Keys of the control store (docs/format/control.md). Names can't hold '/', so
// each prefix is one kind.
//
//	pool/POOL                     Pool
//	dataset/POOL/DATASET          Dataset
//	snapshot/ID/SNAPSHOT          Snapshot; ID: 16 hex digits of the dataset
//	view/ID/VIEW                  View
//	list/ID/LIST                  empty: a list of samples that no view has
//	pin/ID/EPOCH                  empty, on a lease: an epoch that a client reads
//	dead/ID                       Dead: a dataset to be removed from the engine
//	request/REQUEST               Request: the answer of a mutation
//	next                          counter: the last number given out
const (
	prefixPool     = "pool/"
	prefixDataset  = "dataset/"
	prefixSnapshot = "snapshot/"
	prefixPin      = "pin/"
	prefixDead     = "dead/"
	prefixRequest  = "request/"
	keyNext        = "next"
)

// Type is what a dataset holds. The numbers are those of the wire.
type Type uint8

// The types.
const (
	TypePosix  Type = 1
	TypeKV     Type = 2
	TypeArray  Type = 3
	TypeTensor Type = 4
)

func (t Type) String() string {
	switch t {
	case TypePosix:
		return "posix"
	case TypeKV:
		return "kv"
	case TypeArray:
		return "array"
	case TypeTensor:
		return "tensor"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Pool is the record of a pool.
type Pool struct {
	ID      object.PoolID `json:"id"`
	Name    string        `json:"name"`
	Quota   uint64        `json:"quota,omitempty"` // bytes; 0: none
	Created int64         `json:"created"`         // ns since 1970
	// Dying: a forced destroy has begun; nothing can be made in it any more.
	Dying bool `json:"dying,omitempty"`

	modified control.Rev
}

// Dataset is the record of a dataset.
type Dataset struct {
	ID         object.DatasetID  `json:"id"`
	PoolID     object.PoolID     `json:"pool_id"`
	Pool       string            `json:"pool"`
	Name       string            `json:"name"`
	Type       Type              `json:"type"`
	Class      object.Class      `json:"class"`
	ChunkBytes uint64            `json:"chunk_bytes,omitempty"`
	Quota      uint64            `json:"quota,omitempty"`
	Attributes map[string][]byte `json:"attributes,omitempty"`
	Created    int64             `json:"created"`

	modified control.Rev
}

// Address is "POOL/DATASET".
func (d *Dataset) Address() string { return d.Pool + "/" + d.Name }

// Snapshot is the record of a snapshot.
type Snapshot struct {
	Dataset object.DatasetID `json:"dataset"`
	Name    string           `json:"name"`
	Epoch   object.Epoch     `json:"epoch"`
	Created int64            `json:"created"`
	Expires int64            `json:"expires,omitempty"` // ns since 1970; 0: never
	TTL     time.Duration    `json:"ttl,omitempty"`
	Auto    bool             `json:"auto,omitempty"`

	modified control.Rev
}

// Dead is the tombstone of a dataset: it is gone for everybody, and its bytes
// are still to be removed.
type Dead struct {
	ID   object.DatasetID `json:"id"`
	Pool object.PoolID    `json:"pool"`
	Was  string           `json:"was"`
}

// Request is the answer of a mutation that has happened.
type Request struct {
	Op       string          `json:"op"`
	Resource string          `json:"resource"`
	At       int64           `json:"at"`
	Answer   json.RawMessage `json:"answer,omitempty"`
}

func poolKey(name string) string { return prefixPool + name }

func datasetKey(pool, name string) string { return prefixDataset + pool + "/" + name }

func snapshotKey(id object.DatasetID, name string) string {
	return fmt.Sprintf("%s%016x/%s", prefixSnapshot, uint64(id), name)
}

func pinKey(id object.DatasetID, epoch object.Epoch) string {
	return fmt.Sprintf("%s%016x/%016x", prefixPin, uint64(id), uint64(epoch))
}

func deadKey(id object.DatasetID) string { return fmt.Sprintf("%s%016x", prefixDead, uint64(id)) }

func parsePinKey(key string) (id object.DatasetID, epoch object.Epoch, ok bool) {
	n, err := fmt.Sscanf(strings.TrimPrefix(key, prefixPin), "%016x/%016x", (*uint64)(&id), (*uint64)(&epoch))
	return id, epoch, err == nil && n == 2
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fault.New(fault.Internal, "pool.encode", "", "a record can't be encoded").Because(err)) // plain structs always can
	}
	return b
}

func decode(key string, b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fault.New(fault.Corrupt, "pool.decode", key, "damaged record in the control store").Because(err).
			Do("restore the folder control from a copy")
	}
	return nil
}
