package etcdops

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	// metricsEvery is how often a member is asked for its metrics, at most: to gather them costs it more than a read.
	metricsEvery = 2 * time.Second
	// metricsAgain is when they are looked for again after they were found nowhere.
	metricsAgain = time.Minute
	// kubeadmMetricsPort is where kubeadm has etcd serve its metrics: on 127.0.0.1, in plain text.
	kubeadmMetricsPort = "2381"

	metricsPath = "/metrics"
)

// listeners finds out where the members serve their metrics, and asks them. It is safe for concurrent use.
type listeners struct {
	given []string // URLs, by the configuration
	http  *http.Client

	mu sync.Mutex
	by map[uint64]*listener // by the members' IDs
}

// listener is where one member's metrics are, or may be.
type listener struct {
	found string    // where they were; empty as long as they were not
	urls  []string  // where they may be, until then
	tried int       // of these
	next  time.Time // when to ask again
}

// newListeners returns listeners that have the credentials for etcd, nil for plain text.
func newListeners(cfg Config, tlsConfig *tls.Config) *listeners {
	return &listeners{
		given: cfg.MetricsEndpoints,
		by:    map[uint64]*listener{},
		http: &http.Client{
			Transport: &http.Transport{ // which asks no proxy
				DialContext:        (&net.Dialer{Timeout: cfg.DialTimeout}).DialContext,
				TLSClientConfig:    tlsConfig.Clone(),
				DisableCompression: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (l *listeners) close() { l.http.CloseIdleConnections() }

// metrics returns the metrics of a member, which answers at the endpoint, or nil if it is not its turn or they are not to
// be had. As long as they were not found it tries one place a call. They are believed only if the server that they are of
// has the member's ID.
func (l *listeners) metrics(ctx context.Context, m Member, endpoint string) *Metrics {
	at := l.turn(m, endpoint, time.Now())
	if at == "" {
		return nil
	}
	id, metrics, err := l.get(ctx, at)
	believed := err == nil && id == m.ID
	l.learn(m.ID, at, believed, time.Now())
	if !believed {
		return nil
	}
	return metrics
}

// turn returns the URL to ask for a member's metrics, empty if it is not its turn.
func (l *listeners) turn(m Member, endpoint string, now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.by[m.ID]
	if at == nil {
		at = &listener{urls: metricsURLs(l.given, m, endpoint)}
		l.by[m.ID] = at
	}
	switch {
	case now.Before(at.next):
		return ""
	case at.found != "":
		at.next = now.Add(metricsEvery)
		return at.found
	}
	return at.urls[at.tried]
}

// learn takes what became of an attempt. One that was found stays so: its member may be down for a while.
func (l *listeners) learn(member uint64, url string, believed bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.by[member]
	switch {
	case believed:
		at.found, at.next = url, now.Add(metricsEvery)
	case at.found == "" && at.urls[at.tried] == url:
		if at.tried++; at.tried == len(at.urls) {
			at.tried, at.next = 0, now.Add(metricsAgain)
		}
	}
}

// metricsURLs returns where a member's metrics may be: where the configuration says, at its client addresses, and where
// kubeadm has them. There is always one at least.
func metricsURLs(given []string, m Member, endpoint string) []string {
	urls := slices.Clone(given)
	hosts := []string{"127.0.0.1"}
	for _, client := range append([]string{endpoint}, m.ClientURLs...) {
		u, err := url.Parse(client)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			continue // a socket
		}
		urls = append(urls, u.Scheme+"://"+u.Host+metricsPath)
		hosts = append(hosts, u.Hostname())
	}
	for _, host := range hosts {
		urls = append(urls, "http://"+net.JoinHostPort(host, kubeadmMetricsPort)+metricsPath)
	}
	var each []string
	for _, u := range urls {
		if !slices.Contains(each, u) {
			each = append(each, u)
		}
	}
	return each
}

func (l *listeners) get(ctx context.Context, at string) (member uint64, m *Metrics, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := l.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, nil, fmt.Errorf("%s: %s", at, response.Status)
	}
	member, m, err = parseMetrics(response.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", at, err)
	}
	return member, m, nil
}

// metricsEndpoints returns the URLs of the configuration, complete.
func (cfg Config) metricsEndpoints() ([]string, error) {
	const advice = "an address in --metrics-endpoints is http://host:port or https://host:port, as in etcd's --listen-metrics-urls"
	var urls []string
	for _, given := range cfg.MetricsEndpoints {
		u, err := url.Parse(given)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, &ConfigError{fmt.Errorf("metrics endpoint %q: not an address", given), advice}
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = metricsPath
		}
		urls = append(urls, u.String())
	}
	return urls, nil
}
