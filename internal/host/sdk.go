package host

import (
	"path/filepath"
	"strings"
)

// SDKFromProgram guesses from the path of a program and its arguments, else from the names of the libraries that it has mapped. Of most
// programs only the language shows: "python", "node", "java", "ruby", "php", "dotnet". It is "" when nothing tells.
func SDKFromProgram(exe string, args []string, libraries []string) string {
	base := strings.ToLower(filepath.Base(exe))
	if strings.Contains(exe, "/aws-cli/") {
		return "aws-cli" // version 2 has its own copy of Python below /usr/local/aws-cli
	}
	language := ""
	switch {
	case isVersionOf(base, "python") || isVersionOf(base, "pypy"):
		language = "python"
		for _, arg := range args[min(len(args), 1):min(len(args), 4)] {
			if b := filepath.Base(arg); b == "aws" || arg == "awscli" {
				return "aws-cli"
			}
		}
	case base == "node" || base == "nodejs" || base == "bun" || base == "deno":
		language = "node"
	case base == "java" || base == "jsvc":
		language = "java"
	case isVersionOf(base, "ruby"):
		language = "ruby"
	case isVersionOf(base, "php") || isVersionOf(base, "php-fpm") || isVersionOf(base, "php-cgi"):
		language = "php"
	case base == "dotnet":
		language = "dotnet"
	case base == "curl" || base == "wget":
		return base
	}
	for _, lib := range libraries {
		switch {
		case strings.HasPrefix(lib, "libaws-cpp-sdk-"):
			return "aws-sdk-cpp"
		case language != "":
		case strings.HasPrefix(lib, "libpython") || strings.HasPrefix(lib, "_ssl.cpython"):
			language = "python"
		case lib == "libjvm.so":
			language = "java"
		case strings.HasPrefix(lib, "libnode.so"):
			language = "node"
		case strings.HasPrefix(lib, "libruby"):
			language = "ruby"
		case lib == "libphp.so" || strings.HasPrefix(lib, "libphp"):
			language = "php"
		case lib == "libcoreclr.so":
			language = "dotnet"
		}
	}
	if language != "" {
		return language
	}
	for _, lib := range libraries {
		if strings.HasPrefix(lib, "libcurl") {
			return "curl"
		}
	}
	return ""
}

// isVersionOf reports whether base is name, or name and a version: python3.11, php8.2.
func isVersionOf(base, name string) bool {
	rest, ok := strings.CutPrefix(base, name)
	return ok && strings.Trim(rest, "0123456789.") == ""
}

// SDKFromModules guesses from the import paths of the modules that a Go program is made of.
func SDKFromModules(modules []string) string {
	best := "go"
	for _, m := range modules {
		switch {
		case strings.HasPrefix(m, "github.com/aws/aws-sdk-go-v2"):
			return "aws-sdk-go-v2"
		case m == "github.com/aws/aws-sdk-go" || strings.HasPrefix(m, "github.com/aws/aws-sdk-go/"):
			best = "aws-sdk-go"
		}
	}
	return best
}
