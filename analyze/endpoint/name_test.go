package endpoint

import (
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	aws := func(service, region, kind string) Name {
		return Name{Service: service, Region: region, Partition: "aws", Kind: kind}
	}
	tests := map[string]struct {
		host string
		want Name
	}{
		"regional":                     {"dynamodb.us-east-1.amazonaws.com", aws(DynamoDB, "us-east-1", KindPublic)},
		"a region no SDK lists yet":    {"dynamodb.us-south-1.amazonaws.com", aws(DynamoDB, "us-south-1", KindPublic)},
		"any case":                     {"DynamoDB.US-East-1.AmazonAWS.Com", aws(DynamoDB, "us-east-1", KindPublic)},
		"trailing dot":                 {"dynamodb.us-east-1.amazonaws.com.", aws(DynamoDB, "us-east-1", KindPublic)},
		"port":                         {"dynamodb.us-east-1.amazonaws.com:443", aws(DynamoDB, "us-east-1", KindPublic)},
		"trailing dot and port":        {"dynamodb.us-east-1.amazonaws.com.:80", aws(DynamoDB, "us-east-1", KindPublic)},
		"empty port":                   {"dynamodb.us-east-1.amazonaws.com:", aws(DynamoDB, "us-east-1", KindPublic)},
		"fips":                         {"dynamodb-fips.us-west-2.amazonaws.com", aws(DynamoDB, "us-west-2", KindFIPS)},
		"dual-stack":                   {"dynamodb.eu-west-1.api.aws", aws(DynamoDB, "eu-west-1", KindDualStack)},
		"fips dual-stack is fips":      {"dynamodb-fips.ca-west-1.api.aws", aws(DynamoDB, "ca-west-1", KindFIPS)},
		"search":                       {"search-dynamodb.us-east-1.amazonaws.com", aws(DynamoDB, "us-east-1", KindPublic)},
		"streams":                      {"streams.dynamodb.us-east-1.amazonaws.com", aws(Streams, "us-east-1", KindPublic)},
		"streams dual-stack has dash":  {"streams-dynamodb.us-east-1.api.aws", aws(Streams, "us-east-1", KindDualStack)},
		"dax control plane":            {"dax.us-east-1.amazonaws.com", aws(DAX, "us-east-1", KindPublic)},
		"dax cluster":                  {"my-c.abc123.dax-clusters.us-east-1.amazonaws.com:8111", aws(DAX, "us-east-1", "")},
		"dax cluster with id nodes":    {"my-c.nodes.dax-clusters.us-east-1.amazonaws.com", aws(DAX, "us-east-1", "")},
		"dax node":                     {"my-c-a.abc123.nodes.dax-clusters.us-east-1.amazonaws.com", aws(DAX, "us-east-1", "")},
		"older dax cluster, no region": {"c.abc123.clustercfg.dax.use1.cache.amazonaws.com", Name{Service: DAX, Partition: "aws"}},
		"account-based": {"123456789012.ddb.us-east-1.amazonaws.com",
			Name{Service: DynamoDB, Region: "us-east-1", Partition: "aws", Kind: KindAccount, Account: "123456789012"}},
		"account-based search, dual-stack": {"123456789012.search-ddb.us-east-1.api.aws",
			Name{Service: DynamoDB, Region: "us-east-1", Partition: "aws", Kind: KindAccount, Account: "123456789012"}},
		"interface, regional": {"vpce-0f1e2d3c-abcdefgh.dynamodb.us-east-1.vpce.amazonaws.com",
			Name{Service: DynamoDB, Region: "us-east-1", Partition: "aws", Kind: KindInterface, VPCE: "vpce-0f1e2d3c-abcdefgh"}},
		"interface, zonal": {"vpce-0f1e2d3c-abcdefgh-us-east-1a.streams.dynamodb.us-east-1.vpce.amazonaws.com",
			Name{Service: Streams, Region: "us-east-1", Partition: "aws", Kind: KindInterface, VPCE: "vpce-0f1e2d3c-abcdefgh", Zone: "us-east-1a"}},
		"china": {"dynamodb.cn-north-1.amazonaws.com.cn",
			Name{Service: DynamoDB, Region: "cn-north-1", Partition: "aws-cn", Kind: KindPublic}},
		"us-gov": {"dynamodb.us-gov-west-1.amazonaws.com",
			Name{Service: DynamoDB, Region: "us-gov-west-1", Partition: "aws-us-gov", Kind: KindPublic}},
		"sovereign cloud": {"streams.dynamodb.eusc-de-east-1.api.amazonwebservices.eu",
			Name{Service: Streams, Region: "eusc-de-east-1", Partition: "aws-eusc", Kind: KindDualStack}},
		"iso-b": {"dynamodb.us-isob-east-1.sc2s.sgov.gov",
			Name{Service: DynamoDB, Region: "us-isob-east-1", Partition: "aws-iso-b", Kind: KindPublic}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := ParseName(tt.host)
			if !ok || got != tt.want {
				t.Errorf("ParseName(%q) = %+v, %v; want %+v", tt.host, got, ok, tt.want)
			}
		})
	}
}

