// Package near finds the name that was probably meant: of a column, a key, a
// flag, a dataset. It is a matter of letters alone and knows no lists of names.
//
// Start at Name.
package near

import "strings"

// longest is the longest name that is looked at: the work grows with its square.
const longest = 256

// Name is the candidate closest to s, "" if none is close. Close is: at most a
// third of the longer one's letters differ, whatever their case, or s is the
// beginning of it. Of equally close ones that which begins as s does is taken,
// then the first.
func Name(s string, candidates []string) string {
	best, least := "", 1<<30
	for _, c := range candidates {
		d := Distance(strings.ToLower(s), strings.ToLower(c))
		if len(s) >= 2 && strings.HasPrefix(strings.ToLower(c), strings.ToLower(s)) {
			d = min(d, 1)
		}
		d *= 2 // room for a tie-break: names that begin alike are likelier
		if s != "" && c != "" && s[0] != c[0] {
			d++
		}
		if d <= 2*max(1, max(len(s), len(c))/3)+1 && d < least {
			best, least = c, d
		}
	}
	return best
}

// Distance is the number of insertions, deletions, substitutions and swaps of
// neighbours between two words (optimal string alignment), in bytes; a very
// large number where one of them is too long.
func Distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return 1 << 20
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
