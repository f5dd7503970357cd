package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/peterh/liner"
	"github.com/spf13/cobra"

	"daos/internal/client"
	"daos/internal/fault"
	queryv1 "daos/proto/gen/daos/query/v1"
)

const shellLong = `Read statements and run them, each when its semicolon has come: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE; EXPLAIN and
EXPLAIN ANALYZE show what is evaluated next to the data. Datasets are tables, named by their address in double quotes.

On a terminal lines are edited as in other shells, Tab completes pools, datasets, snapshots, paths, columns, functions and
keywords, the history is kept in ~/.local/state/daos (XDG_STATE_HOME), Ctrl-C ends the statement that runs, Ctrl-D the shell.
From a pipe statements are run one after another, until one fails.

Commands begin with a dot; .help lists them.`

func queryShell(a *app) *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use: "shell", Short: "Type SQL and see its results", Args: cobra.NoArgs, Long: shellLong,
		Example: "  daos query shell\n  daos query shell --format csv < report.sql",
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			f.more = ".rows shows more, .format csv all"
			s := &shell{a: a, c: c, f: f, timing: width(a.out, a.getenv) > 0}
			if f.format != "" {
				if err := checkFormat(f.format); err != nil {
					return err
				}
			}
			if editable(a) {
				return s.interact(ctx)
			}
			return s.run(ctx, &lineReader{r: bufio.NewReaderSize(a.in, 64<<10)})
		}),
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.format, "format", "f", "", "form of results, as .format has it (default: table on a terminal, ndjson on a pipe)")
	fl.IntVar(&f.maxRows, "max-rows", 40, "rows that a table shows, as .rows has it")
	return cmd
}

// editable reports whether lines can be edited: input and output are the
// terminal of this process.
func editable(a *app) bool {
	in, ok := a.in.(*os.File)
	return ok && in == os.Stdin && a.out == io.Writer(os.Stdout) && width(a.in.(*os.File), a.getenv) > 0 && width(a.out, a.getenv) > 0 && liner.TerminalSupported()
}

// lines gives the lines of a shell, without their ends: io.EOF after the last,
// liner.ErrPromptAborted for one that was given up.
type lines interface {
	next(prompt string) (string, error)
}

// maxStatement is the longest statement that the shell takes.
const maxStatement = 1 << 20

// lineReader reads lines of a pipe.
type lineReader struct{ r *bufio.Reader }

func (l *lineReader) next(string) (string, error) {
	var b strings.Builder
	for {
		part, err := l.r.ReadSlice('\n')
		b.Write(part)
		switch {
		case b.Len() > maxStatement:
			return "", fault.New(fault.TooBig, "query.shell", "input", "a line of over 1 MiB")
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && b.Len() == 0:
			return "", err
		}
		return strings.TrimRight(b.String(), "\r\n"), nil
	}
}

// shell runs statements and commands.
type shell struct {
	a       *app
	c       *client.Client
	f       queryFlags
	once    once // where the next result goes
	timing  bool
	explain bool
	pending string // of a statement that has no end yet
	words   *completer
	keep    func(line string) // in the history
	live    bool              // with a person: errors are said, and it goes on
	stopped bool              // Ctrl-C has ended the last statement
}

// once is a file and the form of what is written to it.
type once struct{ file, format string }

var errQuit = errors.New("quit")

const (
	shellPrompt = "daos> "
	morePrompt  = " ...> "
)

// run reads until the end, or .quit, or, without a person, the first error.
func (s *shell) run(ctx context.Context, in lines) error {
	for {
		prompt := shellPrompt
		if s.pending != "" {
			prompt = morePrompt
		}
		line, err := in.next(prompt)
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			s.pending = ""
			continue
		case errors.Is(err, io.EOF):
			if s.live || nothingIn(s.pending) {
				return nil
			}
			return s.statement(ctx, s.pending) // the last one of a file needs no semicolon
		case err != nil:
			return err
		}
		if err := s.line(ctx, line); errors.Is(err, errQuit) {
			return nil
		} else if err != nil {
			if !s.live {
				return err
			}
			s.say(ctx, err)
		}
	}
}

// say prints an error; that of a statement which Ctrl-C has ended is no more
// than that.
func (s *shell) say(ctx context.Context, err error) {
	if s.stopped {
		fmt.Fprintln(s.a.err, "canceled")
		return
	}
	s.a.report(s.a.suggest(ctx, err))
}

