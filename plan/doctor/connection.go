package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// soon is how long a certificate should be good for.
const soon = 7 * 24 * time.Hour

func endpoints(f *Facts) []Finding {
	if f.Connection != nil {
		return fail("endpoints", hintOf(f.Connection, "say how to reach etcd by --endpoints, --cacert, --cert and --key"), "%v", f.Connection)
	}
	var all []Finding
	answering := 0
	for _, e := range f.Endpoints {
		if e.Err == nil {
			answering++
		}
	}
	if answering > 0 {
		all = ok("endpoints", "%d of %d answer", answering, len(f.Endpoints))
	}
	for _, e := range f.Endpoints {
		switch {
		case e.Err == nil:
		case answering == 0:
			all = append(all, fail("endpoints", e.Hint, "%v", e.Err)...)
		default:
			all = append(all, warn("endpoints", e.Hint, "%v", e.Err)...)
		}
	}
	return all
}

func certificates(f *Facts) []Finding {
	if f.PlainText {
		return warn("TLS", "listen with TLS: who can reach etcd owns the cluster", "none: the connection is in plain text")
	}
	var all []Finding
	if f.Unverified {
		all = warn("TLS", "leave out --insecure-skip-tls-verify", "whoever answers is believed to be etcd")
	}
	var first *Certificate // to expire
	for i := range f.Certificates {
		c := &f.Certificates[i]
		switch left := c.NotAfter.Sub(f.Now); {
		case c.Err != nil: // an endpoint that shows none is told as one
			continue
		case f.Now.Before(c.NotBefore):
			all = append(all, fail("TLS", "compare the clocks of this machine and of "+c.where(), "%s: not valid before %s", c, date(c.NotBefore))...)
		case left <= 0 && c.Of == caCertificate && f.verified():
			all = append(all, warn("TLS", "take it out of the file", "%s: expired on %s; another one in the file is good for the endpoints", c, date(c.NotAfter))...)
		case left <= 0:
			all = append(all, fail("TLS", renew(c), "%s: expired on %s", c, date(c.NotAfter))...)
		case left < soon:
			all = append(all, warn("TLS", renew(c), "%s: expires on %s, in %s", c, date(c.NotAfter), rounded(left))...)
		}
		if first == nil || c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	if len(all) == 0 && first != nil {
		return ok("TLS", "%d certificates, good until %s at least", f.sound(), date(first.NotAfter))
	}
	return all
}

// verified reports whether an endpoint's certificate was found good: a CA has vouched for it that has not expired.
func (f *Facts) verified() bool {
	return !f.Unverified && slices.ContainsFunc(f.Endpoints, func(e Endpoint) bool { return e.Err == nil })
}

func (f *Facts) sound() (n int) {
	for _, c := range f.Certificates {
		if c.Err == nil {
			n++
		}
	}
	return n
}

// String says whose certificate it is, and for which names.
func (c *Certificate) String() string {
	if len(c.Names) == 0 {
		return c.Of
	}
	return c.Of + ", for " + strings.Join(c.Names, " ")
}

func (c *Certificate) where() string {
	if c.Of == clientCertificate || c.Of == caCertificate {
		return "who made the certificate"
	}
	return c.Of
}

// What certificates that no endpoint showed are of.
const (
	clientCertificate = "client"
	caCertificate     = "CA"
)

func renew(c *Certificate) string {
	if c.Of == clientCertificate {
		return "renew it, or give another in --cert and --key; on kubeadm nodes `kubeadm certs check-expiration` lists them"
	}
	return "renew it, and restart that member; on kubeadm nodes `kubeadm certs check-expiration` lists them"
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func rounded(d time.Duration) string {
	if days := int(d / (24 * time.Hour)); days >= 2 {
		return fmt.Sprintf("%d days", days)
	}
	return d.Round(time.Second).String()
}
