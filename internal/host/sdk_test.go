package host

import "testing"

func TestSDKFromUserAgent(t *testing.T) {
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
		if got := SDKFromUserAgent(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
}

func TestSDKFromProgram(t *testing.T) {
	for _, c := range []struct {
		name      string
		exe       string
		args      []string
		libraries []string
		want      string
	}{
		{"python", "/usr/bin/python3.11", []string{"python3", "manage.py"}, nil, "python"},
		{"pypy", "/opt/pypy3", nil, nil, "python"},
		{"AWS CLI, version 1", "/usr/bin/python3.11", []string{"/usr/bin/python3", "/usr/bin/aws", "s3"}, nil, "aws-cli"},
		{"AWS CLI as a module", "/usr/bin/python3.11", []string{"python3", "-m", "awscli", "s3"}, nil, "aws-cli"},
		{"AWS CLI, version 2", "/usr/local/aws-cli/v2/2.15.0/dist/aws", []string{"aws"}, nil, "aws-cli"},
		{"a python program with aws far behind", "/usr/bin/python3", []string{"python3", "a", "b", "c", "aws"}, nil, "python"},
		{"node", "/usr/local/bin/node", []string{"node", "index.js"}, nil, "node"},
		{"java", "/usr/lib/jvm/java-17/bin/java", nil, nil, "java"},
		{"php-fpm", "/usr/sbin/php-fpm8.2", nil, nil, "php"},
		{"curl", "/usr/bin/curl", nil, nil, "curl"},
		{"python embedded", "/usr/sbin/uwsgi", nil, []string{"libc.so.6", "libpython3.11.so.1.0"}, "python"},
		{"java embedded", "/opt/app", nil, []string{"libjvm.so"}, "java"},
		{"C++ SDK", "/opt/app", nil, []string{"libcurl.so.4", "libaws-cpp-sdk-dynamodb.so"}, "aws-sdk-cpp"},
		{"libcurl", "/opt/app", nil, []string{"libcurl.so.4.8.0", "libssl.so.3"}, "curl"},
		{"OpenSSL alone says nothing", "/opt/app", nil, []string{"libssl.so.3"}, ""},
		{"a name that begins alike", "/opt/nodejs-exporter", nil, nil, ""},
		{"pythonista", "/opt/pythonista", nil, nil, ""},
		{"nothing", "", nil, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := SDKFromProgram(c.exe, c.args, c.libraries); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSDKFromModules(t *testing.T) {
	for _, c := range []struct {
		modules []string
		want    string
	}{
		{nil, "go"},
		{[]string{"github.com/spf13/cobra"}, "go"},
		{[]string{"github.com/aws/aws-sdk-go", "github.com/spf13/cobra"}, "aws-sdk-go"},
		{[]string{"github.com/aws/aws-sdk-go", "github.com/aws/aws-sdk-go-v2/service/dynamodb"}, "aws-sdk-go-v2"},
		{[]string{"github.com/aws/aws-sdk-gothic"}, "go"},
	} {
		if got := SDKFromModules(c.modules); got != c.want {
			t.Errorf("%q: %q, want %q", c.modules, got, c.want)
		}
	}
}

func TestSDKFromHello(t *testing.T) {
	for _, c := range []struct {
		name       string
		extensions []uint16
		protocols  []string
		want       string
	}{
		{"urllib3 over Python's ssl module", []uint16{0, 11, 10, 16, 22, 23, 49, 13, 43, 45, 51, 21}, []string{"http/1.1"}, "python"},
		{"with session tickets", []uint16{0, 11, 10, 35, 16, 22, 23, 49, 13, 43, 45, 51, 21}, []string{"http/1.1"}, ""},
		{"curl", []uint16{0, 11, 10, 16, 22, 23, 49, 13, 43, 45, 51, 21}, []string{"h2", "http/1.1"}, ""},
		{"no ALPN", []uint16{0, 49}, nil, ""},
	} {
		if got := SDKFromHello(c.extensions, c.protocols); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
