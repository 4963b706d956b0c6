package etcdops

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// What a zero duration in Config stands for. The first two are etcdctl's defaults. Servers refuse pings that come more often
// than every 5 s (embed.DefaultGRPCKeepAliveMinTime), and grpc-go sends none more often than every 10 s.
const (
	DefaultDialTimeout      = 2 * time.Second
	DefaultCommandTimeout   = 5 * time.Second
	DefaultKeepAliveTime    = 10 * time.Second
	DefaultKeepAliveTimeout = 5 * time.Second
)

// MaxSendBytes is the largest request that a Client sends. etcd itself refuses requests above 1.5 MiB unless it is told otherwise by --max-request-bytes.
const MaxSendBytes = 16 << 20

// maxReconnectDelay bounds grpc's back-off to a member that was lost: its default of two minutes would outlast the incident.
const maxReconnectDelay = 3 * time.Second

// maxUnaryTries is how often client/v3 makes a request that changes nothing at one endpoint: again after its token has expired. Its
// default of 100 would hold on to an endpoint that is gone for seconds.
const maxUnaryTries = 2

// Config says how to reach a cluster. Its fields mean what etcdctl's flags of the same names mean.
type Config struct {
	// Endpoints are members' client addresses: host:port, http://host:port, https://host:port, unix://path or unixs://path.
	// A bare host:port is reached by TLS if any of CACert, Cert, ServerName, InsecureSkipVerify and RequireTLS is set, else in plain text.
	Endpoints []string

	CACert     string // file with the PEM certificates that sign the servers'; the system's roots if empty
	Cert, Key  string // files with the client's PEM certificate and key; both or none
	ServerName string // name to find in the servers' certificates instead of the endpoint's host

	RequireTLS         bool // etcdctl's --insecure-transport=false: plain text is refused
	InsecureSkipVerify bool // believe any server certificate; whoever sets it is to be warned

	Username, Password string // both or none

	// MetricsEndpoints are http:// or https:// URLs where members serve their metrics, in whatever order. They are looked for at the
	// client addresses, and where kubeadm has them, as well.
	MetricsEndpoints []string

	// Opener opens the encrypted values that are read; nil leaves them closed. A client that Connect returns closes it.
	Opener Opener

	DialTimeout      time.Duration // for a connection with its TLS handshake, and for logging in
	CommandTimeout   time.Duration // for one short request
	KeepAliveTime    time.Duration // silence on a connection in use after which the server is pinged
	KeepAliveTimeout time.Duration // wait for the answer to a ping before the connection counts as lost
}

// withDefaults returns the configuration with its zero durations filled in.
func (cfg Config) withDefaults() Config {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&cfg.DialTimeout, DefaultDialTimeout},
		{&cfg.CommandTimeout, DefaultCommandTimeout},
		{&cfg.KeepAliveTime, DefaultKeepAliveTime},
		{&cfg.KeepAliveTimeout, DefaultKeepAliveTimeout},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	return cfg
}

// Client is a connection to a cluster. It is safe for concurrent use.
type Client struct {
	etcd *clientv3.Client // of all endpoints that answered, for what any member can tell; its context is the client's life
	cfg  Config           // complete, with Endpoints normalised and reduced to those that answered
	tls  *tls.Config      // nil for plain text

	mu    sync.Mutex
	links map[string]*link // connections to one member each, by normalised endpoint

	elsewhere []place // what is kept in other etcds

	roster  roster        // who the members are, and where
	route   route         // which of them requests go to
	metrics *listeners    // where they serve their metrics
	hold    hold          // slows large reads
	streams streamSupport // endpoints that do not know RangeStream
	txnOps  txnLimit      // operations that a transaction may have
}

// Connect opens a cluster after it has made sure, at each endpoint by itself, that an etcd answers there and accepts the credentials.
// The endpoints that don't are returned beside the client, each with its cause, and the client leaves them alone.
// If none answers the error is a *NoEndpointError; if the configuration makes no sense, or names members of different clusters, a *ConfigError.
//
// The context bounds Connect, not the client: that lives until Close.
func Connect(ctx context.Context, cfg Config) (*Client, []*EndpointError, error) {
	cfg = cfg.withDefaults()
	addresses, err := cfg.addresses()
	if err != nil {
		return nil, nil, err
	}
	tlsConfig, err := cfg.tls(addresses[0].secure(), time.Now())
	if err != nil {
		return nil, nil, err
	}
	if cfg.MetricsEndpoints, err = cfg.metricsEndpoints(); err != nil {
		return nil, nil, err
	}
	good, bad, err := probeAll(ctx, cfg, tlsConfig, addresses)
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("connect: %w", ctx.Err())
	}
	if err != nil {
		return nil, nil, err
	}
	if len(good) == 0 {
		return nil, nil, &NoEndpointError{Endpoints: bad}
	}
	cfg.Endpoints = good
	etcd, err := cfg.dial(context.WithoutCancel(ctx), tlsConfig, good)
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	return &Client{etcd: etcd, cfg: cfg, tls: tlsConfig, links: make(map[string]*link), metrics: newListeners(cfg, tlsConfig)}, bad, nil
}

