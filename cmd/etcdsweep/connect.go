package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"etcdsweep/etcdops"
	"etcdsweep/etcdops/encryption"
	"etcdsweep/plan/run"
)

// connectOptions are the flags that say how to reach etcd. They have etcdctl's names, and its ETCDCTL_ variables count
// where a flag is not given.
type connectOptions struct {
	flags             *pflag.FlagSet // these, to be repeated in the next command
	prefixFlags       *pflag.FlagSet // where the keys begin, to be repeated where that is not known from a plan
	config            etcdops.Config
	insecureTransport bool
	user, password    string
	nodeRoot          string

	registry registry
}

// The flags that etcdctl does not have.
const (
	serverNameFlag = "server-name"
	metricsFlag    = "metrics-endpoints"
	nodeRootFlag   = "node-root"
	encryptionFlag = "encryption-config"
	prefixFlag     = "etcd-prefix"
)

func (o *connectOptions) addFlags(cmd *cobra.Command) {
	f := pflag.NewFlagSet("connection", pflag.ContinueOnError)
	f.StringSliceVar(&o.config.Endpoints, "endpoints", []string{"127.0.0.1:2379"}, "etcd's client addresses, comma-separated")
	f.StringVar(&o.config.CACert, "cacert", "", "file with the CA certificates that sign the servers'")
	f.StringVar(&o.config.Cert, "cert", "", "file with the client certificate")
	f.StringVar(&o.config.Key, "key", "", "file with the client certificate's key")
	f.StringVar(&o.config.ServerName, serverNameFlag, "", "name to find in the servers' certificates (default: each endpoint's host)")
	f.StringVar(&o.user, "user", "", "name[:password] for etcd's authentication")
	f.StringVar(&o.password, "password", "", "password for etcd's authentication; asked for if absent")
	f.DurationVar(&o.config.DialTimeout, "dial-timeout", etcdops.DefaultDialTimeout, "for a connection")
	f.DurationVar(&o.config.CommandTimeout, "command-timeout", etcdops.DefaultCommandTimeout, "for one request")
	f.DurationVar(&o.config.KeepAliveTime, "keepalive-time", etcdops.DefaultKeepAliveTime, "silence before a connection is tried")
	f.DurationVar(&o.config.KeepAliveTimeout, "keepalive-timeout", etcdops.DefaultKeepAliveTimeout, "wait before it counts as lost")
	f.BoolVar(&o.insecureTransport, "insecure-transport", true, "allow plain text where an endpoint has no https:// and no TLS flag is given")
	f.BoolVar(&o.config.InsecureSkipVerify, "insecure-skip-tls-verify", false, "believe any server certificate")
	f.StringSliceVar(&o.config.MetricsEndpoints, metricsFlag, nil, "where members serve their metrics, if neither at their client addresses nor at kubeadm's")
	f.StringVar(&o.nodeRoot, nodeRootFlag, "/", "where this node's files are, to find the way to etcd in them if none of --endpoints, --cacert, --cert, --key is given")
	f.VisitAll(func(flag *pflag.Flag) {
		if v := variable(flag.Name); v != "" {
			flag.Usage += " [$" + v + "]"
		}
	})
	o.flags = f
	cmd.Flags().AddFlagSet(f)
}

// addEncryptionFlag is for commands that read what is in values. It belongs to the connection: a next command needs it too.
func (o *connectOptions) addEncryptionFlag(cmd *cobra.Command) {
	o.flags.StringVar(&o.registry.encryptionConfig, encryptionFlag, "", "kube-apiserver's --encryption-provider-config, to read encrypted values (default: as found on this node)")
	cmd.Flags().AddFlag(o.flags.Lookup(encryptionFlag))
}

// addPrefixFlag is for commands that begin with keys. Others know the prefix from a plan.
func (o *connectOptions) addPrefixFlag(cmd *cobra.Command) {
	o.prefixFlags = pflag.NewFlagSet("prefix", pflag.ContinueOnError)
	o.prefixFlags.StringVar(&o.registry.prefix, prefixFlag, "", "kube-apiserver's --etcd-prefix (default: as found on this node, else "+defaultPrefix+")")
	cmd.Flags().AddFlagSet(o.prefixFlags)
}

// again returns the flags that were given, for a next command that begins with keys too.
func (o *connectOptions) again() string { return repeat(o.flags) + repeat(o.prefixFlags) }

