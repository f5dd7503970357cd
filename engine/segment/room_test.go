package segment

import "testing"

func TestRoomy(t *testing.T) {
	for text, want := range map[string]bool{
		"MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    250 kB\n":  true,
		"MemTotal:       1000 kB\nMemFree: 900 kB\nMemAvailable:    249 kB\n": false,
		"MemTotal:       1000 kB\nMemFree: 900 kB\n":                          false,
		"MemAvailable: much kB\n":                                             false,
		"":                                                                    false,
	} {
		if got := roomy([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	var r room
	if r.plenty(); r.until.Load() == 0 {
		t.Error("nobody has looked")
	}
	r.enough.Store(!r.enough.Load())
	if before := r.enough.Load(); r.plenty() != before {
		t.Error("looked again at once")
	}
}
