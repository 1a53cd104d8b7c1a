package host

import (
	"strings"
	"unicode/utf8"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// masked stands for what was taken out, ellipsis for what was left out at the end.
const (
	masked   = "***"
	ellipsis = "…"
)

// maxMaskInput is how many bytes of a command line are looked at: some of the patterns take time that grows with the square.
const maxMaskInput = 16 << 10

// MaskSecrets joins the arguments of a command line with spaces, without what looks like a secret: the values of options, assignments,
// headers and JSON members whose names speak of keys, tokens, passwords and the like, to the bracket that closes them; user information in
// URLs; AWS access keys and other tokens of known form; DynamoDB items and keys given to the AWS CLI, values of attributes in DynamoDB's JSON
// anywhere; and what options of well-known programs take that do not say so by name: curl -u and the bodies of requests, mysql -p, docker
// login -p, redis-cli -a. These programs are also found behind others such as sudo, and in a shell's script. The result has at most limit
// bytes and no control characters; of longer command lines only the first 16 KiB are looked at, to the last whole word.
//
// It is a guess in both directions. A secret given as a plain argument without any name is not recognised; a harmless word after
// one such as "key" is masked. The name of the program and paths are shown, and ask for nothing.
func MaskSecrets(args []string, limit int) string {
	var m masker
	budget := maxMaskInput
	for i, arg := range args {
		if m.out.Len() > limit || budget <= 0 {
			break
		}
		if i > 0 {
			m.out.WriteByte(' ')
		}
		if len(arg) > budget {
			// Half a word does not tell what it is: the start of a URL with a password, of a token.
			arg = flow.Printable(arg[:budget])
			m.argument(arg[:strings.LastIndexByte(arg, ' ')+1], i)
			m.out.WriteString(ellipsis)
			break
		}
		budget -= len(arg) + 1
		m.argument(flow.Printable(arg), i)
	}
	return shorten(m.out.String(), limit)
}

type masker struct {
	out     strings.Builder
	command command
	before  string // the argument before
	// pending: the argument before asks for this one to be masked.
	pending bool
}

// argument writes one argument.
func (m *masker) argument(arg string, index int) {
	if index == 0 && !strings.ContainsAny(arg, " \t") { // what sets its own title has all in one
		m.command.meet(baseName(arg))
		m.out.WriteString(inside(arg))
		return
	}
	kind, at := m.command.see(arg)
	if m.command.carries && m.before != "--name" && m.before != "--hostname" {
		m.command.meet(baseName(arg))
	}
	m.before = arg
	pending := m.pending
	if pending && (arg == "--" || strings.Trim(arg, ":=") == "") {
		m.out.WriteString(arg)
		return
	}
	m.pending = index > 0 && asksForMore(arg)
	if pending {
		m.out.WriteString(masked)
		return
	}
	if from, to := kind.hidden(arg[at:]); from < to {
		m.out.WriteString(whole(arg[:at+from]) + masked + whole(arg[at+to:]))
		return
	}
	m.out.WriteString(whole(arg))
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// asksForMore reports whether the argument names a secret that comes with the next argument.
func asksForMore(arg string) bool {
	if strings.ContainsAny(arg, "= \t") {
		return strings.HasSuffix(arg, "=") && speaksOfSecret(strings.TrimRight(arg, "="))
	}
	arg = strings.TrimRight(arg, ":")
	if strings.HasPrefix(arg, "-") {
		return speaksOfSecret(arg)
	}
	// The name of a file is no name of a secret: /opt/token-service/bin/app. npm's settings have one behind an address: //host/:_authToken.
	if i := strings.LastIndexByte(arg, '/'); i >= 0 {
		_, arg, _ = strings.Cut(arg[i:], ":")
	}
	return speaksOfSecret(arg) && !isProgramFile(arg)
}

// isProgramFile reports whether a name is that of a file for an interpreter.
func isProgramFile(name string) bool {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "py", "js", "mjs", "jar", "rb", "pl", "php", "sh":
		return strings.Contains(name, ".")
	}
	return false
}

// whole masks in an argument that nothing before it asks to mask.
func whole(arg string) string {
	// --name=value, NAME=value, -Dname=value: the value reaches to the end of the argument whatever is in it.
	if name, value, _ := strings.Cut(arg, "="); value != "" && isOptionName(name) && speaksOfSecret(name) {
		if isPathFor(name, value) {
			return name + "=" + inside(value)
		}
		return name + "=" + masked
	}
	return inside(arg)
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

// shorten cuts s to at most limit bytes, an ellipsis included, between two characters.
func shorten(s string, limit int) string {
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
