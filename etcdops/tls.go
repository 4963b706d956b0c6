package etcdops

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// tls reads the certificates that the configuration names. It returns nil if the endpoints are reached in plain text.
// A client certificate that isn't valid at the time now is refused here: over TLS 1.3 a server's refusal comes late and says little.
func (cfg Config) tls(secure bool, now time.Time) (*tls.Config, error) {
	if !secure {
		return nil, nil
	}
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         cfg.ServerName,
		InsecureSkipVerify: cfg.InsecureSkipVerify,
	}
	if cfg.CACert != "" {
		pool, err := loadCA(cfg.CACert)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if cfg.Cert != "" {
		cert, err := loadKeyPair(cfg.Cert, cfg.Key, now)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// loadCA reads a file of PEM certificates.
func loadCA(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError("CA certificate", "--cacert", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, &ConfigError{
			fmt.Errorf("CA certificate %s: no PEM certificate in it", path),
			"give in --cacert the certificate of the CA that signs etcd's, on kubeadm nodes /etc/kubernetes/pki/etcd/ca.crt",
		}
	}
	return pool, nil
}

// loadKeyPair reads a client certificate and its key.
func loadKeyPair(certPath, keyPath string, now time.Time) (tls.Certificate, error) {
	certPEM, err := os.ReadFile(certPath)
	if err != nil {
		return tls.Certificate{}, fileError("client certificate", "--cert", err)
	}
	keyPEM, err := os.ReadFile(keyPath)
	if err != nil {
		return tls.Certificate{}, fileError("client key", "--key", err)
	}
	if err := checkPEM(certPEM, "CERTIFICATE"); err != nil {
		return tls.Certificate{}, &ConfigError{fmt.Errorf("client certificate %s: %w", certPath, err), "give a PEM certificate in --cert"}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, &ConfigError{
			fmt.Errorf("client certificate %s with key %s: %w", certPath, keyPath, err),
			"give in --cert and --key a certificate and the key that it was made for",
		}
	}
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return tls.Certificate{}, &ConfigError{
			fmt.Errorf("client certificate %s: expired on %s, it is now %s", certPath, date(leaf.NotAfter), date(now)),
			"renew the certificate (on kubeadm nodes `kubeadm certs check-expiration` lists them), or give another one in --cert and --key",
		}
	case now.Before(leaf.NotBefore):
		return tls.Certificate{}, &ConfigError{
			fmt.Errorf("client certificate %s: not valid before %s, it is now %s", certPath, date(leaf.NotBefore), date(now)),
			"set this machine's clock, or give another certificate in --cert and --key",
		}
	}
	return pair, nil
}

// checkPEM looks for a block of a type, because crypto/tls says too little about a file of another kind.
func checkPEM(data []byte, blockType string) error {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == blockType {
			return nil
		}
	}
	return fmt.Errorf("no PEM block of type %s in it", blockType)
}

// fileError describes a file that can't be read; the error of the os package names the file and the operation.
func fileError(what, flag string, err error) error {
	advice := fmt.Sprintf("check the path in %s", flag)
	if errors.Is(err, os.ErrPermission) {
		advice = fmt.Sprintf("only root may read it on most nodes: use sudo, or give another file in %s", flag)
	}
	return &ConfigError{fmt.Errorf("%s: %w", what, err), advice}
}

// date prints a time as the certificate has it, to the second.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
