package etcdops

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Cause is why an endpoint can't be used.
type Cause int

// The causes that Connect tells apart.
const (
	CauseUnknown             Cause = iota
	CauseNoSuchHost                // its name doesn't resolve
	CauseRefused                   // nothing listens there
	CauseUnreachable               // no route to it, or a firewall that says so
	CauseSilent                    // no answer in time
	CauseClosed                    // it hung up without a word
	CauseSpeaksPlainText           // TLS was spoken to a plain-text port
	CauseSpeaksTLS                 // plain text was spoken to a TLS port
	CauseServerCA                  // its certificate is signed by a CA that isn't trusted here
	CauseServerName                // its certificate is for other names
	CauseServerDates               // its certificate has expired, or isn't valid yet
	CauseServerCertificate         // its certificate is wrong in another way
	CauseNoClientCertificate       // it wants a client certificate, and none was given
	CauseClientCertificate         // it doesn't accept the client certificate
	CauseTLS                       // the two sides agree on no way to speak TLS
	CauseLogin                     // it doesn't accept the user and password, or wants some
	CauseNotEtcd                   // something else listens there
)

// String returns the cause in plain words.
func (c Cause) String() string {
	switch c {
	case CauseNoSuchHost:
		return "no such host"
	case CauseRefused:
		return "connection refused"
	case CauseUnreachable:
		return "unreachable"
	case CauseSilent:
		return "no answer in time"
	case CauseClosed:
		return "connection closed by the server"
	case CauseSpeaksPlainText:
		return "the server speaks plain text, not TLS"
	case CauseSpeaksTLS:
		return "the server speaks TLS, not plain text"
	case CauseServerCA:
		return "the server's certificate is of an unknown CA"
	case CauseServerName:
		return "the server's certificate is for another name"
	case CauseServerDates:
		return "the server's certificate is out of date"
	case CauseServerCertificate:
		return "the server's certificate is not accepted"
	case CauseNoClientCertificate:
		return "the server wants a client certificate"
	case CauseClientCertificate:
		return "the server does not accept the client certificate"
	case CauseTLS:
		return "no common way to speak TLS"
	case CauseLogin:
		return "login refused"
	case CauseNotEtcd:
		return "what answers there is not etcd"
	default:
		return "unknown cause"
	}
}

// EndpointError is an endpoint that can't be used, and why.
type EndpointError struct {
	Endpoint string // scheme://address
	Cause    Cause
	Err      error // what was seen

	advice string
}

// Error names the endpoint, the cause, and what was seen unless the cause says it all.
func (e *EndpointError) Error() string {
	switch e.Cause {
	case CauseNoSuchHost, CauseRefused, CauseSilent, CauseSpeaksTLS, CauseSpeaksPlainText:
		return fmt.Sprintf("%s: %v", e.Endpoint, e.Cause)
	case CauseUnknown:
		return fmt.Sprintf("%s: %v", e.Endpoint, e.Err)
	}
	return fmt.Sprintf("%s: %v: %v", e.Endpoint, e.Cause, e.Err)
}

func (e *EndpointError) Unwrap() error { return e.Err }

// Hint says, in one line, what to mend and with which flag.
func (e *EndpointError) Hint() string { return e.advice }

// Gone reports whether nobody is at the endpoint, or was lost there on the way, so that another member may do better.
func (e *EndpointError) Gone() bool {
	switch e.Cause {
	case CauseRefused, CauseUnreachable, CauseSilent, CauseClosed:
		return true
	default:
		return false
	}
}

// NoEndpointError is a cluster of which no endpoint can be used.
type NoEndpointError struct {
	Endpoints []*EndpointError // never empty
}

// Error names every endpoint with its cause.
func (e *NoEndpointError) Error() string {
	all := make([]string, len(e.Endpoints))
	for i, endpoint := range e.Endpoints {
		all[i] = endpoint.Error()
	}
	return "connect: " + strings.Join(all, "; ")
}

// Unwrap returns the endpoints' errors.
func (e *NoEndpointError) Unwrap() []error {
	all := make([]error, len(e.Endpoints))
	for i, endpoint := range e.Endpoints {
		all[i] = endpoint
	}
	return all
}

