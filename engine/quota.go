package engine

import (
	"fmt"
	"sync"

	"daos/engine/object"
	"daos/internal/fault"
)

// account counts the payload bytes of a dataset or a pool: committed ones and
// those of transactions in flight. All accounts share ledger.mu, so that the
// check against both quotas and the reservation are one step.
type account struct {
	name           string
	quota          int64 // 0: none
	used, reserved int64
}

type ledger struct{ mu sync.Mutex }

// slack is how far beyond its quota a transaction that removes something may
// go, so that a full dataset can be emptied.
func (a *account) slack(punches bool) int64 {
	if !punches {
		return 0
	}
	return min(max(a.quota/16, 4096), 1<<20)
}

// reserve takes n bytes in all accounts or in none.
func (l *ledger) reserve(n int64, punches bool, accounts ...*account) error {
	if n == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range accounts {
		if a.quota > 0 && a.used+a.reserved+n > a.quota+a.slack(punches) {
			return fault.New(fault.NoSpace, "tx.commit", a.name,
				"%d bytes used and %d being written of a quota of %d, %d more asked for", a.used, a.reserved, a.quota, n).
				Do("raise the quota, or remove data and snapshots (space comes back when the sweeper has run)")
		}
	}
	for _, a := range accounts {
		a.reserved += n
	}
	return nil
}

// settle ends a reservation: n bytes are used now, or not.
func (l *ledger) settle(n int64, committed bool, accounts ...*account) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range accounts {
		a.reserved -= n
		if committed {
			a.used += n
		}
	}
}

// add corrects what is used: at open, by the sweeper, by destroy.
func (l *ledger) add(n int64, accounts ...*account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range accounts {
		a.used += n
	}
}

func (l *ledger) setQuota(a *account, quota int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.quota = quota
}

func (l *ledger) quota(a *account) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return a.quota
}

func (l *ledger) used(a *account) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return a.used
}

func removes(tx *object.Tx) bool {
	for i := range tx.Writes {
		if tx.Writes[i].Op >= object.OpPunchRange {
			return true
		}
	}
	return false
}

func datasetName(id object.DatasetID) string { return fmt.Sprintf("dataset %d", uint64(id)) }
func poolName(id object.PoolID) string       { return fmt.Sprintf("pool %d", uint64(id)) }
