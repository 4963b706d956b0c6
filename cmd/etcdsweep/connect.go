package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"etcdsweep/etcdops"
)

// connectOptions are the flags that say how to reach etcd. They have etcdctl's names, and its ETCDCTL_ variables count
// where a flag is not given.
type connectOptions struct {
	config            etcdops.Config
	insecureTransport bool
	user, password    string
	prefix            string
}

const etcdctlVariables = "ETCDCTL_"

func (o *connectOptions) addFlags(cmd *cobra.Command) {
	f := pflag.NewFlagSet("connection", pflag.ContinueOnError)
	f.StringSliceVar(&o.config.Endpoints, "endpoints", []string{"127.0.0.1:2379"}, "etcd's client addresses, comma-separated")
	f.StringVar(&o.config.CACert, "cacert", "", "file with the CA certificates that sign the servers'")
	f.StringVar(&o.config.Cert, "cert", "", "file with the client certificate")
	f.StringVar(&o.config.Key, "key", "", "file with the client certificate's key")
	f.StringVar(&o.config.ServerName, "server-name", "", "name to find in the servers' certificates (default: each endpoint's host)")
	f.StringVar(&o.user, "user", "", "name[:password] for etcd's authentication")
	f.StringVar(&o.password, "password", "", "password for etcd's authentication; asked for if absent")
	f.DurationVar(&o.config.DialTimeout, "dial-timeout", etcdops.DefaultDialTimeout, "for a connection")
	f.DurationVar(&o.config.CommandTimeout, "command-timeout", etcdops.DefaultCommandTimeout, "for one request")
	f.DurationVar(&o.config.KeepAliveTime, "keepalive-time", etcdops.DefaultKeepAliveTime, "silence before a connection is tried")
	f.DurationVar(&o.config.KeepAliveTimeout, "keepalive-timeout", etcdops.DefaultKeepAliveTimeout, "wait before it counts as lost")
	f.BoolVar(&o.insecureTransport, "insecure-transport", true, "allow plain text where an endpoint has no https:// and no TLS flag is given")
	f.BoolVar(&o.config.InsecureSkipVerify, "insecure-skip-tls-verify", false, "believe any server certificate")
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "server-name" {
			flag.Usage += " [$" + variable(flag.Name) + "]"
		}
	})
	f.StringVar(&o.prefix, "etcd-prefix", "/registry", "kube-apiserver's --etcd-prefix")
	cmd.Flags().AddFlagSet(f)
}

func variable(flag string) string {
	return etcdctlVariables + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// complete takes what is not given as a flag from the environment, and asks for a password if one is missing.
func (o *connectOptions) complete(cmd *cobra.Command, s streams) error {
	var err error
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		value, ok := os.LookupEnv(variable(flag.Name))
		if err != nil || flag.Changed || !ok || value == "" || !strings.Contains(flag.Usage, "[$"+variable(flag.Name)+"]") {
			return
		}
		if setErr := cmd.Flags().Set(flag.Name, value); setErr != nil {
			err = usagef("%s: %w", variable(flag.Name), setErr)
		}
		flag.Changed = false // it need not be repeated in the next command
	})
	if err != nil {
		return err
	}
	if o.prefix = "/" + strings.Trim(o.prefix, "/"); o.prefix == "/" {
		return usagef("--etcd-prefix is empty")
	}
	o.config.RequireTLS = !o.insecureTransport
	name, password, given := strings.Cut(o.user, ":")
	o.config.Username, o.config.Password = name, cmp.Or(o.password, password)
	if given && o.password != "" {
		return usagef("the password is given twice, in --user and in --password")
	}
	if name != "" && o.config.Password == "" {
		o.config.Password, err = askPassword(s, name)
	}
	return err
}

func askPassword(s streams, user string) (string, error) {
	terminal, ok := s.in.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return "", usagef("--user %s has no password, and there is no terminal to ask for it", user)
	}
	fmt.Fprintf(s.err, "Password of %s: ", user)
	password, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(s.err)
	return string(password), err
}

// connect opens the cluster, and warns of what is not as it should be.
func (o *connectOptions) connect(ctx context.Context, cmd *cobra.Command, s streams) (*etcdops.Client, error) {
	if err := o.complete(cmd, s); err != nil {
		return nil, err
	}
	if o.config.InsecureSkipVerify {
		warn(s.err, "--insecure-skip-tls-verify: whoever answers at an endpoint is believed to be etcd")
	}
	client, dead, err := etcdops.Connect(ctx, o.config)
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

// repeat returns the connection flags that were given, for the next command; but no password.
func (o *connectOptions) repeat(cmd *cobra.Command) string {
	var words []string
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		connection := strings.Contains(flag.Usage, "[$"+etcdctlVariables) || flag.Name == "server-name"
		if !flag.Changed || !connection || flag.Name == "password" {
			return
		}
		value := strings.Trim(flag.Value.String(), "[]")
		if flag.Name == "user" {
			value, _, _ = strings.Cut(value, ":")
		}
		words = append(words, " --"+flag.Name+"="+shellQuote(value))
	})
	return strings.Join(words, "")
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