// Hint returns a line for each thing to mend.
func (e *NoEndpointError) Hint() string {
	var lines []string
	seen := make(map[string]bool)
	for _, endpoint := range e.Endpoints {
		if advice := endpoint.advice; advice != "" && !seen[advice] {
			seen[advice] = true
			lines = append(lines, advice)
		}
	}
	return strings.Join(lines, "\n")
}

// diagnose finds the cause of a failed request: what happened to the connection if it broke, else what the server answered.
func (l *link) diagnose(ctx context.Context, err error) *EndpointError {
	seen := err
	var answer rpctypes.EtcdError
	if broken := l.trouble.last(); broken != nil && !errors.As(err, &answer) {
		seen = broken
	}
	if said := l.lastWords(ctx, seen); said != nil {
		seen = said
	}
	cause := l.cause(ctx, seen)
	return &EndpointError{Endpoint: l.address.String(), Cause: cause, Err: seen, advice: l.advice(cause, seen)}
}

// cause tells the cause from the error that was seen.
func (l *link) cause(ctx context.Context, err error) Cause {
	switch cause := connectionCause(err); {
	case cause == CauseClosed && l.address.secure() && l.speaksPlainText(ctx):
		return CauseSpeaksPlainText
	case cause == CauseClosed && !l.address.secure() && l.speaksTLS(ctx):
		return CauseSpeaksTLS
	case cause != CauseUnknown:
		return cause
	case alert(err) != "":
		return l.alertCause(alert(err))
	}
	if loginRefused(err) {
		return CauseLogin
	}
	var etcdError rpctypes.EtcdError
	if errors.As(err, &etcdError) {
		return CauseUnknown
	}
	switch s, ok := status.FromError(err); {
	case !ok:
		return CauseUnknown
	case s.Code() == codes.DeadlineExceeded:
		return CauseSilent
	case s.Code() == codes.Unimplemented, notGRPC(s.Message()):
		return CauseNotEtcd
	}
	return CauseUnknown
}

// connectionCause tells the cause from an error of a connection or its handshake.
func connectionCause(err error) Cause {
	var (
		noHost    *net.DNSError
		plain     tls.RecordHeaderError
		unknownCA x509.UnknownAuthorityError
		wrongName x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &noHost):
		return CauseNoSuchHost
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return CauseRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return CauseUnreachable
	case errors.As(err, &plain):
		return CauseSpeaksPlainText
	case errors.As(err, &unknownCA):
		return CauseServerCA
	case errors.As(err, &wrongName):
		return CauseServerName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return CauseServerDates
	case errors.As(err, &verify):
		return CauseServerCertificate
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed), errors.As(err, &timeout) && timeout.Timeout():
		return CauseSilent // grpc closes a connection whose server says nothing
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return CauseClosed
	}
	return CauseUnknown
}

// alert returns the text of the TLS alert by which the server ended a connection, or "". crypto/tls gives the alert no exported type.
func alert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	return ""
}

// alertCause tells the cause from a TLS alert (RFC 8446, section 6.2; the words are crypto/tls's).
func (l *link) alertCause(alert string) Cause {
	switch {
	case alert == "no application protocol":
		return CauseNotEtcd
	case alert != "access denied" && !strings.Contains(alert, "certificate"):
		return CauseTLS
	case l.cfg.Cert == "":
		return CauseNoClientCertificate
	}
	return CauseClientCertificate
}

// loginRefused reports whether etcd wants other credentials than it was given.
func loginRefused(err error) bool {
	for _, refusal := range []error{rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrUserNotFound, rpctypes.ErrInvalidAuthToken} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// notGRPC reports whether the text of a gRPC error says that the other side doesn't speak it. grpc-go has no code for that.
func notGRPC(message string) bool {
	for _, sign := range []string{"unexpected HTTP status code", "unexpected content-type", "server preface", "missing selected ALPN"} {
		if strings.Contains(message, sign) {
			return true
		}
	}
	return false
}

// lastWords finds out why a server hung up over TLS: it returns the alert that it ends a connection with, or nil. Over the connection that
// broke the alert may have been lost, because a connection that is closed with unread bytes is reset. So this one says nothing and listens.
func (l *link) lastWords(ctx context.Context, err error) error {
	if l.tls == nil || connectionCause(err) != CauseClosed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.DialTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: l.tls}
	conn, err := dialer.DialContext(ctx, l.address.network(), l.address.addr)
	if err == nil {
		defer conn.Close() // nothing was said on it
		defer expire(ctx, conn)()
		_, err = conn.Read(make([]byte, 1))
	}
	if alert(err) == "" {
		return nil
	}
	return err
}

