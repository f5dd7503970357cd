package feed

import "testing"

// TestOnAClosedConnectionNobodyIsRelieved: the reader that runs a call is the only
// one who can say that the connection has ended.
func TestOnAClosedConnectionNobodyIsRelieved(t *testing.T) {
	c, k := new(conn), new(call)
	c.mu.inline, c.mu.closed = k, true
	c.relieve()
	if c.mu.inline != k {
		t.Fatal("another goroutine was to read, and none does")
	}
}
