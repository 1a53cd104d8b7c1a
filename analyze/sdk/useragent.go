package sdk

import "strings"

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

// FromUserAgent guesses the AWS SDK, or else the HTTP library, from a User-Agent header. It is "" when the header names none that is known.
func FromUserAgent(agent string) string {
	agent = agent[:min(len(agent), 1024)]
	for _, u := range userAgents {
		if i := indexFold(agent, u.product); i >= 0 && (i == 0 || !partOfName(agent[i-1])) {
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

// partOfName reports whether c before a product makes it the end of another one's name.
func partOfName(c byte) bool {
	return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
