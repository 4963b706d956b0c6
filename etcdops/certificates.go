package etcdops

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"sync"
	"time"
)

// What certificates are of that no endpoint shows.
const (
	OfClient = "client"
	OfCA     = "CA"
)

// Certificate is one that a connection is made with.
type Certificate struct {
	Of        string   // the endpoint that shows it, OfClient or OfCA
	Names     []string // host names and addresses; else the subject's name
	NotBefore time.Time
	NotAfter  time.Time
	Err       error // why it could not be looked at
}

// Certificates looks at the certificates of a configuration: those that the endpoints show, whatever is wrong with them, the
// client's, and that of the CA that expires first. It fails only if the configuration makes no sense.
func Certificates(ctx context.Context, cfg Config) ([]Certificate, error) {
	cfg = cfg.withDefaults()
	addresses, err := cfg.addresses()
	if err != nil || !addresses[0].secure() {
		return nil, err
	}
	all := make([]Certificate, len(addresses))
	var wg sync.WaitGroup
	for i, a := range addresses {
		wg.Go(func() { all[i] = shown(ctx, cfg, a) })
	}
	wg.Wait()
	for of, file := range map[string]string{OfClient: cfg.Cert, OfCA: cfg.CACert} {
		if file != "" {
			all = append(all, inFile(of, file))
		}
	}
	slices.SortStableFunc(all[len(addresses):], func(a, b Certificate) int { return len(b.Of) - len(a.Of) })
	return all, nil
}

// shown shakes hands with an endpoint to see its certificate, and says nothing to it: whether that certificate is to be
// believed is for Connect to find out. The client shows its own, so that etcd does not log a stranger.
func shown(ctx context.Context, cfg Config, a address) Certificate {
	c := Certificate{Of: a.String()}
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	seen := false
	config := &tls.Config{
		InsecureSkipVerify: true,
		NextProtos:         []string{"h2"},
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			leaf, err := x509.ParseCertificate(raw[0])
			if err == nil {
				c.take(leaf)
				seen = true
			}
			return err
		},
	}
	if pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key); err == nil {
		config.Certificates = []tls.Certificate{pair}
	}
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(ctx, a.network(), a.addr)
	if err == nil {
		err = conn.Close()
	}
	if !seen {
		c.Err = err
	}
	return c
}

// inFile looks at the certificates of a file: the first one is the client's; of several of a CA the one that expires first
// counts.
func inFile(of, file string) Certificate {
	c := Certificate{Of: of}
	data, err := os.ReadFile(file)
	if err != nil {
		c.Err = err
		return c
	}
	found := false
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.Err = err
			return c
		}
		if !found || of == OfCA && leaf.NotAfter.Before(c.NotAfter) {
			c.take(leaf)
		}
		found = true
	}
	if !found {
		c.Err = errors.New("no PEM certificate in " + file)
	}
	return c
}

func (c *Certificate) take(leaf *x509.Certificate) {
	c.NotBefore, c.NotAfter = leaf.NotBefore, leaf.NotAfter
	c.Names = slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	if len(c.Names) == 0 && leaf.Subject.CommonName != "" {
		c.Names = []string{leaf.Subject.CommonName}
	}
}
