package host

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// masked stands for what was taken out.
const masked = "***"

// maxMaskInput is how many bytes of a command line are looked at: some of the patterns take time that grows with the square.
const maxMaskInput = 16 << 10

// MaskSecrets joins the arguments of a command line with spaces, without what looks like a secret: the values of options, assignments,
// headers and JSON members whose names speak of keys, tokens, passwords and the like; user information in URLs; AWS access keys and other
// tokens of known form; DynamoDB items and keys given to the AWS CLI, values of attributes in DynamoDB's JSON anywhere, and the bodies of requests that
// curl and wget are told to send. The result has at most limit bytes and no control characters;
// of longer command lines only the first 16 KiB are looked at.
//
// It is a guess in both directions. A secret given as a plain argument without any name is not recognised; a harmless word after
// one such as "key" is masked.
func MaskSecrets(args []string, limit int) string {
	var m masker
	budget := maxMaskInput
	for i, arg := range args {
		if m.out.Len() > limit || budget <= 0 {
			break
		}
		arg = arg[:min(len(arg), budget)]
		budget -= len(arg) + 1
		if i > 0 {
			m.out.WriteByte(' ')
		}
		m.argument(printable(arg), i)
	}
	return shorten(m.out.String(), limit)
}

type masker struct {
	out strings.Builder
	// program is the base name of the first argument.
	program string
	// pending: the argument before asks for this one to be masked.
	pending bool
	// userinfo: the argument before was an option that takes "user:password".
	userinfo bool
	// body: the argument before was an option that takes the body of a request.
	body bool
}

// argument writes one argument.
func (m *masker) argument(arg string, index int) {
	pending, userinfo := m.pending, m.userinfo
	if pending && strings.Trim(arg, ":=") == "" {
		m.out.WriteString(arg)
		return
	}
	m.pending, m.userinfo = m.asksForMore(arg), userinfoOptions[arg]
	body := m.body
	m.body = m.takesBody(arg)
	switch {
	case index == 0 && !strings.ContainsAny(arg, " \t"):
		m.program = arg[strings.LastIndexByte(arg, '/')+1:]
		m.out.WriteString(m.inside(arg))
	case pending, body && !strings.HasPrefix(arg, "@"): // @ is before the name of a file
		m.out.WriteString(masked)
	case userinfo && strings.Contains(arg, ":"):
		user, _, _ := strings.Cut(arg, ":")
		m.out.WriteString(m.inside(user) + ":" + masked)
	default:
		m.out.WriteString(m.whole(arg))
	}
}

// userinfoOptions are curl's and others' for "user:password".
var userinfoOptions = map[string]bool{"-u": true, "--user": true, "-U": true, "--proxy-user": true, "--creds": true}

// bodyOptions are those of curl and wget for the body of a request.
var bodyOptions = map[string]bool{"-d": true, "-F": true, "--data": true, "--data-ascii": true, "--data-binary": true, "--data-raw": true, "--data-urlencode": true,
	"--json": true, "--form": true, "--form-string": true, "--post-data": true, "--body-data": true}

// takesBody reports whether the argument after this one is the body of a request.
func (m *masker) takesBody(arg string) bool {
	return (m.program == "curl" || m.program == "wget") && bodyOptions[arg]
}

// joinedPassword are programs whose option -p has its password joined to it.
var joinedPassword = map[string]bool{"mysql": true, "mysqldump": true, "mysqladmin": true, "mysqlimport": true, "mariadb": true,
	"mariadb-dump": true, "sshpass": true, "7z": true, "7za": true, "7zz": true, "unrar": true}

// asksForMore reports whether the argument names a secret that comes with the next argument.
func (m *masker) asksForMore(arg string) bool {
	if strings.ContainsAny(arg, "= \t") {
		return strings.HasSuffix(arg, "=") && speaksOfSecret(strings.TrimRight(arg, "="))
	}
	return speaksOfSecret(strings.TrimRight(arg, ":")) || arg == "-p" && joinedPassword[m.program]
}

