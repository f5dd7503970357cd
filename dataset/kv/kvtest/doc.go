// Package kvtest is the conformance suite of KV datasets: what a dataset must
// do over any object store, as one function, Run, and a random test against a
// map, Random. Both know only package kv and the store interfaces.
package kvtest
