package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	// startAttempts bounds how often Start picks other ports when something else took one of its own first.
	startAttempts = 5
	// readyTimeout is how long a member may take from its start to its first linearizable read: one with a million keys reads them
	// all first.
	readyTimeout = 3 * time.Minute
	// tryTimeout is how long one such read may take, and with it how soon the death of a server is noticed.
	tryTimeout = time.Second
)

// Files in Config.Dir, beside data directories and logs.
const (
	caName        = "ca"     // ca.crt
	serverName    = "server" // server.crt, server.key
	clientName    = "client" // client.crt, client.key
	endpointsFile = "endpoints"
)

// Config says what Start starts.
type Config struct {
	Dir      string // for certificates, data and logs; must exist, and hold no other lab
	Members  int    // 1 or 3; 0 means 1
	Snapshot string // path of a snapshot, as `etcdctl snapshot save` writes it, that every member starts from; empty: no keys

	Binary string   // path of the etcd server to run as processes; empty: the etcd library, in this process
	Args   []string // more flags for Binary
	Wires  bool     // put wires between the members that can be cut; for a Binary

	PlainText  bool  // http, without certificates
	QuotaBytes int64 // size of the file from which on etcd refuses to grow; 0: etcd's default
	NoFsync    bool  // trade durability for speed; a Binary must know --unsafe-no-fsync
}

// Cluster is a running etcd. No two calls may control the same member at the same time.
type Cluster struct {
	CA        *CA    // signs the members' certificates, and more on demand; nil in plain text
	Cert, Key string // paths of a client certificate that is valid for a year, and of its key; empty in plain text

	config     Config
	serverCert string
	serverKey  string
	members    []*member
	wires      *wires // nil without Config.Wires
}

// Start starts a cluster and waits until each member answers linearizable reads. ctx bounds the start, not the cluster's life:
// who called Start calls Close.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	if config.Members == 0 {
		config.Members = 1
	}
	switch {
	case config.Members != 1 && config.Members != 3:
		return nil, fmt.Errorf("lab: %d members: want 1 or 3", config.Members)
	case config.Binary == "" && (len(config.Args) > 0 || config.Wires):
		return nil, errors.New("lab: arguments or wires without a binary")
	}
	for attempt := 1; ; attempt++ {
		cluster, err := start(ctx, config)
		switch {
		case err == nil:
			return cluster, nil
		case attempt == startAttempts || !errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
}

// start is one attempt of Start. It leaves no data behind when it fails.
func start(ctx context.Context, config Config) (_ *Cluster, err error) {
	c := &Cluster{config: config}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close(), c.removeData())
		}
	}()
	if err := c.addMembers(); err != nil {
		return nil, err
	}
	if config.Wires {
		if c.wires, err = newWires(c.members); err != nil {
			return nil, err
		}
	}
	if !config.PlainText {
		if err := c.issueCertificates(); err != nil {
			return nil, err
		}
	}
	if config.Snapshot != "" {
		if err := c.restore(); err != nil {
			return nil, err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range c.members {
		group.Go(func() error { return c.StartMember(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	endpoints := strings.Join(c.Endpoints(), "\n") + "\n"
	return c, os.WriteFile(filepath.Join(config.Dir, endpointsFile), []byte(endpoints), 0o600)
}

// addMembers names the members, makes their data directories and finds free ports for them.
func (c *Cluster) addMembers() error {
	scheme := "https"
	if c.config.PlainText {
		scheme = "http"
	}
	addresses, err := freeAddresses(2 * c.config.Members)
	if err != nil {
		return err
	}
	for i := range c.config.Members {
		m := &member{
			name:   fmt.Sprintf("m%d", i+1),
			client: scheme + "://" + addresses[2*i],
			peer:   scheme + "://" + addresses[2*i+1],
		}
		m.listen = m.peer
		m.dir = filepath.Join(c.config.Dir, m.name)
		m.slow = filepath.Join(c.config.Dir, m.name+".slow")
		if err := os.Mkdir(m.dir, 0o700); err != nil {
			return err // before m is a member: what another lab left there is not ours to remove
		}
		c.members = append(c.members, m)
	}
	return nil
}

func (c *Cluster) removeData() error {
	var errs []error
	for _, m := range c.members {
		errs = append(errs, os.RemoveAll(m.dir))
	}
	return errors.Join(errs...)
}

func (c *Cluster) issueCertificates() (err error) {
	dir := c.config.Dir
	if c.CA, err = NewCA(dir); err != nil {
		return err
	}
	if c.serverCert, c.serverKey, err = c.CA.Server(dir, serverName); err != nil {
		return err
	}
	now := time.Now()
	c.Cert, c.Key, err = c.CA.Client(dir, clientName, now.AddDate(0, 0, -1), now.AddDate(1, 0, 0))
	return err
}

// restore writes the snapshot into every member's data directory. What etcdutl 3.7 writes is read by servers from 3.4 on.
func (c *Cluster) restore() error {
	for _, m := range c.members {
		err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
			SnapshotPath:        c.config.Snapshot,
			Name:                m.name,
			OutputDataDir:       m.dir,
			PeerURLs:            []string{m.peer},
			InitialCluster:      c.initialCluster(),
			InitialClusterToken: clusterToken,
		})
		if err != nil {
			return fmt.Errorf("restore %s: %w", c.config.Snapshot, err)
		}
	}
	return nil
}

func (c *Cluster) initialCluster() string {
	peers := make([]string, len(c.members))
	for i, m := range c.members {
		peers[i] = m.name + "=" + m.peer
	}
	return strings.Join(peers, ",")
}

// Endpoints returns the client URL of each member, those that are stopped included.
func (c *Cluster) Endpoints() []string {
	endpoints := make([]string, len(c.members))
	for i, m := range c.members {
		endpoints[i] = m.client
	}
	return endpoints
}

// TLSConfig returns what a client needs to connect; nil in plain text.
func (c *Cluster) TLSConfig() (*tls.Config, error) {
	if c.config.PlainText {
		return nil, nil
	}
	info := transport.TLSInfo{TrustedCAFile: c.CA.Path(), CertFile: c.Cert, KeyFile: c.Key}
	return info.ClientConfig()
}

// Client returns a client of all members. The caller closes it.
func (c *Cluster) Client() (*clientv3.Client, error) {
	return c.client(c.Endpoints()...)
}

func (c *Cluster) client(endpoints ...string) (*clientv3.Client, error) {
	tlsConfig, err := c.TLSConfig()
	if err != nil {
		return nil, err
	}
	return connect(endpoints, tlsConfig)
}

// Connect returns a client of the lab that another process runs in dir. The caller closes it.
func Connect(dir string) (*clientv3.Client, error) {
	endpoints, err := os.ReadFile(filepath.Join(dir, endpointsFile))
	if err != nil {
		return nil, fmt.Errorf("connect to lab: %w", err)
	}
	info := transport.TLSInfo{
		TrustedCAFile: filepath.Join(dir, caName+".crt"),
		CertFile:      filepath.Join(dir, clientName+".crt"),
		KeyFile:       filepath.Join(dir, clientName+".key"),
	}
	tlsConfig, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("connect to lab: %w", err)
	}
	return connect(strings.Fields(string(endpoints)), tlsConfig)
}

func connect(endpoints []string, tlsConfig *tls.Config) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints,
		TLS:       tlsConfig,
		Logger:    zap.NewNop(),
		// A member that was not there a moment ago is back at once: gRPC's usual second of patience is for real networks.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 5 * time.Second,
		})},
	})
}

