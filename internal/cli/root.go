package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"daos/internal/address"
	"daos/internal/fault"
	"daos/internal/near"
	"daos/internal/version"
)

// Main runs the command line and returns the exit status of the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: stdin, out: stdout, err: stderr, getenv: os.Getenv, now: time.Now}
	defer a.close()
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if strings.HasPrefix(err.Error(), "required flag(s) ") { // cobra's own, the one that is no fault
		err = fault.New(fault.Invalid, "cli", "", "%s", err).Do("see --help")
	}
	if errors.Is(err, syscall.EPIPE) {
		return 1 // `daos ... | head`: the reader has seen enough
	}
	if ctx.Err() != nil {
		a.report(fault.New(fault.Canceled, "cli", "", "interrupted"))
		return 130
	}
	a.report(a.suggest(ctx, err))
	return fault.KindOf(err).ExitCode()
}

// report prints err on stderr: one line for people, one object with --json.
func (a *app) report(err error) {
	if !a.json {
		// The lines of an error are kept: some mark a place in what was typed.
		lines := strings.Split(err.Error(), "\n")
		for i := range lines {
			lines[i] = printable(lines[i])
		}
		fmt.Fprintln(a.err, "daos:", strings.Join(lines, "\n"))
		return
	}
	kind := fault.KindOf(err)
	out := errorJSON{Kind: kind.String(), Detail: err.Error(), ExitCode: kind.ExitCode()}
	var f *fault.Error
	if errors.As(err, &f) {
		out.Op, out.Resource, out.Resolution = f.Op, f.Resource, f.Resolution
		bare := *f
		bare.Resource, bare.Resolution = "", ""
		out.Detail = bare.Error()
	}
	enc := json.NewEncoder(a.err)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(map[string]errorJSON{"error": out}) // stderr is the last resort
}

type errorJSON struct {
	Kind       string `json:"kind"`
	Op         string `json:"op"`
	Resource   string `json:"resource"`
	Detail     string `json:"detail"`
	Resolution string `json:"resolution"`
	ExitCode   int    `json:"exit_code"`
}

const rootLong = `daos is the DAOS dataset service: server, engines and command line in one binary.

Things are named POOL/DATASET[@SNAPSHOT][/PATH]. A server of this user on this
host is found by itself; another one is named with --addr or DAOS_ADDR
(HOST:PORT or unix:PATH), its token with --token-file or DAOS_TOKEN.

Exit status: 0 done, 1 internal error, 2 wrong use, 3 not found, 4 exists or not
empty, 5 not allowed, 6 no space or quota, 7 overloaded, unreachable or timed
out, 8 conflict, 9 corrupt or lost data, 130 interrupted.`

const rootExample = `  daos serve --root ~/daos &
  daos pool create p --quota 50GiB
  daos dataset create p/photos --type posix
  daos fs import ./photos p/photos/
  daos snapshot create p/photos v1
  daos fs ls p/photos@v1/`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use: "daos", Short: "Typed, versioned datasets for training loops", Long: rootLong, Example: rootExample,
		SilenceUsage: true, SilenceErrors: true,
		Version: version.Version,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetVersionTemplate("daos {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = false
	pf := root.PersistentFlags()
	pf.StringVar(&a.addr, "addr", "", "server, HOST:PORT or unix:PATH (default: DAOS_ADDR, else the one of this user)")
	pf.StringVar(&a.tokenFile, "token-file", "", "file with the server's token (default: DAOS_TOKEN, else the registered one)")
	pf.BoolVar(&a.json, "json", false, "print JSON; errors too, on stderr")
	pf.BoolVarP(&a.quiet, "quiet", "q", false, "print nothing but what was asked for: no progress, no confirmations")
	pf.DurationVar(&a.timeout, "timeout", 0, "give up a single call, or a query, after this long (default 2m; queries take what they need)")
	root.AddCommand(
		newServe(a), newConfig(a),
		newPool(a), newDataset(a), newSnapshot(a), newFS(a), newKV(a), newArray(a), newTensor(a), newQuery(a), newView(a), newLoader(a), newCkpt(a),
		newSystem(a), newToken(a), newVersion(a), newDocs(a),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	tame(root)
	a.completeAddresses(root)
	return root
}

// tame gives every command of the tree the same manners: a flag that doesn't
// exist is a fault with the nearest that does; a noun without a verb shows its
// help; a wrong number of arguments says what is wanted.
func tame(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(flagError)
	if cmd.HasSubCommands() && cmd.RunE == nil && cmd.Run == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			err := fault.New(fault.Invalid, "cli", args[0], "%q is not a command of %s", args[0], cmd.CommandPath())
			var verbs []string
			for _, c := range cmd.Commands() {
				if c.IsAvailableCommand() {
					verbs = append(verbs, c.Name())
					verbs = append(verbs, c.Aliases...)
				}
			}
			err.Resource = ""
			if near := near.Name(args[0], verbs); near != "" {
				return err.Do("did you mean `%s %s`?", cmd.CommandPath(), near)
			}
			return err.Do("see %s --help", cmd.CommandPath())
		}
	} else if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				var said *fault.Error
				if errors.As(err, &said) {
					return said
				}
				return fault.New(fault.Invalid, "cli", "", "%s takes %s, got %d", cmd.CommandPath(), wanted(cmd), len(args)).
					Do("usage: %s", cmd.UseLine())
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		tame(c)
	}
}

// wanted lists the arguments of a usage line.
func wanted(cmd *cobra.Command) string {
	if _, args, ok := strings.Cut(cmd.Use, " "); ok {
		return args
	}
	return "no arguments"
}

func flagError(cmd *cobra.Command, err error) error {
	f := fault.New(fault.Invalid, "cli", "", "%s", strings.TrimSpace(err.Error()))
	if num := (*strconv.NumError)(nil); errors.As(err, &num) && num.Func == "ParseUint" {
		return f.Do("give a whole number from 0 to 2^64-1")
	}
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if ok {
		if near := near.Name(name, flagNames(cmd)); near != "" {
			return f.Do("did you mean --%s?", near)
		}
	}
	return f.Do("see %s --help", cmd.CommandPath())
}

func snapshotIsReadOnly(op string, x address.Address) error {
	return fault.New(fault.ReadOnly, op, x.String(), "a snapshot can't be written").Do("write to the live dataset %s", x.Live().String())
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: "  daos version\n  daos version --json",
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Commit  string `json:"commit"`
			}{version.Version, version.Commit}
			return a.print(v, func() error {
				_, err := fmt.Fprintf(a.out, "daos %s (%s)\n", v.Version, v.Commit)
				return err
			})
		},
	}
}
