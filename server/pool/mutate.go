package pool

import (
	"context"
	"encoding/binary"

	"daos/engine/object"
	"daos/internal/fault"
	"daos/server/control"
)

// maxAttempts bounds the tries of one mutation against others.
const maxAttempts = 100

// mutation is one change of control state.
type mutation struct {
	op, resource string
	request      object.RequestID
	// build makes the transaction from the present state; it is called again
	// when another change got in between. answer is what a retry will get.
	build func(ctx context.Context) (txn control.Txn, answer any, err error)
	// replay takes the kept answer of a request that has happened before.
	replay func(answer []byte) error
}

// mutate carries out a mutation once: a request id that has been carried out
// already gets its first answer. When it returns, the engine knows.
func (s *Service) mutate(ctx context.Context, m mutation) error {
	for range maxAttempts {
		done, err := s.replay(ctx, m)
		if done || err != nil {
			return err
		}
		txn, answer, err := m.build(ctx)
		if err != nil {
			return err
		}
		if !m.request.IsZero() {
			key := prefixRequest + m.request.String()
			kept := Request{Op: m.op, Resource: m.resource, At: s.now().UnixNano(), Answer: encode(answer)}
			txn.If = append(txn.If, control.Absent(key))
			txn.Then = append(txn.Then, control.Put(key, encode(kept)))
		}
		rev, ok, err := s.ctl.Commit(ctx, txn)
		if err != nil {
			return fault.Wrap(err, m.op, m.resource)
		}
		if err := s.state.wait(ctx, rev); err != nil {
			return err
		}
		if ok {
			return nil
		}
	}
	return fault.New(fault.Conflict, m.op, m.resource, "others change it all the time").Do("try again")
}

func (s *Service) replay(ctx context.Context, m mutation) (done bool, err error) {
	if m.request.IsZero() {
		return false, nil
	}
	kv, ok, err := s.ctl.Get(ctx, prefixRequest+m.request.String())
	if err != nil || !ok {
		return false, err
	}
	var kept Request
	if err := decode(kv.Key, kv.Value, &kept); err != nil {
		return false, err
	}
	if kept.Op != m.op || kept.Resource != m.resource {
		return false, fault.New(fault.Invalid, m.op, m.resource, "the request id belongs to an earlier call (%s of %s)", kept.Op, kept.Resource).
			Do("make a new random request id for each call; only its retries repeat it")
	}
	if err := s.state.wait(ctx, kv.Modified); err != nil {
		return false, err
	}
	if m.replay == nil {
		return true, nil
	}
	return true, m.replay(kept.Answer)
}

// nextID reads the counter of numbers and returns the next one, with the
// comparison and the change that give it out.
func (s *Service) nextID(ctx context.Context) (id uint64, c control.Compare, o control.Op, err error) {
	kv, _, err := s.ctl.Get(ctx, keyNext)
	if err != nil {
		return 0, c, o, err
	}
	last := uint64(0)
	if len(kv.Value) == 8 {
		last = binary.LittleEndian.Uint64(kv.Value)
	} else if kv.Modified != 0 {
		return 0, c, o, fault.New(fault.Corrupt, "pool.next", keyNext, "the counter of numbers is damaged")
	}
	id = last + 1
	return id, control.Compare{Key: keyNext, Modified: kv.Modified}, control.Put(keyNext, binary.LittleEndian.AppendUint64(nil, id)), nil
}
