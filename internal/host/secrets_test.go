package host

import (
	"strings"
	"testing"
	"time"
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
		{"curl user with an equals sign", []string{"curl", "--user=bob:hunter2", "--proxy-user=bob:hunter2", "x"}, "curl --user=bob:*** --proxy-user=bob:*** x"},
		{"curl user after other letters", []string{"curl", "-sSu", "bob:hunter2", "x"}, "curl -sSu bob:*** x"},
		{"curl proxy user joined", []string{"curl", "-sUbob:hunter2", "-Ubob:hunter2", "x"}, "curl -sUbob:*** -Ubob:*** x"},
		{"curl letters with a value", []string{"curl", "-XPOST", "-sou", "bob:x", "x"}, "curl -XPOST -sou bob:x x"},
		{"curl body after other letters", []string{"curl", "-sd", "hunter2", "-sdhunter2", "x"}, "curl -sd *** -sd*** x"},
		{"curl cookie", []string{"curl", "-b", "sid=hunter2", "-sbsid=hunter2", "x"}, "curl -b *** -sb*** x"},
		{"curl cookie file", []string{"curl", "-b", "jar.txt", "x"}, "curl -b jar.txt x"},
		{"curl certificate", []string{"curl", "-E", "c.pem:hunter2", "--cert", "c.pem:hunter2", "--cert=c.pem", "x"}, "curl -E c.pem:*** --cert c.pem:*** --cert=c.pem x"},
		{"curl proxy", []string{"curl", "-x", "bob:hunter2@proxy:3128", "--proxy", "bob:hunter2@proxy:3128", "x"}, "curl -x ***@proxy:3128 --proxy ***@proxy:3128 x"},
		{"curl proxy with a scheme", []string{"curl", "-x", "http://bob:hunter2@proxy:3128", "x"}, "curl -x http://***@proxy:3128 x"},
		{"curl proxy without user", []string{"curl", "-x", "proxy:3128", "x"}, "curl -x proxy:3128 x"},
		{"behind sudo", []string{"sudo", "-u", "app", "/usr/bin/mysql", "-phunter2"}, "sudo -u app /usr/bin/mysql -p***"},
		{"behind several", []string{"/usr/bin/env", "A=b", "timeout", "5", "nice", "-n", "3", "curl", "-d", "hunter2"}, "/usr/bin/env A=b timeout 5 nice -n 3 curl -d ***"},
		{"in a container of the same name", []string{"docker", "exec", "mysql", "mysql", "-phunter2"}, "docker exec mysql mysql -p***"},
		{"port of a container named as a program", []string{"docker", "run", "--name", "mysql", "-p", "3306:3306", "x"}, "docker run --name mysql -p 3306:3306 x"},
		{"docker login", []string{"docker", "login", "-u", "bob", "-p", "hunter2"}, "docker login -u bob -p ***"},
		{"podman login", []string{"podman", "login", "-phunter2", "x"}, "podman login -p*** x"},
		{"mongosh", []string{"mongosh", "-u", "bob", "-p", "hunter2"}, "mongosh -u bob -p ***"},
		{"redis-cli", []string{"redis-cli", "-h", "x", "-a", "hunter2"}, "redis-cli -h x -a ***"},
		{"ldapsearch", []string{"ldapsearch", "-x", "-w", "hunter2", "-xwhunter2"}, "ldapsearch -x -w *** -xw***"},
		{"httpie", []string{"http", "-a", "bob:hunter2", "x"}, "http -a *** x"},
		{"end of options", []string{"app", "--password", "--", "hunter2"}, "app --password -- ***"},
		{"shell script with curl", []string{"sh", "-c", "x=$(curl -su bob:hunter2 https://example.com); y"}, "sh -c x=$(curl -su bob:*** https://example.com); y"},
		{"shell script with quoted values", []string{"sh", "-c", `curl -u 'bob:hunter2 hunter2' -d '{"a": "hunter2"}' -ubob:'hunter2 hunter2' x`},
			`sh -c curl -u 'bob:***' -d '***' -ubob:*** x`},
		{"shell script in a shell script", []string{"sh", "-c", `exec sh -c "mysql -phunter2" x`}, `sh -c exec sh -c "mysql -p***" x`},
		{"shell script of several lines", []string{"sh", "-c", "set -e\nmysql -phunter2\ncurl -d hunter2 x"}, "sh -c set -e mysql -p*** curl -d *** x"},
		{"shell script with another program's -d", []string{"sh", "-c", "cut -d , -f 1"}, "sh -c cut -d , -f 1"},
		{"list of arguments", []string{"app", `{"command": ["mysql", "-phunter2", "x"]}`}, `app {"command": ["mysql", "-p***", "x"]}`},
		{"arguments in one", []string{"curl -d hunter2 -x bob:hunter2@proxy:3128 x"}, "curl -d *** -x ***@proxy:3128 x"},
		{"path of the program", []string{"/opt/token-service/bin/app", "serve"}, "/opt/token-service/bin/app serve"},
		{"name of the program", []string{"/usr/lib/systemd/systemd-passwd-agent", "run"}, "/usr/lib/systemd/systemd-passwd-agent run"},
		{"path among the arguments", []string{"java", "-cp", "/opt/auth/lib.jar", "com.example.Main"}, "java -cp /opt/auth/lib.jar com.example.Main"},
		{"path of a script", []string{"python3", "/srv/secrets-rotator/main.py", "--region", "us-east-1"}, "python3 /srv/secrets-rotator/main.py --region us-east-1"},
		{"name of a script", []string{"python3", "rotate_secrets.py", "us-east-1"}, "python3 rotate_secrets.py us-east-1"},
		{"npm setting", []string{"npm", "config", "set", "//registry.example.com/:_authToken", "hunter2"}, "npm config set //registry.example.com/:_authToken ***"},
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

// TestMaskSecretsOfALongCommandLine cuts one at every place in a secret that is known by what stands behind it.
func TestMaskSecretsOfALongCommandLine(t *testing.T) {
	const url = "https://bob:hunter2hunter2@example.com/"
	for n := maxMaskInput - len(url) - 20; n < maxMaskInput; n++ {
		long := strings.Repeat("x", n)
		for _, line := range []string{"curl\x00-d\x00" + long + "\x00" + url + "\x00", "sh\x00-c\x00curl -d " + long + " " + url + "\x00"} {
			got := MaskSecrets(splitCmdline([]byte(line[:min(len(line), maxCmdlineRead)])), maxCmdline)
			if strings.Contains(got, "hunter2") || !strings.Contains(got, "curl -d ") {
				t.Fatalf("body of %d: %s", n, got)
			}
		}
	}
}

// TestMaskSecretsTakesLittleTime masks command lines of the greatest length that repeat what is looked for, and never close it.
func TestMaskSecretsTakesLittleTime(t *testing.T) {
	for _, p := range []string{"key=", `"key":"x",`, "AKIA", "://", "a://b@", "key ", "[", `"S":[`, "?key=&", "key%3d", `\`, `"key":{"a":`, "key=a(", `\"`,
		"curl -u ", "-u a:b ", " -d (", ` -d \`, " -d'", "-dx' ", `mysql -p" `, "curl -x '@ ", "curl -x (@", "docker login -p"} {
		for _, program := range []string{"app", "curl"} {
			began := time.Now()
			MaskSecrets([]string{program, "curl mysql " + strings.Repeat(p, maxMaskInput/len(p))}, 1<<20)
			// It takes some milliseconds at most, but this may be a slow machine, and the race detector may be on.
			if d := time.Since(began); d > time.Second {
				t.Errorf("%q: %v", p, d)
			}
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
			{first, before, "--password", "--", secret, after},
			{"curl", "-sSu", "bob:" + secret, before, after},
			{"sudo", "sh", "-c", before + " ; curl -u bob:" + secret, after},
			{"env", "sh", "-c", before + " ; mysql -p'" + secret + "' " + after},
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