// line takes one line: a command, or more of a statement.
func (s *shell) line(ctx context.Context, line string) error {
	if s.pending == "" && strings.HasPrefix(strings.TrimSpace(line), ".") {
		s.remember(strings.TrimSpace(line))
		return s.command(ctx, strings.TrimSpace(line))
	}
	if len(s.pending)+len(line) > maxStatement {
		s.pending = ""
		return fault.New(fault.TooBig, "query.shell", "statement", "a statement of over 1 MiB")
	}
	if s.pending != "" {
		s.pending += "\n"
	}
	s.pending += line
	for {
		one, rest, whole := cutStatement(s.pending)
		if !whole {
			if nothingIn(s.pending) && !strings.Contains(s.pending, "/*") {
				s.pending = ""
			}
			return nil
		}
		s.pending = strings.TrimLeft(rest, " \t\r\n")
		if nothingIn(one) {
			continue
		}
		if err := s.statement(ctx, one); err != nil {
			s.pending = "" // what follows may rest on it
			return err
		}
	}
}

func (s *shell) remember(line string) {
	if s.keep != nil && line != "" {
		s.keep(line)
	}
}

// statement runs one statement.
func (s *shell) statement(ctx context.Context, text string) error {
	if line, ok := oneLine(text); ok {
		s.remember(line + ";")
	}
	text = strings.TrimSpace(text)
	ctx, done := s.interruptible(ctx)
	defer done()
	f := s.f
	f.silent = !s.timing
	if rest, ok := cutWord(text, "explain"); ok {
		inner, analyze := cutWord(rest, "analyze")
		return s.a.explainSQL(ctx, s.c, &queryv1.SqlRequest{Text: inner}, analyze, &f)
	}
	if s.explain {
		if err := s.a.explainSQL(ctx, s.c, &queryv1.SqlRequest{Text: text}, false, &f); err != nil {
			return err
		}
	}
	if s.once.file != "" {
		f.output, f.format = s.once.file, s.once.format
		s.once = once{}
	}
	return s.a.runSQL(ctx, s.c, &queryv1.SqlRequest{Text: text}, &f)
}

// cutWord cuts a word, in any case, off the beginning of a text.
func cutWord(s, word string) (rest string, ok bool) {
	if len(s) > len(word) && strings.EqualFold(s[:len(word)], word) && !wordRune(rune(s[len(word)])) {
		return strings.TrimSpace(s[len(word):]), true
	}
	return s, false
}

// interruptible is a context that Ctrl-C ends, for one statement of a person.
func (s *shell) interruptible(ctx context.Context) (inner context.Context, done func()) {
	if !s.live {
		return ctx, func() {}
	}
	s.stopped = false
	inner, cancel := context.WithCancel(ctx)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, os.Interrupt)
	go func() {
		select {
		case <-ch:
			cancel()
		case <-inner.Done():
		}
	}()
	return inner, func() {
		signal.Stop(ch)
		s.stopped = inner.Err() != nil
		cancel()
	}
}

// interact reads lines from a terminal.
func (s *shell) interact(ctx context.Context) error {
	s.live = true
	ctx = context.WithoutCancel(ctx) // Ctrl-C ends statements, not the shell
	s.words = &completer{ask: s.lookup(ctx)}
	line := liner.NewLiner()
	defer line.Close() //nolint:errcheck // gives the terminal back; it fails where there is none any more
	line.SetCtrlCAborts(true)
	line.SetTabCompletionStyle(liner.TabPrints)
	line.SetMultiLineMode(true)
	line.SetWordCompleter(func(text string, at int) (string, []string, string) {
		return s.words.complete(s.pending, text, at)
	})
	past, err := openHistory(s.a.getenv)
	if err != nil {
		s.a.warn("no history: %s", err)
	}
	for _, l := range past.lines {
		line.AppendHistory(l)
	}
	s.keep = func(l string) {
		line.AppendHistory(l)
		past.add(l)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(stop)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case sig := <-stop:
			_ = line.Close() // the terminal as it was
			signal.Reset(sig)
			_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		case <-ended:
		}
	}()
	if !s.a.quiet {
		fmt.Fprintln(s.a.out, `Statements end in a semicolon. .help lists commands, Tab completes, Ctrl-D ends.`)
	}
	err = s.run(ctx, prompter{line})
	if err == nil {
		fmt.Fprintln(s.a.out)
	}
	return err
}

type prompter struct{ line *liner.State }

func (p prompter) next(prompt string) (string, error) { return p.line.Prompt(prompt) }
