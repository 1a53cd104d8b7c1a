package host

import (
	"slices"
	"strings"
)

// valueKind says what of an option's value is secret.
type valueKind uint8

const (
	// shown: nothing, as far as the option tells.
	shown valueKind = iota
	// secret: all of it.
	secret
	// body: all of it, unless it begins with @, which stands before the name of a file.
	body
	// cookie: all of it if it has an equals sign. Without one it is the name of a file.
	cookie
	// userinfo: what follows the first colon of "user:password" or "file:password".
	userinfo
	// proxy: what stands before the last @ of "user:password@host:port".
	proxy
)

// hidden returns which bytes of a value are not to be shown; from equals to if there are none.
func (k valueKind) hidden(value string) (from, to int) {
	switch k {
	case secret:
		return 0, len(value)
	case body:
		if !strings.HasPrefix(value, "@") {
			return 0, len(value)
		}
	case cookie:
		if strings.Contains(value, "=") {
			return 0, len(value)
		}
	case userinfo:
		// That of a URL is found by itself.
		if i := strings.IndexByte(value, ':'); i >= 0 && !strings.HasPrefix(value[i:], "://") {
			return i + 1, len(value)
		}
	case proxy:
		if i := strings.LastIndexByte(value, '@'); i >= 0 && !strings.Contains(value, "://") {
			return 0, i
		}
	}
	return 0, 0
}

// program is what is known of a program's options.
type program struct {
	// options are those with a secret in their value: "p" for -p, "--name" for --name.
	options map[string]valueKind
	// valued are the letters of other options with a value. If there are any, the program takes letters in one argument (-sSu x),
	// and all letters that are in neither list stand for themselves.
	valued string
	// carries: it runs another program, which its arguments name.
	carries bool
	// login are options that take a secret once "login" is among the arguments.
	login map[string]valueKind
}

// anyProgram are options that mean the same with many programs.
var anyProgram = map[string]valueKind{"u": userinfo, "--user": userinfo, "U": userinfo, "--proxy-user": userinfo, "--creds": userinfo}

var (
	curl = &program{
		options: map[string]valueKind{
			"d": body, "F": body, "--data": body, "--data-ascii": body, "--data-binary": body, "--data-raw": body, "--data-urlencode": body,
			"--json": body, "--form": body, "--form-string": body,
			"u": userinfo, "--user": userinfo, "U": userinfo, "--proxy-user": userinfo, // in anyProgram, but not with other letters before them
			"b": cookie, "--cookie": cookie,
			"E": userinfo, "--cert": userinfo, "--proxy-cert": userinfo,
			"x": proxy, "--proxy": proxy, "--preproxy": proxy, "--socks4": proxy, "--socks4a": proxy, "--socks5": proxy, "--socks5-hostname": proxy,
		},
		valued: "ACDHKPQTXYcehmortwyz",
	}
	wget = &program{options: map[string]valueKind{"--post-data": body, "--body-data": body}}
	// passwordP and passwordA take a password after -p and -a, or joined to it.
	passwordP = &program{options: map[string]valueKind{"p": secret}}
	passwordA = &program{options: map[string]valueKind{"a": secret}}
	mysql     = &program{options: passwordP.options, valued: "DPSTehru"}
	ldap      = &program{options: map[string]valueKind{"w": secret}, valued: "DEFHOPRSTUXYabdefhlopsyz"}
	carrier   = &program{carries: true}
	registry  = &program{login: passwordP.options}
	container = &program{carries: true, login: passwordP.options}
)

