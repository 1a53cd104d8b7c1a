// Goclient is the AWS SDK for Go v2 in a program: the options are the first argument, in JSON; the outcome goes to stdout. It is a module
// of its own, so that dynwatch does not depend on the SDK.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type options struct {
	Region    string `json:"region"`
	Endpoint  string `json:"endpoint"`
	Insecure  bool   `json:"insecure"`
	DualStack bool   `json:"dual_stack"`
	FIPS      bool   `json:"fips"`
}

func main() {
	problem := ""
	if err := work(os.Args[1]); err != nil {
		problem = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(map[string]string{"problem": problem})
}

func work(argument string) error {
	var o options
	if err := json.Unmarshal([]byte(argument), &o); err != nil {
		return err
	}
	// One of the tests' clients waits in vain until all observers are ready, which may take that long.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(o.Region), config.WithRetryMaxAttempts(1))
	if err != nil {
		return err
	}
	client := dynamodb.NewFromConfig(cfg, func(d *dynamodb.Options) {
		if o.Endpoint != "" {
			d.BaseEndpoint = aws.String(o.Endpoint)
		}
		if o.DualStack {
			d.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
		}
		if o.FIPS {
			d.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
		}
		d.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			// A request that comes before the connection of the one before is free again would open another, which is then not used.
			t.MaxConnsPerHost = 1
			if o.Insecure {
				t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
			}
		})
	})
	id := &types.AttributeValueMemberS{Value: "customer-of-the-tests"}
	item := map[string]types.AttributeValue{"id": id, "note": &types.AttributeValueMemberS{Value: os.Getenv("E2E_NOTE")}}
	if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("Orders"), Item: item}); err != nil {
		return err
	}
	found, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("Orders"), Key: map[string]types.AttributeValue{"id": id}})
	if err != nil {
		return err
	}
	if n, _ := found.Item["note"].(*types.AttributeValueMemberS); n == nil || n.Value != os.Getenv("E2E_NOTE") {
		return fmt.Errorf("another item came back")
	}
	return nil
}