// Endpoints returns the endpoints that answered at Connect, each as scheme://address.
func (c *Client) Endpoints() []string { return c.etcd.Endpoints() }

// Close ends every connection of the client, those made by at included, and its opener. Requests in flight fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, p := range c.elsewhere {
		if p.client != nil {
			errs = append(errs, p.client.Close())
		}
	}
	for _, l := range c.links {
		errs = append(errs, closeEtcd(l.etcd))
	}
	clear(c.links)
	c.metrics.close()
	if c.cfg.Opener != nil {
		errs = append(errs, c.cfg.Opener.Close())
	}
	return errors.Join(append(errs, closeEtcd(c.etcd))...)
}

// closeEtcd closes a client of etcd's, whose Close reports the cancellation that it has just done itself.
func closeEtcd(etcd *clientv3.Client) error {
	if err := etcd.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close connection to %v: %w", etcd.Endpoints(), err)
	}
	return nil
}

// at returns a client that talks to this one endpoint only, as link does. It is shared, and the Client's to close.
func (c *Client) at(ctx context.Context, endpoint string) (*clientv3.Client, error) {
	l, err := c.link(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	return l.etcd, nil
}

// link returns the connection to one endpoint, made when it is first asked for: ctx bounds that, not the connection. The error
// names the endpoint.
func (c *Client) link(ctx context.Context, endpoint string) (*link, error) {
	c.mu.Lock()
	known := c.links[endpoint]
	c.mu.Unlock()
	if known != nil { // as it is for every request but the first
		return known, nil
	}
	a, err := parseAddress(endpoint, c.tls != nil)
	if err != nil {
		return nil, err
	}
	if a.secure() != (c.tls != nil) {
		return nil, fmt.Errorf("%s: differs from --endpoints in whether it uses TLS", a) // no password goes to a plain-text port by surprise
	}
	c.mu.Lock()
	l := c.links[a.String()]
	c.mu.Unlock()
	if l != nil {
		return l, nil
	}
	if l, err = dialLink(ctx, c.etcd.Ctx(), c.cfg, c.tls, a); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if first := c.links[a.String()]; first != nil {
		return first, closeEtcd(l.etcd)
	}
	if c.etcd.Ctx().Err() != nil {
		return nil, errors.Join(fmt.Errorf("%s: the client is closed", a), closeEtcd(l.etcd))
	}
	c.links[a.String()] = l
	return l, nil
}

// dial makes a client of etcd's. With a user name it logs in, within DialTimeout; without one it doesn't wait for a connection.
// The client ends with ctx, or when it is closed.
func (cfg Config) dial(ctx context.Context, tlsConfig *tls.Config, endpoints []string, opts ...grpc.DialOption) (*clientv3.Client, error) {
	opts = append(opts,
		grpc.WithNoProxy(), // straight to etcd, whatever HTTPS_PROXY says
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 250 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnectDelay},
			MinConnectTimeout: cfg.DialTimeout,
		}))
	if cfg.ServerName != "" {
		opts = append(opts, grpc.WithAuthority(cfg.ServerName)) // client/v3's resolver overrides the name in tls.Config
	}
	return clientv3.New(clientv3.Config{
		Context:              ctx,
		Endpoints:            endpoints,
		TLS:                  tlsConfig,
		Username:             cfg.Username,
		Password:             cfg.Password,
		DialTimeout:          cfg.DialTimeout,
		DialKeepAliveTime:    cfg.KeepAliveTime,
		DialKeepAliveTimeout: cfg.KeepAliveTimeout,
		MaxUnaryRetries:      maxUnaryTries,
		MaxCallSendMsgSize:   MaxSendBytes,
		MaxCallRecvMsgSize:   math.MaxInt32,
		Logger:               zap.NewNop(),
		DialOptions:          opts,
	})
}
