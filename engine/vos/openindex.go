package vos

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"daos/internal/guardfs"
)

// fullEvery is how often a full disk is logged: pebble tries a flush that
// failed again thousands of times a second.
const fullEvery = time.Minute

// openIndex opens the index. pebble flushes what its log holds before it
// answers, and on a full disk it tries that again for ever: then this gives the
// first failure, and the index is closed should it come to be opened after all.
func (t *Target) openIndex(dir string, po *pebble.Options) (*pebble.DB, error) {
	full := make(chan error, 1)
	var said atomic.Int64
	report := po.EventListener.BackgroundError
	po.EventListener.BackgroundError = func(err error) {
		if guardfs.NoSpace(err) {
			select {
			case full <- err: // heard while opening only
			default:
			}
			now, last := time.Now().UnixNano(), said.Load()
			if now-last < int64(fullEvery) || !said.CompareAndSwap(last, now) {
				return
			}
		}
		report(err)
	}
	type outcome struct {
		db  *pebble.DB
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		db, err := pebble.Open(dir, po)
		done <- outcome{db, err}
	}()
	select {
	case o := <-done:
		return o.db, o.err
	case err := <-full:
		go func() {
			if o := <-done; o.err == nil {
				_ = o.db.Close()
			}
		}()
		return nil, err
	}
}
