package object

// Op says what a Write does.
type Op uint8

// The operations of a transaction.
const (
	// OpPut writes a single value: (OID, Dkey, Akey) = Data.
	OpPut Op = 1
	// OpWrite writes an extent of a byte array: [Offset, Offset+len(Data)).
	OpWrite Op = 2
	// OpPunchRange makes a hole in a byte array: [Offset, Offset+Length), or to
	// the end of the array where Length is 0.
	OpPunchRange Op = 3
	// OpPunchAkey, OpPunchDkey and OpPunchObject remove everything below an
	// akey, a dkey or an object at this epoch. Older epochs still see it.
	OpPunchAkey   Op = 4
	OpPunchDkey   Op = 5
	OpPunchObject Op = 6
)

// Write is one change of a transaction. Keys and Data belong to the caller and
// must not change until Commit returns; the store keeps no reference after.
type Write struct {
	Op     Op
	OID    ID
	Dkey   []byte
	Akey   []byte
	Offset uint64
	Length uint64
	Data   []byte
}

// CondKind says what a Cond demands of the newest committed version.
type CondKind uint8

// Conditions: DAOS's conditional insert, update, fetch and punch come down to
// "exists" and "absent" of a dkey or an akey.
const (
	DkeyExists CondKind = 1 // else fault.NotFound
	DkeyAbsent CondKind = 2 // else fault.Exists
	AkeyExists CondKind = 3 // else fault.NotFound
	AkeyAbsent CondKind = 4 // else fault.Exists
)

// Cond is a condition, checked at the commit epoch.
type Cond struct {
	Kind CondKind
	OID  ID
	Dkey []byte
	Akey []byte
}

// Read is something that the author of a transaction read at Tx.ReadAt: the
// dkeys from From (inclusive) to To (exclusive; nil: no upper bound) of an
// object, or the single dkey From where Point is set; if Akey is not nil, only
// that akey of them. The commit fails with fault.Conflict if any version
// newer than ReadAt lies in it.
type Read struct {
	OID      ID
	Point    bool
	From, To []byte
	Akey     []byte
}

// Tx is one transaction: a value, executed atomically over all targets.
type Tx struct {
	// Request, unless zero, is kept for ten minutes with Answer; a second
	// Commit of the same id changes nothing and returns the first Result.
	Request RequestID
	// ReadAt is the epoch at which Reads were made. It must be a closed epoch.
	// At a pinned epoch below the sweep horizon, what was written and removed
	// again since, and has been swept, is not a conflict: nothing has changed.
	ReadAt Epoch
	Reads  []Read
	Conds  []Cond
	// Writes take effect in their order: what comes later in the list wins.
	Writes []Write
	Answer []byte
	// Deferred: durable only when a later transaction with Barrier has been
	// answered. For staged bytes that nothing refers to yet.
	Deferred bool
	// Barrier: everything that was deferred is made durable first.
	Barrier bool
}

// Result is the answer to a Tx.
type Result struct {
	Epoch    Epoch
	Answer   []byte
	Replayed bool // this request id had been committed before
}

// Bytes is the sum of the values that tx writes.
func (tx *Tx) Bytes() int64 {
	var n int64
	for i := range tx.Writes {
		n += int64(len(tx.Writes[i].Data))
	}
	return n
}