// whole masks in an argument that nothing before it asks to mask.
func (m *masker) whole(arg string) string {
	if joinedPassword[m.program] && strings.HasPrefix(arg, "-p") && !strings.HasPrefix(arg, "--") {
		return "-p" + masked
	}
	if m.takesBody(arg[:min(len(arg), 2)]) && len(arg) > 2 {
		return arg[:2] + masked
	}
	if name, _, ok := strings.Cut(arg, "="); ok && m.takesBody(name) {
		return name + "=" + masked
	}
	if rest, ok := strings.CutPrefix(arg, "-u"); ok && strings.Contains(rest, ":") && !strings.Contains(rest, "://") {
		user, _, _ := strings.Cut(rest, ":")
		return "-u" + user + ":" + masked
	}
	// --name=value, NAME=value, -Dname=value: the value reaches to the end of the argument whatever is in it.
	if name, value, ok := strings.Cut(arg, "="); ok && isOptionName(name) && speaksOfSecret(name) {
		if isPathFor(name, value) {
			return name + "=" + m.inside(value)
		}
		return name + "=" + masked
	}
	return m.inside(arg)
}

// isOptionName reports whether s can be the name of an option or variable, as opposed to text that happens to hold an equals sign.
func isOptionName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '-' && c != '_' && c != '.' && c != ':' && !isWordByte(c) {
			return false
		}
	}
	return s != ""
}

// isPathFor reports whether the value is only the name of a file that holds the secret.
func isPathFor(name, value string) bool {
	name = strings.ToLower(name)
	if !strings.HasSuffix(name, "file") && !strings.HasSuffix(name, "path") && !strings.HasSuffix(name, "dir") {
		return false
	}
	return strings.HasPrefix(value, "/") || strings.HasPrefix(value, "./") || strings.HasPrefix(value, "~/")
}

// secretParts make a name that of a secret wherever they stand in it.
var secretParts = []string{"password", "passwd", "passphrase", "passcode", "secret", "token", "apikey", "accesskey", "privatekey", "signature",
	"credential", "authorization", "expression-attribute-values"}

// secretWords do so as a word of their own: "key" in "api-key", but not in "keyspace".
var secretWords = map[string]bool{"key": true, "keys": true, "pass": true, "pw": true, "pwd": true, "auth": true, "jwt": true, "bearer": true,
	"cookie": true, "cookies": true, "sig": true, "pin": true, "otp": true, "psk": true, "passin": true, "passout": true,
	"mnemonic": true, "hmac": true, "sessionid": true, "dsn": true}

// optionWords do so in the name of an option only. With the AWS CLI, they come before items and statements.
var optionWords = map[string]bool{"item": true, "items": true, "statement": true, "statements": true, "session": true, "seed": true, "salt": true,
	"nonce": true}

// harmless are names that a rule above would take for a secret's, and that help to understand a command line.
var harmless = map[string]bool{"--key-schema": true, "--no-session": true, "-session": true}

// speaksOfSecret reports whether the name of an option, variable, header or member says that its value is secret.
func speaksOfSecret(name string) bool {
	if name == "" || len(name) > 128 || harmless[name] {
		return false
	}
	lower := strings.ToLower(name)
	for _, part := range secretParts {
		if strings.Contains(lower, part) {
			return true
		}
	}
	option := name[0] == '-'
	return anyWord(name, func(word string) bool { return secretWords[word] || option && optionWords[word] })
}

// anyWord splits a name at everything that is no letter or digit, and before upper-case letters that follow lower-case ones, and
// reports whether f holds for a word, given in lower case.
func anyWord(name string, f func(string) bool) bool {
	start := 0
	for i := 0; i <= len(name); i++ {
		end := i == len(name) || !isWordByte(name[i])
		hump := !end && i > start && isUpper(name[i]) && !isUpper(name[i-1])
		if !end && !hump {
			continue
		}
		if i > start && f(strings.ToLower(name[start:i])) {
			return true
		}
		start = i
		if end {
			start++
		}
	}
	return false
}

func isWordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

// printable replaces control characters, invalid UTF-8, and characters that turn the direction of text.
func printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if unprintable(r) {
			return '?'
		}
		return r
	}, s)
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// shorten cuts s to at most limit bytes, an ellipsis included, between two characters.
func shorten(s string, limit int) string {
	const ellipsis = "…"
	if len(s) <= limit {
		return s
	}
	cut := max(limit-len(ellipsis), 0)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	if limit < len(ellipsis) {
		return s[:cut]
	}
	return s[:cut] + ellipsis
}
