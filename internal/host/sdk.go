package host

import (
	"path/filepath"
	"slices"
	"strings"
)

// userAgents are the products of AWS SDKs as they stand in User-Agent or X-Amz-User-Agent, more telling ones first: boto3 names botocore
// too, and every tool that is made with an SDK names the SDK.
var userAgents = []struct{ product, sdk string }{
	{"aws-cli/", "aws-cli"},
	{"Boto3/", "boto3"},
	{"aiobotocore/", "aiobotocore"},
	{"Botocore/", "botocore"},
	{"Boto/", "boto"},
	{"PynamoDB/", "pynamodb"},
	{"aws-sdk-go-v2/", "aws-sdk-go-v2"},
	{"aws-sdk-go/", "aws-sdk-go"},
	{"aws-sdk-js/", "aws-sdk-js"},
	{"aws-sdk-nodejs/", "aws-sdk-js"},
	{"aws-sdk-java/", "aws-sdk-java"},
	{"aws-sdk-kotlin/", "aws-sdk-kotlin"},
	{"aws-sdk-scala/", "aws-sdk-scala"},
	{"aws-sdk-rust/", "aws-sdk-rust"},
	{"aws-sdk-swift/", "aws-sdk-swift"},
	{"aws-sdk-ruby3/", "aws-sdk-ruby"},
	{"aws-sdk-ruby2/", "aws-sdk-ruby"},
	{"aws-sdk-ruby/", "aws-sdk-ruby"},
	{"aws-sdk-php/", "aws-sdk-php"},
	{"aws-sdk-php2/", "aws-sdk-php"},
	{"aws-sdk-cpp/", "aws-sdk-cpp"},
	{"aws-sdk-dotnet-", "aws-sdk-dotnet"}, // aws-sdk-dotnet-coreclr/, -netstandard/, -45/, …
	{"aws-sdk-net/", "aws-sdk-dotnet"},
	{"aws-sdk-dax-", "aws-sdk-dax"},
	{"aws-sdk-unity", "aws-sdk-dotnet"},
	{"rusoto/", "rusoto"},
	{"python-requests/", "requests"},
	{"python-httpx/", "httpx"},
	{"Python-urllib/", "urllib"},
	{"python-urllib3/", "urllib3"},
	{"aiohttp/", "aiohttp"},
	{"Go-http-client/", "go"},
	{"node-fetch/", "node-fetch"},
	{"axios/", "axios"},
	{"undici", "undici"},
	{"okhttp/", "okhttp"},
	{"Apache-HttpClient/", "apache-httpclient"},
	{"Java-http-client/", "java"},
	{"Java/", "java"},
	{"curl/", "curl"},
	{"Wget/", "wget"},
	{"reqwest/", "reqwest"},
	{"hyper/", "hyper"},
	{"Ruby", "ruby"},
	{"GuzzleHttp/", "guzzle"},
}

// SDKFromUserAgent guesses the AWS SDK, or else the HTTP library, from a User-Agent header. It is "" when the header names none that is known.
func SDKFromUserAgent(agent string) string {
	agent = agent[:min(len(agent), 1024)]
	for _, u := range userAgents {
		if i := indexFold(agent, u.product); i >= 0 && (i == 0 || !isWordByte(agent[i-1]) && agent[i-1] != '-') {
			return u.sdk
		}
	}
	return ""
}

// indexFold is strings.Index for ASCII letters of any case.
func indexFold(s, part string) int {
	for i := 0; i+len(part) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(part)], part) {
			return i
		}
	}
	return -1
}

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

// SDKFromHello guesses from the shape of a ClientHello: its extensions in order, and the protocols of its ALPN. Only Python's ssl module is told:
// it announces post_handshake_auth (RFC 8446, Section 4.2.6), offers http/1.1 alone and no session tickets, when urllib3 drives it.
// Most others use their TLS library as it comes, and so look like each other.
func SDKFromHello(extensions []uint16, protocols []string) string {
	const sessionTicket, postHandshakeAuth = 35, 49
	if len(protocols) != 1 || protocols[0] != "http/1.1" {
		return ""
	}
	if slices.Contains(extensions, postHandshakeAuth) && !slices.Contains(extensions, sessionTicket) {
		return "python"
	}
	return ""
}
