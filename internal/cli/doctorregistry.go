package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/doctor"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/trust"
)

// registryPatience bounds the questions to one registry.
const registryPatience = 20 * time.Second

// examineRegistry says whether a registry can be reached and trusted from this machine,
// with what the configuration file and the flags say of trust.
func examineRegistry(ctx context.Context, host string, f *trustFlags, registryCAs []string) ([]doctor.Result, error) {
	if err := certsd.CheckRegistry(host); err != nil {
		return nil, err
	}
	roots, err := registryRoots(host, f, registryCAs)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, registryPatience)
	defer cancel()
	pool, err := trust.Pool(roots)
	if err != nil {
		return nil, err
	}
	address := host
	if host == "docker.io" {
		address = "registry-1.docker.io"
	}
	name := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		name = h
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, strings.Trim(name, "[]"))
	if err != nil {
		return []doctor.Result{{Name: "name", Status: doctor.Fail, Detail: fmt.Sprintf("%s: %v", name, err),
			Remedy: "give engines its address with --add-host " + name + ":ADDRESS, or mend this machine's DNS"}}, nil
	}
	out := []doctor.Result{{Name: "name", Status: doctor.OK, Detail: name + " is " + strings.Join(addrs, ", ")}}
	seen, err := trust.Inspect(ctx, (&net.Dialer{}).DialContext, address, pool)
	if err != nil {
		r := doctor.Result{Name: "connection", Status: doctor.Fail, Detail: err.Error(), Remedy: "see whether a firewall or a proxy is in the way"}
		if strings.Contains(err.Error(), "TLS with") {
			r.Remedy = "if it has no TLS at all, say --insecure-registry " + host
		}
		return append(out, r), nil
	}
	issued := fmt.Sprintf("issued by %q, valid until %s", seen.Issuer, seen.Expires.UTC().Format(time.DateOnly))
	if advice := seen.Advice(host); advice != "" {
		why, remedy, ok := strings.Cut(advice, "; ")
		if !ok {
			remedy = "--insecure-registry " + host + " does without, if that is acceptable"
		}
		return append(out, doctor.Result{Name: "certificate", Status: doctor.Fail, Detail: why, Remedy: remedy}), nil
	}
	out = append(out, doctor.Result{Name: "certificate", Status: doctor.OK, Detail: issued})
	return append(out, pingRegistry(ctx, address, roots)), nil
}

// registryRoots are the authorities that count for a registry.
func registryRoots(host string, f *trustFlags, registryCAs []string) (string, error) {
	file, err := config.Load()
	if err != nil {
		return "", err
	}
	all := &engineFlags{trustFlags: *f, registryCAs: registryCAs}
	all.cas = append(file.Trust.CA, all.cas...)
	for h, path := range file.Trust.RegistryCA {
		all.registryCAs = append(all.registryCAs, h+"="+path)
	}
	var spec engine.Spec
	if err := errors.Join(all.trustFlags.parse(&spec), all.parseTrust(&spec)); err != nil {
		return "", err
	}
	text := spec.Trust.CAs
	for _, ca := range spec.RegistryCAs {
		if ca.Host == host {
			text += ca.PEM
		}
	}
	return text, nil
}

// pingRegistry asks whether it speaks the protocol, and what credentials it wants.
func pingRegistry(ctx context.Context, address, roots string) doctor.Result {
	fail := func(detail string) doctor.Result {
		return doctor.Result{Name: "protocol", Status: doctor.Fail, Detail: detail, Remedy: "is this a registry's address?"}
	}
	client, err := trust.Client(roots)
	if err != nil {
		return fail(err.Error())
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/v2/", nil)
	if err != nil {
		return fail(err.Error())
	}
	resp, err := client.Do(req)
	if err != nil {
		return fail(err.Error())
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	switch {
	case resp.StatusCode == http.StatusOK:
		return doctor.Result{Name: "protocol", Status: doctor.OK, Detail: "it answers, and asks for no credentials"}
	case resp.StatusCode == http.StatusUnauthorized:
		scheme, _, _ := strings.Cut(resp.Header.Get("WWW-Authenticate"), " ")
		return doctor.Result{Name: "protocol", Status: doctor.OK, Detail: "it answers; credentials by " + scheme + " may be needed (docker login)"}
	}
	return fail("it answered " + resp.Status)
}
