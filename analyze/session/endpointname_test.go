package session

import (
	"net/netip"
	"testing"
)

func TestEndpointName(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    Endpoint
		want string
	}{
		{"the name that was asked for", Endpoint{Service: "dynamodb", Region: "us-east-1", Name: "dynamodb.us-east-1.amazonaws.com", AddrDynamoDB: Yes}, "dynamodb.us-east-1.amazonaws.com"},
		{"an address of DynamoDB's", Endpoint{Service: "dynamodb", Region: "us-east-1", AddrDynamoDB: Yes}, "dynamodb in us-east-1"},
		{"an address of somebody's", Endpoint{Service: "dynamodb", Region: "us-east-1", AddrDynamoDB: No}, "192.0.2.7"},
		{"an unknown Region", Endpoint{Service: "dynamodb", AddrDynamoDB: Yes}, "192.0.2.7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Session{Server: netip.MustParseAddrPort("192.0.2.7:443"), Endpoint: tt.e}
			if got := s.EndpointName(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