func TestParseNameRefusesLookAlikes(t *testing.T) {
	for _, host := range []string{
		"", ".", ":443", "amazonaws.com", ".amazonaws.com", "us-east-1.amazonaws.com", "localhost", "localhost:8000", "52.94.5.7", "[::1]:8000",
		"2600:1f18::1:443",
		"notdynamodb.us-east-1.amazonaws.com",
		"dynamodb.us-east-1.amazonaws.com.evil.example",
		"dynamodb.us-east-1.amazonaws.com.cn", // a region of aws below the suffix of aws-cn
		"dynamodb.us-east-1.notamazonaws.com",
		"x.dynamodb.us-east-1.amazonaws.com",
		"dynamodb.us-east-1.amazonaws.com..",
		"dynamodb..us-east-1.amazonaws.com",
		".dynamodb.us-east-1.amazonaws.com",
		"dynamodb.us-east-1.amazonaws.com:0", "dynamodb.us-east-1.amazonaws.com:65536", "dynamodb.us-east-1.amazonaws.com:123456",
		"dynamodb.us-east-1.amazonaws.com:https",
		"http://dynamodb.us-east-1.amazonaws.com", "user@dynamodb.us-east-1.amazonaws.com",
		"my-dynamodb-backups.s3.us-east-1.amazonaws.com",
		"dynamodb.amazonaws.com",          // the service principal
		"dynamodb.us-east-1.vpce.api.aws", // no endpoint id
		"dynamodb.us-\u212aast-1.amazonaws.com",
		"streams.dynamodb.us-east-1.api.aws",                                // dual-stack Streams has a dash here
		"streams-dynamodb.us-east-1.amazonaws.com",                          // and only there
		"123456789012.ddb.cn-north-1.amazonaws.com.cn",                      // account-based names are partition aws only
		"12345678901.ddb.us-east-1.amazonaws.com",                           // eleven digits
		"vpce-0f-ab.streams.dynamodb.us-east-1.vpce.api.aws",                // no source names one
		"vpce-0f-ab.dynamodb.cn-north-1.vpce.api.amazonwebservices.com.cn",  // nor this
		"vpce-0f-ab-us-east-1.dynamodb.us-east-1.vpce.amazonaws.com",        // a region is no zone
		"vpce-0g-ab.dynamodb.us-east-1.vpce.amazonaws.com",                  // not hexadecimal
		"c.abc.dax-clusters.us-east-1.api.aws",                              // DAX clusters are not dual-stack
		"dynamodb.us-east-1.amazonaws.com" + strings.Repeat("x", maxHost),   // no DNS name is that long
		strings.Repeat("x", maxHost) + ".dynamodb.us-east-1.amazonaws.com.", // nor that
	} {
		if n, ok := ParseName(host); ok || n != (Name{}) {
			t.Errorf("ParseName(%q) = %+v, %v; want nothing", host, n, ok)
		}
	}
}

func TestParseNameDoesNotAllocate(t *testing.T) {
	for _, host := range []string{"api.example.com", "s3.us-east-1.amazonaws.com", "dynamodb.us-east-1.amazonaws.com:443",
		"API.EXAMPLE.COM", "123456789012.ddb.us-east-1.amazonaws.com."} {
		if n := testing.AllocsPerRun(100, func() { ParseName(host) }); n != 0 {
			t.Errorf("ParseName(%q) allocates %v times", host, n)
		}
	}
}

