package host

import "testing"

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
