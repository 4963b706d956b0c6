package etcdops

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// ConfigError is a configuration that no connection can be tried with.
type ConfigError struct {
	Err    error
	advice string
}

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// Hint says what to mend.
func (e *ConfigError) Hint() string { return e.advice }

// address is a member's client address.
type address struct {
	scheme string // http, https, unix or unixs
	addr   string // host:port, or a socket's path
}

// String returns the endpoint as clientv3 takes it.
func (a address) String() string { return a.scheme + "://" + a.addr }

// secure reports whether the endpoint is reached by TLS.
func (a address) secure() bool { return a.scheme == "https" || a.scheme == "unixs" }

// network returns the endpoint's network as net.Dial takes it.
func (a address) network() string {
	if strings.HasPrefix(a.scheme, "unix") {
		return "unix"
	}
	return "tcp"
}

// parseAddress reads an endpoint; secure says what one without a scheme means.
func parseAddress(s string, secure bool) (address, error) {
	s = strings.TrimSpace(s)
	scheme, addr, found := strings.Cut(s, "://")
	if !found {
		scheme, addr = "http", s
		if secure {
			scheme = "https"
		}
	}
	switch scheme {
	case "unix", "unixs":
		if addr == "" {
			return address{}, &ConfigError{fmt.Errorf("endpoint %q: no path", s), "an endpoint on a socket is unix:///path/to/socket"}
		}
		return address{scheme, addr}, nil
	case "http", "https":
	default:
		return address{}, &ConfigError{fmt.Errorf("endpoint %q: unknown scheme %q", s, scheme), "an endpoint in --endpoints is host:port, http://host:port or https://host:port"}
	}
	u, err := url.Parse(scheme + "://" + addr)
	if err != nil || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return address{}, &ConfigError{fmt.Errorf("endpoint %q: not an address", s), "an endpoint in --endpoints is host:port, http://host:port or https://host:port, and nothing else"}
	}
	if u.Hostname() == "" || u.Port() == "" {
		return address{}, &ConfigError{fmt.Errorf("endpoint %q: host or port missing", s), "an endpoint in --endpoints needs both: etcd's client port is 2379 unless it was changed"}
	}
	return address{scheme, net.JoinHostPort(u.Hostname(), u.Port())}, nil
}

// addresses checks the configuration as far as that goes without reading a file, and returns its endpoints, each once.
// All of them use TLS, or none does: a gRPC connection has one set of credentials.
func (cfg Config) addresses() ([]address, error) {
	switch {
	case len(cfg.Endpoints) == 0:
		return nil, &ConfigError{fmt.Errorf("no endpoint"), "name a member in --endpoints, such as https://127.0.0.1:2379"}
	case cfg.Username != "" && cfg.Password == "":
		return nil, &ConfigError{fmt.Errorf("user %q: no password", cfg.Username), "give --password, or --user name:password"}
	case cfg.Username == "" && cfg.Password != "":
		return nil, &ConfigError{fmt.Errorf("a password, but no user"), "give --user as well"}
	case cfg.Cert != "" && cfg.Key == "":
		return nil, &ConfigError{fmt.Errorf("client certificate %s: no key", cfg.Cert), "give the key that belongs to it in --key"}
	case cfg.Cert == "" && cfg.Key != "":
		return nil, &ConfigError{fmt.Errorf("client key %s: no certificate", cfg.Key), "give the certificate that belongs to it in --cert"}
	}
	secure := cfg.RequireTLS || cfg.CACert != "" || cfg.Cert != "" || cfg.ServerName != "" || cfg.InsecureSkipVerify
	seen := make(map[address]bool, len(cfg.Endpoints))
	var all []address
	for _, s := range cfg.Endpoints {
		e, err := parseAddress(s, secure)
		if err != nil {
			return nil, err
		}
		if cfg.RequireTLS && !e.secure() {
			return nil, &ConfigError{fmt.Errorf("endpoint %s: plain text, but TLS is required", e), "write https:// in --endpoints, or leave out --insecure-transport=false"}
		}
		if len(all) > 0 && e.secure() != all[0].secure() {
			return nil, &ConfigError{
				fmt.Errorf("endpoints %s and %s: one with TLS, one without", all[0], e),
				"write https:// (or http://) before every endpoint in --endpoints: a client uses TLS with all of them or with none",
			}
		}
		if !seen[e] {
			seen[e] = true
			all = append(all, e)
		}
	}
	return all, nil
}
