package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA is a certificate authority. What it signs for servers is good for loopback addresses only.
type CA struct {
	path string
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes a certificate authority that is valid from yesterday for ten years, and writes its certificate to dir/ca.crt.
// Its key stays in memory.
func NewCA(dir string) (*CA, error) {
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "etcd-ca"},
		NotBefore:             now.AddDate(0, 0, -1),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	ca := &CA{path: filepath.Join(dir, caName+".crt"), cert: template, key: key}
	der, err := ca.sign(template, key.Public())
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if err := writePEM(ca.path, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return ca, nil
}

// Path returns the path of the authority's certificate.
func (ca *CA) Path() string { return ca.path }

// Client makes a client certificate for name, written with its key to dir/name.crt and dir/name.key.
// The validity is the caller's, so that a test can have a certificate that has expired or is not valid yet.
func (ca *CA) Client(dir, name string, notBefore, notAfter time.Time) (certPath, keyPath string, err error) {
	return ca.issue(dir, name, &x509.Certificate{
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Server makes a certificate for servers on loopback addresses, which members of a cluster show to each other as well. It is written
// with its key to dir/name.crt and dir/name.key, and valid as long as the authority.
func (ca *CA) Server(dir, name string) (certPath, keyPath string, err error) {
	return ca.issue(dir, name, &x509.Certificate{
		NotBefore:   ca.cert.NotBefore,
		NotAfter:    ca.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	})
}

func (ca *CA) issue(dir, name string, template *x509.Certificate) (certPath, keyPath string, err error) {
	certPath, keyPath = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("certificate %s: %w", name, err)
	}
	template.Subject = pkix.Name{CommonName: name}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := ca.sign(template, key.Public())
	if err != nil {
		return "", "", fmt.Errorf("certificate %s: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("certificate %s: %w", name, err)
	}
	if err := writePEM(certPath, "CERTIFICATE", der); err != nil {
		return "", "", err
	}
	if err := writePEM(keyPath, "PRIVATE KEY", keyDER); err != nil {
		return "", "", err
	}
	return certPath, keyPath, nil
}

// sign completes template with a serial number and signs it. The authority signs itself while its certificate is still a template.
func (ca *CA) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
