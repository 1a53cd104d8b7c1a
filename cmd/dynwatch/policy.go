package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
)

// policyFlags are the flags that say what is demanded and allowed; every command that judges has them, spelled alike.
type policyFlags struct {
	minVersion   string
	allowCA      []string
	pins         []string
	allowIssuer  []string
	allowProxy   []string
	allowRegion  []string
	allowKind    []string
	rangesFile   string
	endpoints    []string
	failOn       string
	failOnParsed session.Severity
	// warnings are what build found that the operator may not have meant.
	warnings []string
}

func (p *policyFlags) register(f *pflag.FlagSet) {
	f.StringVar(&p.minVersion, "min-version", "1.2", "lowest TLS `VERSION` that is no finding: 1.0, 1.1, 1.2, 1.3")
	f.StringArrayVar(&p.allowCA, "allow-ca", nil, "PEM or DER `FILE` of CA certificates that may sign for DynamoDB beside Amazon's (may be repeated)")
	f.StringArrayVar(&p.pins, "pin", nil, "`SHA256` of a public key (SPKI) that may sign for DynamoDB, in hex or base64 (may be repeated)")
	f.StringArrayVar(&p.allowIssuer, "allow-issuer", nil, "weaker than --allow-ca: the `DN` of a leaf's issuer, which anybody can write into a certificate (may be repeated)")
	f.StringArrayVar(&p.allowProxy, "allow-proxy", nil, "proxy `HOST:PORT` that DynamoDB sessions may go through (may be repeated)")
	f.StringArrayVar(&p.allowRegion, "allow-region", nil, "`REGION` that clients may talk to; others are findings (may be repeated)")
	f.StringArrayVar(&p.allowKind, "allow-kind", nil, "`KIND` of endpoint that clients may use: public, fips, dual-stack, account, interface; others are findings (may be repeated)")
	f.StringVar(&p.rangesFile, "ranges", "", "AWS's ip-ranges.json from `FILE` instead of the edition that is built in")
	f.StringArrayVar(&p.endpoints, "endpoint", nil, "`NAME[:PORT]` is DynamoDB's too; CIDR[:PORT] only says that a DynamoDB name may live there (may be repeated)")
}

// build turns the flags into what the analysis takes. Its errors are usage errors, files that are missing or hold something else included:
// without them nobody knows what the operator allows, so nothing is judged.
func (p *policyFlags) build() (*endpoint.Set, *trust.Store, *rules.Policy, error) {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	minVersion, err := session.ParseVersion(p.minVersion)
	if err != nil {
		note(fmt.Errorf("--min-version: %w", err))
	}
	if p.failOnParsed, err = session.ParseSeverity(p.failOn); err != nil {
		note(fmt.Errorf("--fail-on: %w", err))
	}
	policy := &rules.Policy{
		MinVersion: minVersion, AllowProxies: p.allowProxy, Regions: p.allowRegion, EndpointKinds: p.allowKind,
		OwnIssuers: len(p.allowCA)+len(p.pins)+len(p.allowIssuer) > 0,
	}
	note(policy.Validate())
	var tp trust.Policy
	for _, s := range p.pins {
		pin, err := trust.ParsePin(s)
		if err != nil {
			note(fmt.Errorf("--pin: %w", err))
			continue
		}
		tp.Pins = append(tp.Pins, pin)
	}
	tp.AllowIssuer = p.allowIssuer
	ranges := endpoint.Embedded()
	if p.rangesFile != "" {
		r, err := readRangesFile(p.rangesFile)
		if err != nil {
			return nil, nil, nil, &usageError{fmt.Errorf("--ranges: %w", err)}
		}
		ranges = r
	}
	set, err := endpoint.NewSet(ranges, p.endpoints)
	note(err)
	if len(errs) > 0 {
		return nil, nil, nil, &usageError{errors.Join(errs...)}
	}
	for _, name := range p.allowCA {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, nil, &usageError{fmt.Errorf("--allow-ca: %w", err)}
		}
		cas, err := trust.ParseCAFile(name, data)
		if err != nil {
			return nil, nil, nil, &hinted{usagef("--allow-ca: %w", err),
				"it takes the CA's certificate, not a key: openssl x509 -in FILE -noout -subject shows what a file holds"}
		}
		for _, ca := range cas {
			if ca.Warning != "" {
				p.warnings = append(p.warnings, "--allow-ca: "+ca.Warning)
			}
		}
		tp.AllowCA = append(tp.AllowCA, cas...)
	}
	store, err := trust.NewStore(tp)
	if err != nil {
		return nil, nil, nil, &usageError{err}
	}
	return set, store, policy, nil
}

func readRangesFile(name string) (*endpoint.Ranges, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := endpoint.ReadRanges(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}
