package service

import (
	"bytes"
	"testing"

	"daos/dataset/kv"
)

// FuzzAnchor reads anchors that anybody may have written.
func FuzzAnchor(f *testing.F) {
	f.Add(anchor{epoch: 7, reverse: true, after: kv.Name{Key: []byte("key"), Akey: []byte("akey")}}.encode())
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnchor(b)
		if err == nil && !bytes.Equal(a.encode(), b) {
			t.Errorf("%x is read as %x", b, a.encode())
		}
	})
}