// StartMember starts member i, which is stopped or was killed, on its data, and waits until it answers linearizable reads.
// So it needs a quorum: two of three are started at the same time. A member that does not answer is ended again.
func (c *Cluster) StartMember(ctx context.Context, i int) error {
	m := c.members[i]
	if m.server != nil {
		return fmt.Errorf("member %s: runs already", m.name)
	}
	server, err := c.startServer(m)
	if err != nil {
		return fmt.Errorf("member %s: %w", m.name, err)
	}
	m.server = server
	if err := c.awaitReady(ctx, m); err != nil {
		return errors.Join(fmt.Errorf("member %s: %w", m.name, err), c.KillMember(i))
	}
	return nil
}

// awaitReady reads through m until a read succeeds. The client waits between its tries.
func (c *Cluster) awaitReady(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("not ready after %v", readyTimeout))
	defer cancel()
	client, err := c.client(m.client)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		_, err := client.Get(try, "ready")
		cancel()
		select {
		case <-m.server.exited():
			return m.server.failure()
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		default:
		}
		if err == nil {
			return nil
		}
	}
}

// StopMember ends member i the way an operator would, and waits until it has ended. Its data stays. A leader without
// another member to hand its leadership to takes seconds.
func (c *Cluster) StopMember(i int) error { return c.end(i, server.stop) }

// KillMember ends member i at once: a process with SIGKILL, the library without a word to the other members. Its data stays.
func (c *Cluster) KillMember(i int) error { return c.end(i, server.kill) }

func (c *Cluster) end(i int, how func(server) error) error {
	m := c.members[i]
	if m.server == nil {
		return nil
	}
	err := how(m.server)
	m.server = nil
	m.running.Store(0)
	return err
}

// PauseMember makes member i stand still, connections open, until ResumeMember. It stands when PauseMember returns.
// Only a process can be paused.
func (c *Cluster) PauseMember(i int) error { return c.control(i, (*process).pause) }

// ResumeMember ends PauseMember.
func (c *Cluster) ResumeMember(i int) error { return c.control(i, (*process).resume) }

func (c *Cluster) control(i int, how func(*process) error) error {
	m := c.members[i]
	p, ok := m.server.(*process)
	if !ok {
		return fmt.Errorf("member %s: not a running process", m.name)
	}
	return how(p)
}

// CutMember cuts member i off from the others until JoinMember: connections between them end, and none is made. Clients reach
// it as before. It needs Config.Wires.
func (c *Cluster) CutMember(i int) { c.wires.set(i, true) }

// JoinMember ends CutMember.
func (c *Cluster) JoinMember(i int) { c.wires.set(i, false) }

// Processes returns the processes of the members that run as such.
func (c *Cluster) Processes() []int {
	var pids []int
	for _, m := range c.members {
		if pid := m.pid(); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// SlowDisk makes each sync of member i's log take longer by a duration, until it is given another. The member's binary must be
// that of BuildServer.
func (c *Cluster) SlowDisk(i int, by time.Duration) error {
	return os.WriteFile(c.members[i].slow, []byte(by.String()), 0o600)
}

// Close kills every member that runs. Certificates, data and logs stay in the lab's directory.
// What three members of the library had open between them is gone after another five seconds, etcd's read timeout for peers.
func (c *Cluster) Close() error {
	var group errgroup.Group
	for i := range c.members {
		group.Go(func() error { return c.KillMember(i) })
	}
	err := group.Wait()
	if c.wires != nil {
		err = errors.Join(err, c.wires.close())
	}
	return err
}

// freeAddresses returns n loopback addresses that nobody listens on at the moment.
func freeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // at the end, so that all are different
		addresses[i] = listener.Addr().String()
	}
	return addresses, nil
}
