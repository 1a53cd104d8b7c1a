package host

import "strings"

// inside masks within an argument that is, or may be, more than one word: a shell script after -c, a title that the program gave to
// itself, a header, JSON, a URL.
func inside(s string) string {
	s = maskOptions(s)
	var out strings.Builder
	mask := false // the word before asks for the next one to be masked
	for s != "" {
		if s[0] == ' ' {
			out.WriteByte(' ')
			s = s[1:]
			continue
		}
		if n := wordEnd(s); mask && (s[:n] == "--" || strings.Trim(s[:n], ":=") == "") {
			out.WriteString(s[:n])
			s = s[n:]
			continue
		}
		if mask {
			end := valueEnd(s, false)
			// A name among what is masked asks for more: "--password-stdin --token x".
			mask = speaksOfSecret(strings.TrimRight(s[:end], ":=")) && end < len(s)
			out.WriteString(masked)
			s = s[end:]
			continue
		}
		n := wordEnd(s)
		word := s[:n]
		name, sign, at := secretName(word)
		switch {
		case name < 0:
			out.WriteString(maskTokens(word))
			s = s[n:]
		case sign == 0: // a word such as "password" or "--token": what follows it
			out.WriteString(word)
			mask = true
			s = s[n:]
		default: // name=value, name: value, "name":"value", ?name=value&
			out.WriteString(maskTokens(s[:name]))
			out.WriteString(s[name:at])
			s = s[at:]
			query := name > 0 && (word[name-1] == '?' || word[name-1] == '&')
			if sign == ':' {
				for s != "" && s[0] == ' ' {
					out.WriteByte(' ')
					s = s[1:]
				}
			}
			end := valueEnd(s, query)
			if v := strings.TrimLeft(s, `\`); sign == ':' && v != "" && !isQuote(v[0]) && !isBracket(v[0]) {
				end = headerEnd(s) // a header's value has spaces: "Authorization: Bearer x"
			}
			if end > 0 {
				out.WriteString(masked)
			}
			s = s[end:]
		}
	}
	return out.String()
}

// wordEnd is the length of the word that begins s.
func wordEnd(s string) int {
	if i := strings.IndexByte(s, ' '); i >= 0 {
		return i
	}
	return len(s)
}

// attributeTypes are the names before the values of attributes in DynamoDB's JSON (AttributeValue in its API), in quotes.
var attributeTypes = map[string]bool{"S": true, "N": true, "B": true, "SS": true, "NS": true, "BS": true}

// secretName finds the first name in word that speaks of a secret, or of an attribute's value: where it begins, the sign behind it ('=', ':' or 0 when the
// name ends the word), and where its value begins. name is -1 if there is none.
func secretName(word string) (name int, sign byte, value int) {
	start := 0
	for i := 0; i <= len(word); i++ {
		if i < len(word) && (isWordByte(word[i]) || word[i] == '-' || word[i] == '_' || word[i] == '.') {
			continue
		}
		if i > start && (speaksOfSecret(word[start:i]) || attributeTypes[word[start:i]] && start > 0 && word[start-1] == '"') {
			j := i
			for j < len(word) && (word[j] == '"' || word[j] == '\'' || word[j] == '\\' || word[j] == ']') {
				j++
			}
			switch {
			case j == len(word) && !strings.ContainsAny(word[:start], "/"):
				return start, 0, j
			case j < len(word) && (word[j] == '=' || word[j] == ':') && !strings.HasPrefix(word[j:], "://"):
				return start, word[j], j + 1
			case j < len(word) && word[j] == '%' && strings.HasPrefix(strings.ToLower(word[j:]), "%3d"): // an escaped equals sign
				return start, '=', j + 3
			}
		}
		start = i + 1
	}
	return -1, 0, 0
}

// valueEnd is the length of the value that begins s: up to the closing quote if it opens with one, else to a space, a quote, or in the
// query of a URL the next parameter. Brackets in it reach to the ones that close them: JSON, a tuple, a call.
func valueEnd(s string, query bool) int {
	i := 0
	for i < len(s) && s[i] == '\\' {
		i++
	}
	if i < len(s) && isQuote(s[i]) {
		return stringEnd(s, i)
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ' || isQuote(c) || query && c == '&':
			return i
		case isBracket(c):
			end := bracketEnd(s, i)
			if i == 0 && end < len(s) && strings.IndexByte(",;)]}", s[end]) >= 0 {
				return end
			}
			i = end - 1
		}
	}
	return i
}

func isQuote(c byte) bool { return c == '"' || c == '\'' }

func isBracket(c byte) bool { return c == '{' || c == '[' || c == '(' }

// stringEnd returns where the string ends that the quote at s[i] opens, at the end of s if it is never closed. The quote has as many
// backslashes before it as the text was quoted with: 0, 1 or 3. One within the string has more.
func stringEnd(s string, i int) int {
	quote, level := s[i], backslashes(s, i)
	run := 0
	for i++; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			run++
			continue
		case s[i] == quote && run%(2*(level+1)) == level:
			return i + 1
		}
		run = 0
	}
	return len(s)
}

// backslashes counts those before s[i].
func backslashes(s string, i int) int {
	n := 0
	for n < i && s[i-1-n] == '\\' {
		n++
	}
	return n
}

// bracketEnd returns where the bracket at s[i] is closed, at the end of s if it never is. Brackets in strings do not count, and those of
// different kinds are not told apart.
func bracketEnd(s string, i int) int {
	for depth := 0; i < len(s); {
		switch c := s[i]; {
		case isQuote(c):
			i = stringEnd(s, i)
			continue
		case isBracket(c):
			depth++
		case c == '}' || c == ']' || c == ')':
			depth--
		}
		i++
		if depth == 0 {
			return i
		}
	}
	return len(s)
}

// headerEnd is the length of the value of a header or of an unquoted JSON member: to the quote that closes what it stands in.
func headerEnd(s string) int {
	if n := strings.IndexAny(s, "\"'"); n >= 0 {
		return n
	}
	return len(s)
}

// tokenPrefixes begin tokens that say themselves what they are.
var tokenPrefixes = []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xoxa-", "xoxs-", "xapp-",
	"sk_live_", "rk_live_", "sk-", "hvs.", "hvb.", "dop_v1_", "npm_", "pypi-", "AIza", "ya29.", "eyJ", "AGE-SECRET-KEY-", "-----BEGIN", "pass:"}

// maskTokens masks in a word what is a secret by its own form.
func maskTokens(word string) string {
	if i := strings.Index(word, "://"); i >= 0 {
		rest := word[i+3:]
		authority := rest
		if j := strings.IndexAny(rest, "/?#\"'"); j >= 0 {
			authority = rest[:j]
		}
		// The last @ of the authority ends the user information; one in a password that was not escaped may also follow a slash.
		if at := strings.LastIndexByte(authority, '@'); at >= 0 {
			return maskTokens(word[:i]) + "://" + masked + maskTokens(rest[at:])
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 && strings.Contains(authority, ":") && !isDigits(authority[strings.LastIndexByte(authority, ':')+1:]) {
			return maskTokens(word[:i]) + "://" + masked + rest[at:]
		}
	}
	var out strings.Builder
	for word != "" {
		n := 0
		for n < len(word) && isTokenByte(word[n]) {
			n++
		}
		if n == 0 {
			out.WriteByte(word[0])
			word = word[1:]
			continue
		}
		out.WriteString(maskToken(word[:n]))
		word = word[n:]
	}
	return out.String()
}

func isTokenByte(c byte) bool {
	return isWordByte(c) || c == '_' || c == '-' || c == '.' || c == '+' || c == '/' || c == '='
}

// maskToken masks a run of the characters that tokens are made of.
func maskToken(s string) string {
	for _, p := range tokenPrefixes {
		if strings.HasPrefix(s, p) && len(s) >= len(p)+8 {
			return p + masked
		}
	}
	// Paths and lists hold pieces: each is looked at on its own.
	var out strings.Builder
	for s != "" {
		n := strings.IndexAny(s, "/=.-")
		if n < 0 {
			n = len(s)
		}
		if isSecretAccessKey(s) {
			return out.String() + masked
		}
		out.WriteString(maskAccessKey(s[:n]))
		if n < len(s) {
			out.WriteByte(s[n])
			n++
		}
		s = s[n:]
	}
	return out.String()
}

// maskAccessKey shortens AWS access key ids as the rest of the program does: AKIA…MPLE. The prefixes are those of long-term and temporary
// keys, bearer tokens and context credentials (IAM User Guide, "Unique identifiers").
func maskAccessKey(s string) string {
	for at := 0; at+16 <= len(s); at++ {
		switch s[at : at+4] {
		case "AKIA", "ASIA", "ABIA", "ACCA":
		default:
			continue
		}
		end := at + 4
		for end < len(s) && (s[end] >= '0' && s[end] <= '9' || isUpper(s[end])) {
			end++
		}
		if end-at >= 16 {
			return s[:at+4] + "…" + s[end-4:end] + maskAccessKey(s[end:])
		}
	}
	return s
}

// isSecretAccessKey reports whether s has the form of an AWS secret access key: 40 characters of base64, of all three kinds. A digest in
// hex has no upper case together with lower case.
func isSecretAccessKey(s string) bool {
	if len(s) != 40 {
		return false
	}
	var lower, upper, digit bool
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
			lower = true
		case isUpper(c):
			upper = true
		case c >= '0' && c <= '9':
			digit = true
		case c != '/' && c != '+':
			return false
		}
	}
	return lower && upper && digit
}
