// Package placement says where an object lies: object and redundancy group ->
// placement group (the top bits of a hash) -> target, by weighted rendezvous
// hashing over the fault-domain tree of a pool map, plus the map's overrides.
//
// It is pure: integers in, integers out, the same on every machine and in every
// language. Hash32, the scoring and the anchor encoding are formats; golden
// vectors in the tests hold them still. Start with Map and Layout.
package placement
