package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"etcdsweep/etcdops"
	"etcdsweep/plan/run"
)

// connectOptions are the flags that say how to reach etcd. They have etcdctl's names, and its ETCDCTL_ variables count
// where a flag is not given.
type connectOptions struct {
	flags             *pflag.FlagSet // these, to be repeated in the next command
	config            etcdops.Config
	insecureTransport bool
	user, password    string
}

const serverNameFlag = "server-name" // the one that etcdctl does not have

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
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != serverNameFlag {
			flag.Usage += " [$" + variable(flag.Name) + "]"
		}
	})
	o.flags = f
	cmd.Flags().AddFlagSet(f)
}

// variable returns the environment variable that etcdctl reads for a flag.
func variable(flag string) string {
	return "ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// complete takes what is not given as a flag from the environment, and asks for a password if one is missing.
func (o *connectOptions) complete(ctx context.Context, s streams) error {
	name, password, inUser := strings.Cut(o.user, ":")
	if inUser && o.flags.Changed("password") {
		return usagef("the password is given twice, in --user and in --password")
	}
	var err error
	o.flags.VisitAll(func(flag *pflag.Flag) {
		value := os.Getenv(variable(flag.Name))
		if err != nil || flag.Changed || value == "" || flag.Name == serverNameFlag {
			return
		}
		if setErr := flag.Value.Set(value); setErr != nil {
			err = usagef("%s: %w", variable(flag.Name), setErr)
		}
	})
	if err != nil {
		return err
	}
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
	if err := o.complete(ctx, s); err != nil {
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
