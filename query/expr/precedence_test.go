package expr

import (
	"strings"
	"testing"
)

// TestPrecedence is how DuckDB groups operators.
func TestPrecedence(t *testing.T) {
	for text, want := range map[string]string{
		"a < b in (1)":             "a < (b in (1))",
		"a = b is null":            "(a = b) is null",
		"a = b like c":             "a = (b like c)",
		"a < b between 1 and 2":    "a < (b between 1 and 2)",
		"a between 1 and 2 = c":    "(a between 1 and 2) = c",
		"a is null = c":            "(a is null) = c",
		"not a = b in (c)":         "not (a = (b in (c)))",
		"a not in (1) is null":     "(a not in (1)) is null",
		"a like b = c":             "(a like b) = c",
		"a in (1) between b and c": "(a in (1)) between b and c",
		"a + b glob c":             "(a + b) glob c",
		"a is null in (true)":      "(a is null) in (true)",
		"a = b and c = d or e":     "((a = b) and (c = d)) or e",
		"a = -b + 2 * c":           "a = ((-b) + (2 * c))",
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		same, err := Parse(want)
		if err != nil || got.String() != same.String() {
			t.Errorf("%s is read as %s, not as %s (%v)", text, got, same, err)
		}
	}
	for text, says := range map[string]string{
		"a = b = c": "two comparisons in a row",
		"1 < a < 3": "two comparisons in a row",
		"a > timestamp '2026-01-01 00:00:00+02:00'": "write it in UTC: timestamp '2025-12-31 22:00:00'",
		"a > timestamp '2026-01-01T00:00:00Z'":      "in UTC",
		"a > date '2026-01-01 12:00:00'":            "is not a day",
		"a not = 3":                                 "where and, or",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, not %s", text, err, says)
		}
	}
}
