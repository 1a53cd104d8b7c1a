// Package nearest guesses which word a mistyped one was meant to be.
package nearest

import "strings"

// Word gives the word that a mistyped one most likely meant: the one with the fewest changes, or the only one that it begins, in either case;
// "" if none is near.
func Word(s string, words []string) string {
	s = strings.ToLower(s)
	best, bestDistance := "", len(s)/3+1
	var begins []string
	for _, w := range words {
		if len(s) > 1 && strings.HasPrefix(strings.ToLower(w), s) {
			begins = append(begins, w)
		}
		if d := editDistance(s, strings.ToLower(w)); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	if best == "" && len(begins) == 1 {
		return begins[0]
	}
	return best
}

// editDistance counts the insertions, deletions and replacements of bytes that turn a into b, and swaps of neighbours as one.
func editDistance(a, b string) int {
	const longest = 64 // no word of ours is longer
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var rows [longest + 1][longest + 1]int
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
				continue
			case a[i-1] == b[j-1]:
				rows[i][j] = rows[i-1][j-1]
				continue
			}
			d := 1 + min(rows[i-1][j], rows[i][j-1], rows[i-1][j-1])
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, 1+rows[i-2][j-2])
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