func TestOtherAWSService(t *testing.T) {
	for host, want := range map[string]bool{
		"s3.us-east-1.amazonaws.com":                         true,
		"S3.US-EAST-1.AMAZONAWS.COM.:443":                    true,
		"my-dynamodb-backups.s3.us-east-1.amazonaws.com":     true,
		"my-dynamodb-backups.s3.amazonaws.com":               true,
		"dynamodb.s3-us-west-2.amazonaws.com":                true,
		"ec2-203-0-113-25.us-west-2.compute.amazonaws.com":   true,
		"my-dynamodb-1234.us-east-1.elb.amazonaws.com":       true,
		"sts.cn-north-1.amazonaws.com.cn":                    true,
		"lambda.us-east-1.api.aws":                           true,
		"vpce-0f-ab.sqs.us-east-1.vpce.amazonaws.com":        true,
		"c.abc123.0001.use1.cache.amazonaws.com":             true,
		"dynamodb.us-east-1.amazonaws.com":                   false,
		"123456789012.ddb.us-east-1.amazonaws.com":           false,
		"dax.us-east-1.amazonaws.com":                        false,
		"dynamodb.amazonaws.com":                             false,
		"dynamodb-next.us-east-1.amazonaws.com":              false,
		"vpce-0f-ab.streams.dynamodb.us-east-1.vpce.api.aws": false,
		"x.y.dax.use1.cache.amazonaws.com":                   false,
		"amazonaws.com":                                      false,
		"us-east-1.amazonaws.com":                            false,
		"api.example.com":                                    false,
		"s3.us-east-1.amazonaws.com.evil.example":            false,
		"":                                false,
		"10.0.0.1":                        false,
		"localhost:8000":                  false,
		"s3.us-east-1.amazonaws.com:port": false,
		"n.id.nodes.dax-clusters.us-east-1.amazonaws.com":              false,
		"vpce-0f-ab-us-east-1a.dynamodb.us-east-1.vpce.amazonaws.com.": false,
	} {
		if got := OtherAWSService(host); got != want {
			t.Errorf("OtherAWSService(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestMaskHost(t *testing.T) {
	for host, want := range map[string]string{
		"123456789012.ddb.us-east-1.amazonaws.com":     "********9012.ddb.us-east-1.amazonaws.com",
		"123456789012.DDB.us-east-1.api.aws.:443":      "********9012.DDB.us-east-1.api.aws.:443",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com": "********9012.dkr.ecr.us-east-1.amazonaws.com",
		"x.123456789012.s3-control.us-east-1.api.aws":  "x.********9012.s3-control.us-east-1.api.aws",
		"1234567890123.ddb.us-east-1.amazonaws.com":    "1234567890123.ddb.us-east-1.amazonaws.com",
		"dynamodb.us-east-1.amazonaws.com":             "dynamodb.us-east-1.amazonaws.com",
		"123456789012.example.com":                     "123456789012.example.com",
		"":                                             "",
	} {
		if got := MaskHost(host); got != want {
			t.Errorf("MaskHost(%q) = %q, want %q", host, got, want)
		}
	}
	if got := MaskAccount("12345"); got != "*****" {
		t.Errorf("MaskAccount of no account id = %q", got)
	}
}

func TestPartitionOf(t *testing.T) {
	for region, want := range map[string]string{
		"us-east-1": "aws", "us-south-1": "aws", "me-west-1": "aws", "us-gov-west-1": "aws-us-gov", "cn-north-1": "aws-cn",
		"eusc-de-east-1": "aws-eusc", "us-iso-east-1": "aws-iso", "us-isob-west-1": "aws-iso-b", "eu-isoe-west-1": "aws-iso-e",
		"us-isof-south-1": "aws-iso-f", "GLOBAL": "", "": "", "us-east": "", "us-east-": "", "us--1": "", "us-east-1a": "", "us-a-b-1": "",
	} {
		if got := PartitionOf(region); got != want {
			t.Errorf("PartitionOf(%q) = %q, want %q", region, got, want)
		}
	}
}

func BenchmarkParseName(b *testing.B) {
	for _, host := range []string{"api.example.com", "s3.us-east-1.amazonaws.com", "dynamodb.us-east-1.amazonaws.com",
		"123456789012.ddb.us-east-1.amazonaws.com"} {
		b.Run(host, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ParseName(host)
			}
		})
	}
}