// expire makes a connection's reads and writes end with ctx, until the function that it returns is called.
func expire(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // it fails on closed connections only
}

// speaksTLS tries a handshake with a server that hung up on plain text, only to know whether it would have liked one.
func (l *link) speaksTLS(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.DialTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}} // nothing is sent over it
	conn, err := dialer.DialContext(ctx, l.address.network(), l.address.addr)
	if err != nil {
		return alert(err) != ""
	}
	_ = conn.Close() // nothing was said on it
	return true
}

// speaksPlainText opens an HTTP/2 connection without TLS to a server that hung up on a handshake, only to know whether it would have liked one.
func (l *link) speaksPlainText(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.DialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, l.address.network(), l.address.addr)
	if err != nil {
		return false
	}
	defer conn.Close() // nothing was said on it
	defer expire(ctx, conn)()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return false
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		return false
	}
	frame, err := framer.ReadFrame()
	return err == nil && frame.Header().Type == http2.FrameSettings // the first frame of any server (RFC 9113, section 3.4)
}

// advice says what to mend.
func (l *link) advice(cause Cause, err error) string {
	switch cause {
	case CauseNoSuchHost:
		return "check the host name in --endpoints, or give the IP address"
	case CauseRefused:
		return "nothing listens there: is that etcd running, and is this its client port (2379, not 2380)?"
	case CauseUnreachable, CauseSilent:
		return "that machine or its etcd is down or hangs, or a firewall is in between; leave it out of --endpoints if another member answers, or give it longer with --dial-timeout"
	case CauseClosed:
		return "something hangs up on us: check that --endpoints names etcd's client port itself (2379, not 2380), and https:// or http:// as it listens"
	case CauseSpeaksPlainText:
		return "write http:// in --endpoints: this etcd listens without TLS"
	case CauseSpeaksTLS:
		return "write https:// in --endpoints, and give --cacert, --cert and --key"
	case CauseServerCA:
		if l.cfg.CACert == "" {
			return "give the CA that signs etcd's certificates in --cacert: it is none of the system's"
		}
		return fmt.Sprintf("the server's certificate is not signed by the CA in --cacert %s: give the CA that signs etcd's certificates, on kubeadm nodes /etc/kubernetes/pki/etcd/ca.crt", l.cfg.CACert)
	case CauseServerName:
		return "use in --endpoints a name or address that the certificate has, or say in --server-name which one to look for"
	case CauseServerDates:
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Cert != nil {
			return fmt.Sprintf("that certificate is valid from %s to %s: renew it, or check this machine's clock; --insecure-skip-tls-verify goes on without looking",
				date(invalid.Cert.NotBefore), date(invalid.Cert.NotAfter))
		}
		return "renew it, or check this machine's clock; --insecure-skip-tls-verify goes on without looking"
	case CauseServerCertificate:
		return "check --cacert against the certificate that the server shows; --insecure-skip-tls-verify goes on without looking"
	case CauseNoClientCertificate:
		return "give a client certificate in --cert and --key, on kubeadm nodes /etc/kubernetes/pki/apiserver-etcd-client.crt and .key"
	case CauseClientCertificate:
		return fmt.Sprintf("the certificate in --cert %s is not signed by the CA that this etcd trusts, or not for client authentication: give another in --cert and --key", l.cfg.Cert)
	case CauseTLS:
		return "the server refuses our TLS versions or ciphers: etcdsweep speaks TLS 1.2 and 1.3"
	case CauseLogin:
		if l.cfg.Username == "" {
			return "this etcd has authentication turned on: give --user and --password"
		}
		return "check --user and --password"
	case CauseNotEtcd:
		return "check the port in --endpoints: etcd's client port is 2379; 6443 is kube-apiserver's"
	}
	return ""
}
