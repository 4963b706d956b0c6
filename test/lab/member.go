package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

const (
	clusterToken = "lab"
	// stopTimeout is how long a process may take to end after SIGTERM before it gets SIGKILL.
	stopTimeout = 10 * time.Second
	// logTail is how much of a dead process's log goes into the error.
	logTail = 1 << 10
)

// member is one etcd server of a cluster, running or not.
type member struct {
	name   string
	dir    string // data
	client string // URL for clients
	peer   string // URL for the other members
	listen string // URL where it listens for them: peer, unless a wire is between
	slow   string // file with the time by which its disk is slow

	running atomic.Int64 // the process, 0 if there is none
	server  server       // nil unless it runs
}

// pid returns the member's process, 0 if it has none of its own.
func (m *member) pid() int { return int(m.running.Load()) }

// server is a running etcd: a library or a process.
type server interface {
	stop() error             // ends it, leadership handed over first, and waits until it has ended
	kill() error             // ends it at once, and waits until it has ended
	exited() <-chan struct{} // is closed once it has ended, by itself or not
	failure() error          // says why, then
}

func (c *Cluster) startServer(m *member) (server, error) {
	logPath := filepath.Join(c.config.Dir, m.name+".log")
	if c.config.Binary != "" {
		p, err := startProcess(c.config.Binary, c.flags(m), logPath, slowDisk+"="+m.slow)
		if err != nil {
			return nil, err
		}
		m.running.Store(int64(p.cmd.Process.Pid))
		return p, nil
	}
	config, err := c.embedConfig(m)
	if err != nil {
		return nil, err
	}
	return startEmbedded(config, logPath)
}

// embedded is an etcd in this process.
type embedded struct {
	etcd *embed.Etcd
	log  io.Closer
}

func (c *Cluster) embedConfig(m *member) (*embed.Config, error) {
	client, err := url.Parse(m.client)
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse(m.peer)
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Name = m.name
	config.Dir = m.dir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = c.initialCluster()
	config.InitialClusterToken = clusterToken
	config.QuotaBackendBytes = c.config.QuotaBytes
	config.UnsafeNoFsync = c.config.NoFsync
	if !c.config.PlainText {
		config.ClientTLSInfo = transport.TLSInfo{
			TrustedCAFile:  c.CA.Path(),
			CertFile:       c.serverCert,
			KeyFile:        c.serverKey,
			ClientCertAuth: true,
		}
		config.PeerTLSInfo = config.ClientTLSInfo
	}
	return config, nil
}

// startEmbedded starts an etcd whose warnings go to the file at logPath.
func startEmbedded(config *embed.Config, logPath string) (*embedded, error) {
	log, err := openLog(logPath)
	if err != nil {
		return nil, err
	}
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.ISO8601TimeEncoder
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(format), zapcore.Lock(log), zap.WarnLevel)
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(core))
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &embedded{etcd: etcd, log: log}, nil
}

func (e *embedded) stop() error {
	e.etcd.Close()
	return e.log.Close()
}

// kill is no crash: the library offers none. But nobody is told.
func (e *embedded) kill() error {
	e.etcd.Server.HardStop()
	return e.stop()
}

func (e *embedded) exited() <-chan struct{} { return e.etcd.Server.StopNotify() }

func (e *embedded) failure() error { return errors.New("etcd ended by itself") }

// process is an etcd of its own.
type process struct {
	cmd     *exec.Cmd
	logPath string
	done    chan struct{} // closed once it has ended
}

// flags returns the command line of m, in words that every etcd from 3.4 on knows.
func (c *Cluster) flags(m *member) []string {
	flags := []string{
		"--name=" + m.name,
		"--data-dir=" + m.dir,
		"--listen-client-urls=" + m.client,
		"--advertise-client-urls=" + m.client,
		"--listen-peer-urls=" + m.listen,
		"--initial-advertise-peer-urls=" + m.peer,
		"--initial-cluster=" + c.initialCluster(),
		"--initial-cluster-token=" + clusterToken,
		"--logger=zap",
	}
	if !c.config.PlainText {
		for _, prefix := range []string{"--", "--peer-"} {
			flags = append(flags,
				prefix+"trusted-ca-file="+c.CA.Path(),
				prefix+"cert-file="+c.serverCert,
				prefix+"key-file="+c.serverKey,
				prefix+"client-cert-auth",
			)
		}
	}
	if c.config.QuotaBytes != 0 {
		flags = append(flags, "--quota-backend-bytes="+strconv.FormatInt(c.config.QuotaBytes, 10))
	}
	if c.config.NoFsync {
		flags = append(flags, "--unsafe-no-fsync")
	}
	return append(flags, c.config.Args...)
}

// startProcess starts binary, with its output in the file at logPath. Of this process's environment the process gets all but
// etcd's own variables, which would contradict its flags.
func startProcess(binary string, flags []string, logPath string, environment ...string) (*process, error) {
	log, err := openLog(logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(binary, flags...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "ETCD") })
	cmd.Env = append(cmd.Env, environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // Ctrl-C is for us: we stop the servers, in our order
		Pdeathsig: syscall.SIGKILL, // a test that panics leaves no server behind
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, logPath: logPath, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in its ProcessState
	}()
	return p, nil
}

// signal sends a signal. One that comes too late is no error.
func (p *process) signal(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *process) exited() <-chan struct{} { return p.done }

func (p *process) stop() error {
	if err := errors.Join(p.signal(syscall.SIGTERM), p.resume()); err != nil { // it may be paused
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		return p.kill()
	}
}

func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// pause returns when the last thread has stopped, which may be a while after the signal.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED, nil)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

// failure returns the end of the process's log, and syscall.EADDRINUSE if that is what it was about.
func (p *process) failure() error {
	log, err := os.ReadFile(p.logPath)
	if err != nil {
		return err
	}
	tail := bytes.TrimSpace(log[max(0, len(log)-logTail):])
	if bytes.Contains(tail, []byte(syscall.EADDRINUSE.Error())) {
		return fmt.Errorf("%s: %w", p.logPath, syscall.EADDRINUSE)
	}
	return fmt.Errorf("etcd ended, %v: %s: %s", p.cmd.ProcessState, p.logPath, tail)
}

func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}
