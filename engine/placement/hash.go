package placement

import "daos/engine/object"

const golden = 0x9e3779b97f4a7c15

// Hash32 is the placement hash of one redundancy group of an object.
func Hash32(oid object.ID, group uint16) uint32 { return oid.Hash(group) }

// GroupBits is the number of top bits of Hash32 that name the placement group.
const GroupBits = 10

// Groups is the number of placement groups.
const Groups = 1 << GroupBits

// GroupOf is the placement group of a hash.
func GroupOf(hash uint32) int { return int(hash >> (32 - GroupBits)) }

// GroupRange is the range of hashes, both ends inclusive, of a placement group.
func GroupRange(pg int) (from, to uint32) {
	from = uint32(pg) << (32 - GroupBits)
	return from, from | (1<<(32-GroupBits) - 1)
}
