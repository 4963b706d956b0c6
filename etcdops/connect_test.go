package etcdops_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/etcdops"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// start starts a cluster that ends with the test. Goroutines that the test leaves behind, other than those of that server, fail it.
func start(t *testing.T, config lab.Config) *lab.Cluster {
	t.Helper()
	config.Dir = t.TempDir()
	config.NoFsync = true
	cluster, err := lab.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	return cluster
}

// credentials are those of a client that the cluster lets in.
func credentials(cluster *lab.Cluster) etcdops.Config {
	return etcdops.Config{
		Endpoints:      cluster.Endpoints(),
		CACert:         cluster.CA.Path(),
		Cert:           cluster.Cert,
		Key:            cluster.Key,
		DialTimeout:    500 * time.Millisecond, // this machine answers at once
		CommandTimeout: 5 * time.Second,
	}
}

// connect connects, or fails the test.
func connect(t *testing.T, cfg etcdops.Config) *etcdops.Client {
	t.Helper()
	client, warnings, err := etcdops.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, w := range warnings {
		t.Error(w)
	}
	return client
}

// refused returns the only endpoint's error, after it has checked that people can use it.
func refused(t *testing.T, cfg etcdops.Config, cause etcdops.Cause, hint string) *etcdops.EndpointError {
	t.Helper()
	client, _, err := etcdops.Connect(t.Context(), cfg)
	if err == nil {
		_ = client.Close()
		t.Fatalf("connected, want: %v", cause)
	}
	var none *etcdops.NoEndpointError
	if !errors.As(err, &none) || len(none.Endpoints) != 1 {
		t.Fatalf("got %v, want one *EndpointError", err)
	}
	e := none.Endpoints[0]
	t.Logf("%v\nhint: %s", err, none.Hint())
	if e.Cause != cause {
		t.Errorf("cause %q, want %q", e.Cause, cause)
	}
	for _, want := range []string{e.Endpoint, cause.String()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
	if !strings.Contains(none.Hint(), hint) || strings.Contains(none.Hint(), "\n") {
		t.Errorf("hint %q: want one line that says %q", none.Hint(), hint)
	}
	return e
}

func TestConnectWithTLS(t *testing.T) {
	cluster := start(t, lab.Config{})
	good := credentials(cluster)
	dir := t.TempDir()
	stranger, err := lab.NewCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	strangerCert, strangerKey, err := stranger.Client(dir, "stranger", now.AddDate(0, 0, -1), now.AddDate(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	expiredCert, expiredKey, err := cluster.CA.Client(dir, "expired", now.AddDate(0, 0, -3), now.AddDate(0, 0, -2))
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(good.Endpoints[0], "https://")
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*etcdops.Config)) etcdops.Config {
		cfg := good
		f(&cfg)
		return cfg
	}

	t.Run("good", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, good)
		if revision, err := client.Revision(t.Context(), "health"); err != nil || revision < 1 {
			t.Fatalf("revision %d, %v", revision, err)
		}
	})
	t.Run("without a scheme", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, change(func(c *etcdops.Config) { c.Endpoints = []string{host} }))
		if got := client.Endpoints(); len(got) != 1 || got[0] != good.Endpoints[0] {
			t.Fatalf("endpoints %v, want %v", got, good.Endpoints)
		}
	})
	t.Run("server name", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, change(func(c *etcdops.Config) { c.ServerName = "localhost" }))
		if _, err := client.Revision(t.Context(), "health"); err != nil {
			t.Fatal(err)
		}
		status, err := client.Status(t.Context())
		if err != nil || status.Members[0].Err != nil {
			t.Fatal(err, status.Members)
		}
	})
	t.Run("skip verification", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, change(func(c *etcdops.Config) { c.CACert, c.InsecureSkipVerify = "", true }))
		if _, err := client.Revision(t.Context(), "health"); err != nil {
			t.Fatal(err)
		}
	})
	for name, c := range map[string]struct {
		cfg   etcdops.Config
		cause etcdops.Cause
		hint  string
	}{
		"CA of somebody else": {
			change(func(c *etcdops.Config) { c.CACert = stranger.Path() }),
			etcdops.CauseServerCA, "not signed by the CA in --cacert " + stranger.Path(),
		},
		"no CA": {
			change(func(c *etcdops.Config) { c.CACert = "" }),
			etcdops.CauseServerCA, "--cacert",
		},
		"wrong server name": {
			change(func(c *etcdops.Config) { c.ServerName = "etcd.example" }),
			etcdops.CauseServerName, "--server-name",
		},
		"expired server certificate": {
			change(func(c *etcdops.Config) {
				c.Endpoints = []string{"https://" + showCertificate(t, expiredCert, expiredKey)}
			}),
			etcdops.CauseServerDates, "to " + now.AddDate(0, 0, -2).UTC().Format("2006-01-02"),
		},
		"no client certificate": {
			change(func(c *etcdops.Config) { c.Cert, c.Key = "", "" }),
			etcdops.CauseNoClientCertificate, "--cert",
		},
		"client certificate of somebody else": {
			change(func(c *etcdops.Config) { c.Cert, c.Key = strangerCert, strangerKey }),
			etcdops.CauseClientCertificate, "--cert " + strangerCert,
		},
		"plain text to TLS": {
			change(func(c *etcdops.Config) { c.Endpoints = []string{"http://" + host} }),
			etcdops.CauseSpeaksTLS, "https://",
		},
		"refused": {
			change(func(c *etcdops.Config) { c.Endpoints = []string{"https://" + unused(t)} }),
			etcdops.CauseRefused, "2379",
		},
		"no such host": {
			change(func(c *etcdops.Config) { c.Endpoints = []string{"https://etcd.invalid:" + port} }), // RFC 6761
			etcdops.CauseNoSuchHost, "--endpoints",
		},
		"silent": {
			change(func(c *etcdops.Config) { c.Endpoints = []string{"https://" + blackHole(t)} }),
			etcdops.CauseSilent, "--dial-timeout",
		},
		"hangs up": {
			change(func(c *etcdops.Config) { c.Endpoints = []string{"https://" + hangUp(t)} }),
			etcdops.CauseClosed, "--endpoints",
		},
	} {
		t.Run(name, func(t *testing.T) {
			labtest.NoLeaks(t)
			began := time.Now()
			refused(t, c.cfg, c.cause, c.hint)
			if took, most := time.Since(began), c.cfg.DialTimeout+c.cfg.CommandTimeout; took >= most {
				t.Errorf("took %v, want less than %v", took, most)
			}
		})
	}

	t.Run("dead endpoints among good ones", func(t *testing.T) {
		labtest.NoLeaks(t)
		silent, dead := "https://"+blackHole(t), "https://"+unused(t)
		client, warnings, err := etcdops.Connect(t.Context(), change(func(c *etcdops.Config) {
			c.Endpoints = []string{silent, good.Endpoints[0], dead, good.Endpoints[0]}
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if got := client.Endpoints(); len(got) != 1 || got[0] != good.Endpoints[0] {
			t.Errorf("endpoints %v", got)
		}
		if len(warnings) != 2 || warnings[0].Endpoint != silent || warnings[0].Cause != etcdops.CauseSilent ||
			warnings[1].Endpoint != dead || warnings[1].Cause != etcdops.CauseRefused {
			t.Errorf("warnings %v", warnings)
		}
		if _, err := client.Revision(t.Context(), "health"); err != nil {
			t.Error(err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		labtest.NoLeaks(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		cfg := change(func(c *etcdops.Config) { c.Endpoints, c.DialTimeout = []string{"https://" + blackHole(t)}, time.Minute })
		if _, _, err := etcdops.Connect(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestConnectInPlainText(t *testing.T) {
	cluster := start(t, lab.Config{PlainText: true})
	cfg := etcdops.Config{Endpoints: cluster.Endpoints(), DialTimeout: 500 * time.Millisecond, CommandTimeout: 5 * time.Second}
	host := strings.TrimPrefix(cfg.Endpoints[0], "http://")

	t.Run("good", func(t *testing.T) {
		labtest.NoLeaks(t)
		for _, endpoint := range []string{"http://" + host, host} {
			cfg := cfg
			cfg.Endpoints = []string{endpoint}
			client := connect(t, cfg)
			if _, err := client.Revision(t.Context(), "health"); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("TLS to plain text", func(t *testing.T) {
		labtest.NoLeaks(t)
		cfg := cfg
		cfg.Endpoints = []string{"https://" + host}
		refused(t, cfg, etcdops.CauseSpeaksPlainText, "http://")
	})
	t.Run("silent", func(t *testing.T) {
		labtest.NoLeaks(t)
		cfg := cfg
		cfg.Endpoints = []string{blackHole(t)}
		refused(t, cfg, etcdops.CauseSilent, "--dial-timeout")
	})
	t.Run("not etcd", func(t *testing.T) {
		labtest.NoLeaks(t)
		cfg := cfg
		cfg.Endpoints = []string{webServer(t)}
		refused(t, cfg, etcdops.CauseNotEtcd, "2379")
	})
}

func TestConnectWithAuthentication(t *testing.T) {
	cluster := start(t, lab.Config{PlainText: true}) // over TLS etcd takes the certificate's common name for the user
	admin, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ctx := t.Context()
	for _, step := range []func() error{
		func() error { _, err := admin.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := admin.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := admin.RoleAdd(ctx, "pods"); return err },
		func() error {
			_, err := admin.RoleGrantPermission(ctx, "pods", "/registry/pods/", "/registry/pods0", clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := admin.UserAdd(ctx, "sweeper", "broom"); return err },
		func() error { _, err := admin.UserGrantRole(ctx, "sweeper", "pods"); return err },
		func() error { _, err := admin.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	good := etcdops.Config{Endpoints: cluster.Endpoints(), Username: "root", Password: "secret", DialTimeout: 30 * time.Second} // bcrypt takes its time

	t.Run("root", func(t *testing.T) {
		labtest.NoLeaks(t)
		client := connect(t, good)
		status, err := client.Status(t.Context())
		if err != nil || status.Members[0].Err != nil || status.AlarmsErr != nil {
			t.Fatal(err, status)
		}
		stream, err := client.Snapshot(t.Context(), status.Members[0].Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if _, err := stream.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a user who may read pods only", func(t *testing.T) {
		labtest.NoLeaks(t)
		cfg := good
		cfg.Username, cfg.Password = "sweeper", "broom"
		client := connect(t, cfg)
		if _, err := client.Revision(t.Context(), "health"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("read of a key that isn't a pod: %v", err)
		}
		stream, err := client.Snapshot(t.Context(), good.Endpoints[0])
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("snapshot: %v", err)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		labtest.NoLeaks(t)
		cfg := good
		cfg.Password = "Secret"
		refused(t, cfg, etcdops.CauseLogin, "check --user and --password")
	})
	t.Run("no user", func(t *testing.T) {
		labtest.NoLeaks(t)
		cfg := good
		cfg.Username, cfg.Password = "", ""
		refused(t, cfg, etcdops.CauseLogin, "give --user and --password")
	})
}

func TestClientCertificatesAreCheckedBeforehand(t *testing.T) {
	dir := t.TempDir()
	ca, err := lab.NewCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	issue := func(name string, from, to int) (cert, key string) {
		t.Helper()
		cert, key, err := ca.Client(dir, name, now.AddDate(0, 0, from), now.AddDate(0, 0, to))
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	cert, key := issue("good", -1, 1)
	expired, expiredKey := issue("expired", -3, -2)
	early, earlyKey := issue("early", 2, 3)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent")
	day := func(days int) string { return now.AddDate(0, 0, days).UTC().Format("2006-01-02") }

	for name, c := range map[string]struct {
		cfg   etcdops.Config
		wants []string
		hint  string
	}{
		"expired":             {etcdops.Config{Cert: expired, Key: expiredKey}, []string{expired, "expired on " + day(-2)}, "renew"},
		"not yet valid":       {etcdops.Config{Cert: early, Key: earlyKey}, []string{early, "not valid before " + day(2)}, "clock"},
		"key of another":      {etcdops.Config{Cert: cert, Key: earlyKey}, []string{cert, earlyKey, "private key does not match"}, "--key"},
		"key for certificate": {etcdops.Config{Cert: key, Key: key}, []string{key, "no PEM block of type CERTIFICATE"}, "--cert"},
		"no key":              {etcdops.Config{Cert: cert}, []string{cert, "no key"}, "--key"},
		"no certificate":      {etcdops.Config{Key: key}, []string{key, "no certificate"}, "--cert"},
		"no such certificate": {etcdops.Config{Cert: absent, Key: key}, []string{absent, "no such file"}, "--cert"},
		"no such key":         {etcdops.Config{Cert: cert, Key: absent}, []string{absent, "no such file"}, "--key"},
		"no such CA":          {etcdops.Config{CACert: absent}, []string{absent, "no such file"}, "--cacert"},
		"text for a CA":       {etcdops.Config{CACert: text}, []string{text, "no PEM certificate"}, "--cacert"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.cfg
			cfg.Endpoints = []string{"127.0.0.1:1"} // nobody is asked
			misconfigured(t, cfg, c.wants, c.hint)
		})
	}
}

func TestConfigurationsThatMakeNoSense(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  etcdops.Config
		want string
		hint string
	}{
		"no endpoint":            {etcdops.Config{}, "no endpoint", "--endpoints"},
		"http and https":         {etcdops.Config{Endpoints: []string{"https://a:1", "http://b:1"}}, "endpoints https://a:1 and http://b:1: one with TLS, one without", "https://"},
		"bare and https":         {etcdops.Config{Endpoints: []string{"https://a:1", "b:1"}}, "endpoints https://a:1 and http://b:1: one with TLS, one without", "https://"},
		"plain but TLS required": {etcdops.Config{Endpoints: []string{"http://a:1"}, RequireTLS: true}, "plain text, but TLS is required", "--insecure-transport"},
		"no port":                {etcdops.Config{Endpoints: []string{"https://a"}}, `endpoint "https://a": host or port missing`, "2379"},
		"no host":                {etcdops.Config{Endpoints: []string{":2379"}}, `endpoint ":2379": host or port missing`, "both"},
		"a path":                 {etcdops.Config{Endpoints: []string{"https://a:1/v3"}}, `endpoint "https://a:1/v3": not an address`, "host:port"},
		"an IPv6 address":        {etcdops.Config{Endpoints: []string{"::1:2379"}}, `endpoint "::1:2379": not an address`, "host:port"},
		"another scheme":         {etcdops.Config{Endpoints: []string{"grpc://a:1"}}, `endpoint "grpc://a:1": unknown scheme "grpc"`, "https://"},
		"empty":                  {etcdops.Config{Endpoints: []string{"a:1", " "}}, "host or port missing", "2379"},
		"no password":            {etcdops.Config{Endpoints: []string{"a:1"}, Username: "root"}, `user "root": no password`, "--password"},
		"no user":                {etcdops.Config{Endpoints: []string{"a:1"}, Password: "x"}, "no user", "--user"},
	} {
		t.Run(name, func(t *testing.T) { misconfigured(t, c.cfg, []string{c.want}, c.hint) })
	}
}

// Members of two clusters are no cluster: a key of one would pass for gone whenever the other is asked.
func TestEndpointsOfTwoClusters(t *testing.T) {
	one, other := start(t, lab.Config{PlainText: true}), start(t, lab.Config{PlainText: true})
	cfg := etcdops.Config{Endpoints: append(one.Endpoints(), other.Endpoints()...)}
	misconfigured(t, cfg, append(cfg.Endpoints, "different clusters"), "one cluster")
}

// misconfigured makes sure that the configuration is refused with these words.
func misconfigured(t *testing.T, cfg etcdops.Config, wants []string, hint string) {
	t.Helper()
	client, _, err := etcdops.Connect(t.Context(), cfg)
	if err == nil {
		_ = client.Close()
		t.Fatal("connected")
	}
	var wrong *etcdops.ConfigError
	if !errors.As(err, &wrong) {
		t.Fatalf("got %v, want a *ConfigError", err)
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
	if !strings.Contains(wrong.Hint(), hint) {
		t.Errorf("hint %q: does not say %q", wrong.Hint(), hint)
	}
}
