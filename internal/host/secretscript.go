package host

import "strings"

// wordMarks may stand around a word of a script, or between the words of a list.
const wordMarks = "\"'`\\$(){}[];|&,!"

// maskOptions masks the values of options in text that may be a shell's script, or the arguments of a program as one text. Every word
// may be the name of a program, and all that were named count to the end: where a command ends is not always to be seen.
func maskOptions(s string) string {
	if !strings.Contains(s, " ") || !strings.Contains(s, "-") {
		return s
	}
	var (
		out  strings.Builder
		done int // s[:done] is in out
		c    = command{carries: true}
	)
	for i := 0; i < len(s); {
		if s[i] == ' ' {
			i++
			continue
		}
		end := i + wordEnd(s[i:])
		word := strings.TrimLeft(s[i:end], wordMarks)
		start := i
		awaited := c.next != shown
		kind, at := c.see(word)
		if !awaited {
			start = end - len(word) + at
			name := strings.TrimRight(word, wordMarks)
			c.meet(name[strings.LastIndexAny(name, wordMarks+"/:=")+1:])
		}
		i = end
		if kind == shown {
			continue
		}
		stop := optionValueEnd(s, start)
		value := s[start:stop]
		if n := len(value); n > 1 && isQuote(value[0]) && value[n-1] == value[0] {
			start, value = start+1, value[1:n-1]
		}
		if from, to := kind.hidden(value); from < to {
			out.WriteString(s[done:start+from] + masked)
			done, i = start+to, start+to
		}
	}
	return out.String() + s[done:]
}

// optionValueEnd returns where the value ends that begins at s[i]: at a space outside of quotes and brackets, or at a quote that can only
// close what the whole stands in.
func optionValueEnd(s string, i int) int {
	for j := i; j < len(s); {
		switch c := s[j]; {
		case c == ' ':
			return j
		case c == '\\' && j+1 < len(s) && s[j+1] != '\\' && !isQuote(s[j+1]):
			j += 2
		case isQuote(c):
			if j > i && (j+1 == len(s) || strings.IndexByte(" ;|&,)]}", s[j+1]) >= 0) {
				return j
			}
			j = stringEnd(s, j)
		case isBracket(c):
			j = bracketEnd(s, j)
		default:
			j++
		}
	}
	return len(s)
}
