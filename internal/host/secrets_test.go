package host

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMaskSecrets(t *testing.T) {
	cases := []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{"gunicorn", "-w", "4", "app:app"}, "gunicorn -w 4 app:app"},
		{"option with equals sign", []string{"app", "--password=hunter2 x&y", "-v"}, "app --password=*** -v"},
		{"option and value", []string{"app", "--db-password", "hunter2", "-v"}, "app --db-password *** -v"},
		{"value that begins with a dash", []string{"app", "--token", "-hunter2", "-v"}, "app --token *** -v"},
		{"option without value before another", []string{"app", "--password-stdin", "--token", "hunter2", "x"}, "app --password-stdin *** *** x"},
		{"bare word", []string{"app", "password", "hunter2"}, "app password ***"},
		{"camel case", []string{"java", "-Djavax.net.ssl.trustStorePassword=hunter2", "Main"}, "java -Djavax.net.ssl.trustStorePassword=*** Main"},
		{"environment", []string{"env", "AWS_SECRET_ACCESS_KEY=hunter2", "app"}, "env AWS_SECRET_ACCESS_KEY=*** app"},
		{"key in a longer word stays", []string{"app", "--keyspace=users", "--monkey=3"}, "app --keyspace=users --monkey=3"},
		{"file of a secret stays", []string{"app", "--token-file=/run/t", "--private-key-path=/etc/k.pem"}, "app --token-file=/run/t --private-key-path=/etc/k.pem"},
		{"access key", []string{"app", "AKIAIOSFODNN7EXAMPLE", "x=ASIAIOSFODNN7EXAMPLE"}, "app AKIA…MPLE x=ASIA…MPLE"},
		{"secret access key", []string{"app", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, "app ***"},
		{"digest stays", []string{"app", "da39a3ee5e6b4b0d3255bfef95601890afd80709"}, "app da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		{"URL", []string{"app", "https://user:hunter2@example.com/x?y=z"}, "app https://***@example.com/x?y=z"},
		{"URL with a token as user", []string{"git", "clone", "https://hunter2@example.com/x"}, "git clone https://***@example.com/x"},
		{"URL with a slash in the password", []string{"app", "amqp://u:hunter2/x@example.com/v"}, "app amqp://***@example.com/v"},
		{"URL with an at sign later", []string{"app", "https://example.com:8080/@user"}, "app https://example.com:8080/@user"},
		{"URL query", []string{"curl", "https://example.com/?a=b&X-Amz-Signature=hunter2&c=d"}, "curl https://example.com/?a=b&X-Amz-Signature=***&c=d"},
		{"curl user", []string{"curl", "-u", "user:hunter2", "https://example.com"}, "curl -u user:*** https://example.com"},
		{"curl user joined", []string{"curl", "-uuser:hunter2", "x"}, "curl -uuser:*** x"},
		{"curl header", []string{"curl", "-H", "Authorization: Bearer hunter2", "x"}, "curl -H Authorization: *** x"},
		{"header without a space", []string{"curl", "-H", "X-Api-Key:hunter2"}, "curl -H X-Api-Key:***"},
		{"mysql", []string{"/usr/bin/mysql", "-phunter2", "-P", "3306"}, "/usr/bin/mysql -p*** -P 3306"},
		{"port", []string{"app", "-p", "8080"}, "app -p 8080"},
		{"openssl", []string{"openssl", "rsa", "-passin", "pass:hunter2"}, "openssl rsa -passin ***"},
		{"shell script", []string{"sh", "-c", "export A_TOKEN=hunter2; run --password 'hunter2 hunter2' --x y"},
			"sh -c export A_TOKEN=*** run --password *** --x y"},
		{"shell script with a header", []string{"sh", "-c", `curl -H "Authorization: Bearer hunter2" https://example.com`},
			`sh -c curl -H "Authorization: ***" https://example.com`},
		{"title", []string{"worker: db password=hunter2 host=x"}, "worker: db password=*** host=x"},
		{"JSON", []string{"app", `{"password":"hunter2 hunter2","user":"x"}`}, `app {"password":***,"user":"x"}`},
		{"JSON with spaces", []string{"app", `{ "api_key" : "hunter2" }`}, `app { "api_key" : *** }`},
		{"AWS CLI item", []string{"aws", "dynamodb", "put-item", "--table-name", "t", "--item", `{"a":{"S":"hunter2"}}`},
			"aws dynamodb put-item --table-name t --item ***"},
		{"AWS CLI key", []string{"aws", "dynamodb", "get-item", "--key", `{"a":{"S":"hunter2"}}`}, "aws dynamodb get-item --key ***"},
		{"attributes in DynamoDB's JSON", []string{"app", `{"Item":{"a":{"S":"hunter2"},"b":{"SS": ["hunter2", "hunter2"]},"c":{"BOOL":true}}}`},
			`app {"Item":{"a":{"S":***},"b":{"SS": ***},"c":{"BOOL":true}}}`},
		{"attributes in a script", []string{"sh", "-c", `send "{\"a\": {\"N\" : \"hunter2\"}}"`}, `sh -c send "{\"a\": {\"N\" : ***}}"`},
		{"a list of secrets", []string{"app", `{"passwords":["hunter2","hunter2"],"user":"x"}`}, `app {"passwords":***,"user":"x"}`},
		{"a list that never ends", []string{"app", `{"tokens":["hunter2`}, `app {"tokens":***`},
		{"curl body", []string{"curl", "-d", "hunter2", "--data-raw", `{"hunter2":1}`, "x"}, "curl -d *** --data-raw *** x"},
		{"curl body joined", []string{"curl", "-dhunter2", "--json=hunter2", "x"}, "curl -d*** --json=*** x"},
		{"curl body from a file", []string{"curl", "--data-binary", "@item.json", "x"}, "curl --data-binary @item.json x"},
		{"wget body", []string{"/usr/bin/wget", "--post-data=hunter2", "x"}, "/usr/bin/wget --post-data=*** x"},
		{"another program's -d stays", []string{"cut", "-d", ",", "-F", "x"}, "cut -d , -F x"},
		{"letters that are no attributes", []string{"app", "-S:x", "N:1", "S=2"}, "app -S:x N:1 S=2"},
		{"nested JSON", []string{"app", `{"password":{"value":"hunter2"},"user":"x"}`}, `app {"password":***,"user":"x"}`},
		{"JSON below a name in the plural", []string{"app", `{"secrets":{"db":"hunter2"}}`}, `app {"secrets":***}`},
		{"nested lists", []string{"app", `{"tokens":[["x"],["hunter2"]],"n":1}`}, `app {"tokens":***,"n":1}`},
		{"nested JSON with a bracket in a string", []string{"app", `{"password":{"a":"}","b":"hunter2"},"n":1}`}, `app {"password":***,"n":1}`},
		{"nested JSON with an escaped quote", []string{"app", `{"password":{"a":"\"}","b":"hunter2"},"n":1}`}, `app {"password":***,"n":1}`},
		{"nested JSON in a string", []string{"app", `"{\"password\":{\"a\":\"\\\"}hunter2\"},\"n\":1}"`}, `app "{\"password\":***,\"n\":1}"`},
		{"a string in JSON in a string", []string{"app", `"{\"password\":\"a\\\"hunter2\",\"n\":1}"`}, `app "{\"password\":***,\"n\":1}"`},
		{"nested JSON that never ends", []string{"app", `{"password":{"a":"x"`, "y"}, `app {"password":*** ***`},
		{"Python tuple", []string{"python3", "-c", "get('https://example.com', auth=('bob', 'hunter2'), timeout=3)"},
			"python3 -c get('https://example.com', auth=***, timeout=3)"},
		{"Python tuple with spaces", []string{"python3", "-c", "auth = ('bob', 'hunter2')"}, "python3 -c auth = ***"},
		{"Python call", []string{"python3", "-c", "f(auth=HTTPBasicAuth('bob', 'hunter2') )"}, "python3 -c f(auth=*** )"},
		{"JWT", []string{"app", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2"}, "app eyJ***"},
		{"GitHub token", []string{"app", "x:ghp_hunter2hunter2"}, "app x:ghp_***"},
		{"control characters", []string{"app", "a\nb\x1b[31m\u202e"}, "app a b?[31m?"},
		{"not UTF-8", []string{"app", "a\xffb"}, "app a?b"},
		{"none", nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := MaskSecrets(c.args, 1000)
			if got != c.want {
				t.Errorf("MaskSecrets(%q)\n got %s\nwant %s", c.args, got, c.want)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("the secret shows: %s", got)
			}
		})
	}
}

func TestMaskSecretsKeepsTheLimit(t *testing.T) {
	args := []string{"app", strings.Repeat("ä", 300)}
	for limit := range 40 {
		got := MaskSecrets(args, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("limit %d: %q", limit, got)
		}
	}
}

// FuzzMaskSecrets holds that a secret that a name announces never shows, whatever stands around it.
func FuzzMaskSecrets(f *testing.F) {
	f.Add("app", "-v", "x y z")
	f.Add("sh -c 'x", `{"a":`, `"--key`)
	f.Add("mysql", "-u", "=")
	f.Fuzz(func(t *testing.T, first, before, after string) {
		const secret = "Zq7hunter2"
		if strings.Contains(first+before+after, "hunter") || len(first)+len(before) > 2000 {
			return
		}
		for _, args := range [][]string{
			{first, before, "--password", secret, after},
			{first, before, "--password=" + secret, after},
			{first, before, "API_TOKEN=" + secret + after},
			{first, before, "https://user:" + secret + "@example.com/", after},
			{first, "curl -H 'X-Api-Key: " + secret + "'", before},
			{first, `{"client_secret":"` + secret + `"}`, before},
			{first, `{"Item":{"a":{"S":"` + secret + `"}}}`, before},
			{first, `{"client_secret":{"values":["x","` + secret + `"]}}`, before},
		} {
			got := MaskSecrets(args, 4096)
			if strings.Contains(got, secret) {
				t.Errorf("%q shows the secret: %s", args, got)
			}
			if len(got) > 4096 || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\x1b\x00") {
				t.Errorf("%q is not clean: %q", args, got)
			}
		}
	})
}
