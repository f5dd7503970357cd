package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"daos/internal/fault"
)

// suggest adds "did you mean" to an error about a name that doesn't exist. It
// asks the server for the names beside it, and gives up silently: the error
// itself is the answer.
func (a *app) suggest(ctx context.Context, err error) error {
	var f *fault.Error
	if a.client == nil || !errors.As(err, &f) || f.Kind != fault.NotFound || a.subject.Pool == "" {
		return err
	}
	if f.Resource != a.subject.Pool && !strings.HasPrefix(f.Resource, a.subject.Pool+"/") {
		return err // about a local file
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	near := a.client.Nearest(ctx, a.subject)
	if near == "" || strings.HasPrefix(f.Resolution, "add -p") {
		return err
	}
	return f.Do("did you mean %s?", near)
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}
