package sdk

import "testing"

func TestFromUserAgent(t *testing.T) {
	for agent, want := range map[string]string{
		"Boto3/1.34.1 md/Botocore#1.34.1 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.11.2":               "boto3",
		"Botocore/1.34.1 ua/2.0 os/linux#6.1":                                                                 "botocore",
		"aiobotocore/2.7.0 md/Botocore#1.31":                                                                  "aiobotocore",
		"aws-cli/2.15.0 Python/3.11.6 Linux/6.1 exe/x86_64.ubuntu.22 prompt/off command/dynamodb.scan":        "aws-cli",
		"aws-sdk-go-v2/1.30.3 ua/2.0 os/linux lang/go#1.22.5 api/dynamodb#1.34.4":                             "aws-sdk-go-v2",
		"aws-sdk-go/1.44.0 (go1.20; linux; amd64)":                                                            "aws-sdk-go",
		"APN/1.0 HashiCorp/1.0 Terraform/1.5.0 aws-sdk-go/1.44.0":                                             "aws-sdk-go",
		"aws-sdk-js/3.600.0 ua/2.1 os/linux#6.1 lang/js md/nodejs#20.11":                                      "aws-sdk-js",
		"aws-sdk-nodejs/2.1400.0 linux/v18.17.0 promise":                                                      "aws-sdk-js",
		"aws-sdk-java/2.25.0 Linux/6.1 OpenJDK_64-Bit_Server_VM/17 Java/17 vendor/Debian io/sync http/Apache": "aws-sdk-java",
		"aws-sdk-rust/1.3.1 os/linux lang/rust/1.78.0":                                                        "aws-sdk-rust",
		"aws-sdk-php/3.300 OS/Linux lang/php/8.2 GuzzleHttp/7":                                                "aws-sdk-php",
		"aws-sdk-ruby3/3.190 ruby/3.2 x86_64-linux aws-sdk-dynamodb/1.96":                                     "aws-sdk-ruby",
		"aws-sdk-cpp/1.11 ua/2.0 os/Linux":                                                                    "aws-sdk-cpp",
		"aws-sdk-dotnet-coreclr/3.7.300 aws-sdk-dotnet-core/3.7":                                              "aws-sdk-dotnet",
		"python-requests/2.31.0":                                                                              "requests",
		"curl/7.88.1":                                                                                         "curl",
		"Go-http-client/1.1":                                                                                  "go",
		"notcurl/1":                                                                                           "",
		"Mozilla/5.0":                                                                                         "",
		"":                                                                                                    "",
	} {
		if got := FromUserAgent(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
}
