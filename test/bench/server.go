package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"etcdsweep/etcdops"
	"etcdsweep/etcdops/snapshot"
	"etcdsweep/test/lab"
)

const (
	argServe = "serve" // and a lab.Config in JSON
	jobs     = 2       // that have run away
)

// Where lab.Fill puts the runaway Jobs and their pods.
const (
	prefix     = "/registry"
	namespace  = "batch"
	podsPrefix = prefix + "/pods/" + namespace + "/"
)

func jobNames() []string { return []string{"runaway", "runaway-b"} }

// access says how to reach a server.
type access struct {
	Endpoints         []string
	CACert, Cert, Key string
	Processes         []int // of the members, if they have their own
}

// served is what a server is started with.
type served struct {
	lab.Config
	Slow time.Duration // by which each sync of the members' logs takes longer
}

// serve runs a cluster in this process, or as its child. It prints how to reach it, and ends it when stdin is closed:
// also when the bench has died.
func serve(ctx context.Context, config string) error {
	var c served
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	cluster, err := lab.Start(ctx, c.Config)
	if err != nil {
		return err
	}
	for i := range cluster.Endpoints() {
		err = errors.Join(err, cluster.SlowDisk(i, c.Slow))
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(access{
			Endpoints: cluster.Endpoints(), CACert: cluster.CA.Path(), Cert: cluster.Cert, Key: cluster.Key, Processes: cluster.Processes(),
		})
	}
	if err == nil {
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	return errors.Join(err, cluster.Close())
}

// server is an etcd in another process.
type server struct {
	access
	dir   string
	cmd   *exec.Cmd
	stdin io.Closer
}

// start starts a server that holds a runaway incident with so many pods. Its revisions are the same each time.
func (b *bench) start(ctx context.Context, pods int) (*server, error) {
	image, err := b.image(ctx, pods)
	if err != nil {
		return nil, fmt.Errorf("fill with %d pods: %w", pods, err)
	}
	return b.serve(ctx, served{Config: lab.Config{Snapshot: image, Binary: b.etcd}})
}

// serve starts a server in a directory of its own.
func (b *bench) serve(ctx context.Context, config served) (_ *server, err error) {
	if config.Dir, err = os.MkdirTemp(b.dir, "server-"); err != nil {
		return nil, err
	}
	arg, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{dir: config.Dir, cmd: exec.CommandContext(ctx, self, argServe, string(arg))}
	s.cmd.Stderr = os.Stderr
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&s.access); err != nil {
		return nil, errors.Join(fmt.Errorf("etcd did not start: %w", err), s.stop())
	}
	return s, nil
}

// stop ends the server and removes its data.
func (s *server) stop() error {
	return errors.Join(s.stdin.Close(), s.cmd.Wait(), os.RemoveAll(s.dir))
}

// cpu returns what the members have taken of the CPUs so far.
func (s *server) cpu() (all time.Duration) {
	for _, pid := range s.Processes {
		all += cpuOf(pid)
	}
	return all
}

// image returns the snapshot of a cluster with so many runaway pods, made when it is first asked for.
func (b *bench) image(ctx context.Context, pods int) (path string, err error) {
	if path, ok := b.images[pods]; ok {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "fill a cluster with %d pods\n", pods)
	s, err := b.serve(ctx, served{Config: lab.Config{NoFsync: true}})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	etcd, err := s.bare(ctx)
	if err != nil {
		return "", err
	}
	defer etcd.Close()
	if _, err := lab.Fill(ctx, etcd, lab.Incident{Jobs: jobs, Pods: pods, Seed: 1}); err != nil {
		return "", err
	}
	client, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	defer client.Close()
	stream, err := client.Snapshot(ctx, s.Endpoints[0])
	if err != nil {
		return "", err
	}
	defer stream.Close()
	path = filepath.Join(b.dir, fmt.Sprintf("%d-pods.db", pods))
	if _, err := snapshot.Save(ctx, stream, path, snapshot.Options{}); err != nil {
		return "", err
	}
	b.images[pods] = path
	return path, nil
}

// connect connects as etcdsweep does.
func (a access) connect(ctx context.Context) (*etcdops.Client, error) {
	client, dead, err := etcdops.Connect(ctx, etcdops.Config{Endpoints: a.Endpoints, CACert: a.CACert, Cert: a.Cert, Key: a.Key})
	if err == nil && len(dead) > 0 {
		return nil, errors.Join(dead[0], client.Close())
	}
	return client, err
}

// bare connects by clientv3 alone, with the transport that etcdsweep has.
func (a access) bare(ctx context.Context) (*clientv3.Client, error) {
	tlsConfig, err := a.tls()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{
		Context:              ctx,
		Endpoints:            a.Endpoints,
		TLS:                  tlsConfig,
		DialTimeout:          etcdops.DefaultDialTimeout,
		DialKeepAliveTime:    etcdops.DefaultKeepAliveTime,
		DialKeepAliveTimeout: etcdops.DefaultKeepAliveTimeout,
		MaxCallSendMsgSize:   etcdops.MaxSendBytes,
		MaxCallRecvMsgSize:   math.MaxInt32,
		Logger:               zap.NewNop(),
		DialOptions:          []grpc.DialOption{grpc.WithNoProxy()},
	})
}

func (a access) tls() (*tls.Config, error) {
	info := transport.TLSInfo{TrustedCAFile: a.CACert, CertFile: a.Cert, KeyFile: a.Key}
	return info.ClientConfig()
}

// Variables by which etcdctl, etcdsweep and the bare processes learn where the server is.
const (
	varEndpoints = "ETCDCTL_ENDPOINTS"
	varCACert    = "ETCDCTL_CACERT"
	varCert      = "ETCDCTL_CERT"
	varKey       = "ETCDCTL_KEY"
)

func (a access) environment() []string {
	return append(os.Environ(), "ETCDCTL_API=3",
		varEndpoints+"="+strings.Join(a.Endpoints, ","), varCACert+"="+a.CACert, varCert+"="+a.Cert, varKey+"="+a.Key)
}

// inherited returns what environment has given to this process.
func inherited() access {
	return access{
		Endpoints: strings.Split(os.Getenv(varEndpoints), ","),
		CACert:    os.Getenv(varCACert), Cert: os.Getenv(varCert), Key: os.Getenv(varKey),
	}
}
