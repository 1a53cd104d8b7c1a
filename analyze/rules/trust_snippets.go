package rules

// trustSnippets tell a client of a CA that is meant to be there, which is what people want who switch verification off.
var trustSnippets = []Snippet{
	{"boto3 (Django, Flask, any Python)", `# replaces the built-in list: the file needs Amazon's roots too, if some calls go out directly
boto3.client("dynamodb", verify="/etc/ssl/certs/corp-bundle.pem")   # never verify=False`},
	{"Environment, for Python, AWS CLI and Go", `AWS_CA_BUNDLE=/etc/ssl/certs/corp-bundle.pem`},
	{"AWS CLI, ~/.aws/config", `[default]
ca_bundle = /etc/ssl/certs/corp-bundle.pem
# and no --no-verify-ssl in scripts`},
	{"Go (aws-sdk-go-v2)", `pem, err := os.Open("/etc/ssl/certs/corp-bundle.pem")
cfg, err := config.LoadDefaultConfig(ctx, config.WithCustomCABundle(pem))
// and no InsecureSkipVerify`},
	{"Java (SDK v2)", `keytool -importcert -alias corp -file corp-ca.pem -keystore truststore.p12 -storepass changeit
java -Djavax.net.ssl.trustStore=truststore.p12 -Djavax.net.ssl.trustStorePassword=changeit …
// and no TRUST_ALL_CERTIFICATES, no trust manager of your own`},
	{"Node (SDK v3)", `NODE_EXTRA_CA_CERTS=/etc/ssl/certs/corp-ca.pem node app.js   # adds to the built-in list
// and no NODE_TLS_REJECT_UNAUTHORIZED=0, no rejectUnauthorized: false`},
}
