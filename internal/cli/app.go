package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/client"
	"daos/internal/version"
)

// app is what every verb gets: the streams, the global flags and, made when it
// is first needed, the client.
type app struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string
	now    func() time.Time

	addr      string
	tokenFile string
	json      bool
	quiet     bool
	timeout   time.Duration

	client *client.Client
	// subject is the address that the verb is about, for "did you mean".
	subject address.Address
}

// connect returns the client of the server that the flags name.
func (a *app) connect(ctx context.Context) (*client.Client, error) {
	if a.client != nil {
		return a.client, nil
	}
	s, err := client.Find(ctx, a.where())
	if err != nil {
		return nil, err
	}
	a.client, err = client.Open(s, client.Options{Timeout: a.timeout, UserAgent: "daos-cli/" + version.Version})
	return a.client, err
}

func (a *app) where() client.Where {
	w := client.Where{Addr: a.addr, TokenFile: a.tokenFile, Runtime: client.RuntimeDir(a.getenv, os.Getuid())}
	if w.Addr == "" {
		w.Addr = a.getenv("DAOS_ADDR")
	}
	if w.TokenFile == "" {
		w.Token = a.getenv("DAOS_TOKEN")
	}
	return w
}

func (a *app) close() {
	if a.client != nil {
		_ = a.client.Close() // the process ends; nothing is pending
	}
}

// parse reads an address argument and remembers it as the subject.
func (a *app) parse(s string) (address.Address, error) {
	x, err := address.Parse(s)
	a.subject = x
	return x, err
}

// parseDataset is parse for a dataset, perhaps at a snapshot, without a path.
func (a *app) parseDataset(s string) (address.Address, error) {
	x, err := address.ParseDataset(s)
	a.subject = x
	return x, err
}

// parseLive is parse for an address that is going to be written.
func (a *app) parseLive(op, s string) (address.Address, error) {
	x, err := a.parse(s)
	if err == nil && x.Snapshot != "" {
		return x, snapshotIsReadOnly(op, x)
	}
	return x, err
}

// poolName checks a POOL argument and remembers it.
func (a *app) poolName(s string) (string, error) {
	a.subject = address.Address{Pool: s}
	return s, address.CheckName("pool", s)
}

// print prints v as JSON with --json, else what human prints.
func (a *app) print(v any, human func() error) error {
	if a.json {
		return printJSON(a.out, v)
	}
	return human()
}

// table prints t fitted to the terminal.
func (a *app) table(t *table) error { return t.print(a.out, width(a.out, a.getenv)) }

// say prints one line about what was done; not with --quiet or --json.
func (a *app) say(format string, args ...any) {
	if !a.quiet && !a.json {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// warn prints one line on stderr, always.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.err, "daos: "+format+"\n", args...)
}

// verb is a command whose run gets a connected client.
func (a *app) verb(run func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.connect(cmd.Context())
		if err != nil {
			return err
		}
		return run(cmd.Context(), c, args)
	}
}