// programs are known by their base names.
var programs = map[string]*program{
	"curl": curl, "wget": wget, "http": passwordA, "https": passwordA, "xh": passwordA, "xhs": passwordA,
	"mysql": mysql, "mysqldump": mysql, "mysqladmin": mysql, "mysqlimport": mysql, "mysqlshow": mysql, "mysqlcheck": mysql,
	"mariadb": mysql, "mariadb-dump": mysql, "mariadb-admin": mysql,
	"sshpass": {options: passwordP.options, carries: true}, "7z": passwordP, "7za": passwordP, "7zz": passwordP, "unrar": passwordP,
	"mongo": passwordP, "mongosh": passwordP, "mongodump": passwordP, "mongorestore": passwordP, "mongoexport": passwordP, "mongoimport": passwordP,
	"redis-cli": passwordA, "valkey-cli": passwordA, "keydb-cli": passwordA,
	"ldapsearch": ldap, "ldapadd": ldap, "ldapmodify": ldap, "ldapdelete": ldap, "ldapwhoami": ldap, "ldapcompare": ldap, "ldappasswd": ldap,
	"docker": container, "podman": container, "nerdctl": container, "oc": container, "kubectl": carrier, "crictl": carrier,
	"skopeo": registry, "buildah": registry, "oras": registry, "helm": registry, "crane": registry, "az": registry,
	"sudo": carrier, "doas": carrier, "su": carrier, "runuser": carrier, "gosu": carrier, "su-exec": carrier, "setpriv": carrier,
	"env": carrier, "nice": carrier, "ionice": carrier, "chrt": carrier, "taskset": carrier, "numactl": carrier, "prlimit": carrier,
	"timeout": carrier, "time": carrier, "nohup": carrier, "setsid": carrier, "stdbuf": carrier, "flock": carrier, "watch": carrier,
	"xargs": carrier, "parallel": carrier, "strace": carrier, "ltrace": carrier, "chroot": carrier, "unshare": carrier, "nsenter": carrier,
	"ip": carrier, "systemd-run": carrier, "ssh": carrier, "tini": carrier, "dumb-init": carrier, "catatonit": carrier, "busybox": carrier,
	"sh": carrier, "bash": carrier, "dash": carrier, "ash": carrier, "zsh": carrier, "ksh": carrier,
}

// command follows the words of a command line, and knows which are values of options that take a secret.
type command struct {
	// programs are those that were named, each once. What any of them takes as a secret is one: rather too much than too little.
	programs []*program
	// carries: words that follow may name programs.
	carries bool
	// login was among the words.
	login bool
	// next is what the next word is, because the last one was an option.
	next valueKind
}

// meet adds a program, if the name is one's.
func (c *command) meet(name string) {
	p := programs[name]
	if p == nil || slices.Contains(c.programs, p) {
		return
	}
	c.programs = append(c.programs, p)
	c.carries = c.carries || p.carries
}

// see takes the next word, and says what kind of value begins at word[at:].
func (c *command) see(word string) (kind valueKind, at int) {
	awaited := c.next
	// What is a value may yet be an option too, for programs of the same name differ.
	kind, at = c.option(word)
	c.next = shown
	if kind != shown && at == len(word) {
		c.next, kind = kind, shown
	}
	if word == "login" {
		c.login = true
	}
	if awaited != shown {
		return awaited, 0
	}
	return kind, at
}

// option says what kind of value the word's option takes, and where in the word it begins: at its end if it is the next word.
func (c *command) option(word string) (kind valueKind, at int) {
	if len(word) < 2 || word[0] != '-' {
		return shown, 0
	}
	for _, p := range c.programs {
		if kind, at = option(word, p.options, p.valued); kind != shown {
			return kind, at
		}
		if kind, at = option(word, p.login, ""); kind != shown && c.login {
			return kind, at
		}
	}
	return option(word, anyProgram, "")
}

// option does the same for one list of options. The word begins with a dash.
func option(word string, options map[string]valueKind, valued string) (kind valueKind, at int) {
	if word[1] == '-' {
		name, _, joined := strings.Cut(word, "=")
		at = len(name)
		if joined {
			at++
		}
		return options[name], at
	}
	for i := 1; i < len(word) && isWordByte(word[i]); i++ {
		if kind = options[word[i:i+1]]; kind != shown {
			return kind, i + 1
		}
		if valued == "" || strings.IndexByte(valued, word[i]) >= 0 {
			break
		}
	}
	return shown, 0
}
