package e2e

import (
	"net/url"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// proxy is the way of an apiserver to a member of etcd. It can be cut.
type proxy struct {
	c *control
	*toxiproxy.Proxy
}

func (c *control) proxy() *proxy {
	c.t.Helper()
	member := got(url.Parse(c.etcd.Endpoints()[0]))(c.t)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := &proxy{c, toxiproxy.NewProxy(server, "etcd", "127.0.0.1:0", member.Host)}
	must(c.t, p.Start())
	c.t.Cleanup(p.Stop)
	return p
}

func (p *proxy) endpoints() []string { return []string{"https://" + p.Listen} }

// mend lets connections through again, at the address that they went to before.
func (p *proxy) mend() {
	p.c.t.Helper()
	must(p.c.t, p.Start())
}
