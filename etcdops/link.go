package etcdops

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// link is a connection to exactly one endpoint, and the memory of why it last broke: gRPC wraps the errors of its transport
// in text, or hides them behind a deadline.
type link struct {
	address address
	cfg     Config
	tls     *tls.Config // nil for plain text
	etcd    *clientv3.Client
	trouble *trouble
}

// dialLink makes a link that ends with life, and logs in if the configuration has a user: ctx bounds that. The error is an
// *EndpointError.
func dialLink(ctx, life context.Context, cfg Config, tlsConfig *tls.Config, a address) (*link, error) {
	l := &link{address: a, cfg: cfg, tls: tlsConfig, trouble: &trouble{}}
	transport := insecure.NewCredentials()
	if tlsConfig != nil {
		transport = credentials.NewTLS(tlsConfig)
	}
	living, end := context.WithCancel(life) // client/v3 has one context for the client's life and for logging in
	dialled := context.AfterFunc(ctx, end)
	etcd, err := cfg.dial(living, tlsConfig, []string{a.String()},
		grpc.WithContextDialer(l.connect),
		grpc.WithTransportCredentials(observedCredentials{transport, l.trouble}))
	if !dialled() { // ctx has ended, and with it what was dialled
		if err == nil {
			err = closeEtcd(etcd)
		} else {
			err = nil // it says no more than that
		}
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		end()
		return nil, l.diagnose(ctx, err)
	}
	l.etcd = etcd
	return l, nil
}

// connect is the link's dialer.
func (l *link) connect(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: l.cfg.DialTimeout}).DialContext(ctx, l.address.network(), l.address.addr)
	if err != nil {
		l.trouble.note(err)
	}
	return conn, err
}

// ping makes sure that an etcd answers that accepts the credentials. It asks as `etcdctl endpoint health` does, though without quorum:
// one key that anybody may name. What etcd itself says against it, such as a missing permission, is an answer too; only then the ID of the
// cluster is not told, and 0.
func (l *link) ping(ctx context.Context) (clusterID uint64, err error) {
	response, err := etcdserverpb.NewKVClient(l.etcd.ActiveConnection()).Range(ctx,
		&etcdserverpb.RangeRequest{Key: []byte("health"), Serializable: true}, grpc.WaitForReady(false))
	var etcdError rpctypes.EtcdError
	switch err = rpctypes.Error(err); {
	case err == nil:
		return response.GetHeader().GetClusterId(), nil
	case errors.As(err, &etcdError) && !loginRefused(err):
		return 0, nil
	}
	return 0, l.diagnose(ctx, err)
}

// status asks the member for its status. Unlike client/v3's Status it uses the connection that stands, and it doesn't wait for one that can't be made.
func (l *link) status(ctx context.Context) (*etcdserverpb.StatusResponse, error) {
	response, err := etcdserverpb.NewMaintenanceClient(l.etcd.ActiveConnection()).Status(ctx, &etcdserverpb.StatusRequest{}, grpc.WaitForReady(false))
	if err != nil {
		return nil, l.diagnose(ctx, rpctypes.Error(err))
	}
	return response, nil
}

// probeAll pings every endpoint at once and returns, in their order, those that answer and what is wrong with the others. The error
// is a *ConfigError for endpoints of different clusters: what stands in one would pass for gone whenever the other is asked.
func probeAll(ctx context.Context, cfg Config, tlsConfig *tls.Config, addresses []address) (good []string, bad []*EndpointError, err error) {
	errs, clusters := make([]error, len(addresses)), make([]uint64, len(addresses))
	var wg sync.WaitGroup
	for i, a := range addresses {
		wg.Go(func() { clusters[i], errs[i] = probe(ctx, cfg, tlsConfig, a) })
	}
	wg.Wait()
	first := slices.IndexFunc(clusters, func(id uint64) bool { return id != 0 })
	for i, id := range clusters {
		if id != 0 && id != clusters[first] {
			return nil, nil, &ConfigError{
				fmt.Errorf("endpoints %s and %s: members of different clusters, %x and %x", addresses[first], addresses[i], clusters[first], id),
				"name members of one cluster in --endpoints: the one that holds the pods",
			}
		}
	}
	for i, a := range addresses {
		var e *EndpointError
		switch {
		case errs[i] == nil:
			good = append(good, a.String())
		case errors.As(errs[i], &e):
			bad = append(bad, e)
		default:
			bad = append(bad, &EndpointError{Endpoint: a.String(), Err: errs[i]})
		}
	}
	return good, bad, nil
}

// probe pings one endpoint, over a connection of its own.
func probe(ctx context.Context, cfg Config, tlsConfig *tls.Config, a address) (clusterID uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout+cfg.CommandTimeout)
	defer cancel()
	l, err := dialLink(ctx, ctx, cfg, tlsConfig, a)
	if err != nil {
		return 0, err
	}
	clusterID, err = l.ping(ctx)
	return clusterID, errors.Join(err, closeEtcd(l.etcd))
}

// trouble remembers why the last connection of a link broke. It is safe for concurrent use.
type trouble struct {
	mu  sync.Mutex
	err error
}

// note remembers an error; nil forgets, because the endpoint answers again.
func (t *trouble) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func (t *trouble) last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// observedCredentials note what goes wrong in the handshake and on the connection after it.
type observedCredentials struct {
	credentials.TransportCredentials
	trouble *trouble
}

func (c observedCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		c.trouble.note(err)
		return nil, nil, err
	}
	return &observedConn{Conn: conn, trouble: c.trouble}, info, nil
}

func (c observedCredentials) Clone() credentials.TransportCredentials {
	return observedCredentials{c.TransportCredentials.Clone(), c.trouble}
}

// observedConn notes the first error of a connection. Over TLS 1.3 a server that wants a client certificate says so only
// after the client's handshake is done, by an alert that is found where its first answer should be.
type observedConn struct {
	net.Conn
	trouble  *trouble
	answered sync.Once
	broken   sync.Once
}

func (c *observedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.answered.Do(func() { c.trouble.note(nil) })
	}
	if err != nil {
		c.broken.Do(func() { c.trouble.note(err) })
	}
	return n, err
}

func (c *observedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.broken.Do(func() { c.trouble.note(err) })
	}
	return n, err
}