// variable returns the environment variable that etcdctl reads for a flag, "" if it has no such flag.
func variable(flag string) string {
	if slices.Contains([]string{serverNameFlag, metricsFlag, nodeRootFlag, encryptionFlag, prefixFlag}, flag) {
		return ""
	}
	return "ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// names reports whether a flag says where etcd is, or who may ask it. User and password are no part of that: no file of a
// node has them.
func names(flag string) bool {
	return slices.Contains([]string{"endpoints", "cacert", "cert", "key"}, flag)
}

// complete takes what is not given as a flag from the environment, what neither gives from this node's files, and asks for a
// password if one is missing.
func (o *connectOptions) complete(ctx context.Context, s streams) error {
	name, password, inUser := strings.Cut(o.user, ":")
	if inUser && o.flags.Changed("password") {
		return usagef("the password is given twice, in --user and in --password")
	}
	named, err := o.fromEnvironment()
	if err != nil {
		return err
	}
	if prefix := o.registry.prefix; prefix != "" {
		if o.registry.prefix = "/" + strings.Trim(prefix, "/"); o.registry.prefix == "/" {
			return usagef("--%s is empty", prefixFlag)
		}
	}
	if err := o.find(named, s.err); err != nil {
		return err
	}
	o.registry.prefix = cmp.Or(o.registry.prefix, defaultPrefix)
	if !inUser { // a password behind the flag's name beats the environment's
		if name, password, inUser = strings.Cut(o.user, ":"); !inUser || o.flags.Changed("password") {
			password = o.password
		}
	}
	o.config.RequireTLS = !o.insecureTransport
	if name != "" && password == "" {
		password, err = askPassword(ctx, s, name)
	}
	o.config.Username, o.config.Password = name, password
	return err
}

// fromEnvironment sets the flags that are not given from their variables. Named says that one or the other names a part of the
// connection.
func (o *connectOptions) fromEnvironment() (named bool, err error) {
	o.flags.VisitAll(func(flag *pflag.Flag) {
		value := ""
		if v := variable(flag.Name); v != "" && !flag.Changed {
			value = os.Getenv(v)
		}
		named = named || names(flag.Name) && (flag.Changed || value != "")
		if err != nil || value == "" {
			return
		}
		if setErr := flag.Value.Set(value); setErr != nil {
			err = usagef("%s: %w", variable(flag.Name), setErr)
		}
	})
	return named, err
}

func askPassword(ctx context.Context, s streams, user string) (string, error) {
	file, ok := s.in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return "", usagef("--user %s has no password, and there is no terminal to ask for it", user)
	}
	echoing, err := term.GetState(int(file.Fd()))
	if err != nil {
		return "", err
	}
	fmt.Fprintf(s.err, "Password of %s: ", user)
	password, err := await(ctx, func() (string, error) {
		password, err := term.ReadPassword(int(file.Fd()))
		return string(password), err
	})
	fmt.Fprintln(s.err)
	if ctx.Err() != nil {
		return "", errors.Join(err, term.Restore(int(file.Fd()), echoing))
	}
	return password, err
}

// await waits for an answer from the terminal, or for the end of ctx; the read then stays behind until the process ends.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
		return "", run.ErrInterrupted
	}
}

// connect opens the cluster, and warns of what is not as it should be.
func (o *connectOptions) connect(ctx context.Context, s streams) (*etcdops.Client, error) {
	client, dead, err := o.open(ctx, s)
	if o.config.InsecureSkipVerify {
		warn(s.err, "--insecure-skip-tls-verify: whoever answers at an endpoint is believed to be etcd")
	}
	if err != nil {
		return nil, err
	}
	if plain := strings.HasPrefix(client.Endpoints()[0], "http://"); plain {
		warn(s.err, "the connection to etcd is in plain text")
	}
	for _, endpoint := range dead {
		warn(s.err, endpoint.Error())
	}
	return client, nil
}

// open opens the cluster. Endpoints that can't be used beside others are returned.
func (o *connectOptions) open(ctx context.Context, s streams) (*etcdops.Client, []*etcdops.EndpointError, error) {
	if err := o.complete(ctx, s); err != nil {
		return nil, nil, err
	}
	keys, err := o.keys(s.err)
	if err != nil {
		return nil, nil, err
	}
	if keys != nil {
		o.config.Opener = keys
	}
	client, dead, err := etcdops.Connect(ctx, o.config)
	if err != nil && keys != nil {
		err = errors.Join(err, keys.Close())
	}
	if err != nil {
		return nil, nil, err
	}
	if err := o.openElsewhere(ctx, client, s.err); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, dead, nil
}

// keys reads the configuration that opens encrypted values, for a command that has a use for it; nil if there is none. One that
// was only found on this node stops nobody: what it would open is reported as unreadable.
func (o *connectOptions) keys(w io.Writer) (*encryption.Keys, error) {
	flag, file := o.flags.Lookup(encryptionFlag), o.registry.encryptionConfig
	if flag == nil || file == "" {
		return nil, nil
	}
	keys, err := encryption.Load(file, o.registry.prefix)
	if err != nil && !flag.Changed {
		warn(w, err.Error()+"; encrypted values are not read")
		return nil, nil
	}
	return keys, err
}

// repeat returns the flags that were given, for the next command; but no password, and no confirmation of this one.
func repeat(flags *pflag.FlagSet) string {
	var text strings.Builder
	for _, word := range given(flags) {
		if !strings.HasPrefix(word, "--confirm=") {
			name, value, _ := strings.Cut(word, "=")
			text.WriteString(" " + name + "=" + shellQuote(value))
		}
	}
	return text.String()
}

// given returns the flags that were given, without passwords.
func given(flags *pflag.FlagSet) []string {
	var words []string
	flags.VisitAll(func(flag *pflag.Flag) {
		if !flag.Changed || flag.Name == "password" {
			return
		}
		values := []string{flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
			if flag.Value.Type() == "stringSlice" {
				values = []string{strings.Join(values, ",")}
			}
		}
		if flag.Name == "user" {
			values[0], _, _ = strings.Cut(values[0], ":")
		}
		for _, value := range values {
			words = append(words, "--"+flag.Name+"="+value)
		}
	})
	return words
}

// shellQuote quotes a word for a POSIX shell if it needs it.
func shellQuote(word string) string {
	plain := strings.IndexFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@%+", r)
	}) < 0
	if plain && word != "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func rounded(d time.Duration) string { return d.Round(time.Second).String() }
