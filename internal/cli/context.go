package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
)

func (a *app) contextVerb() *cobra.Command {
	remove := false
	cmd := &cobra.Command{
		Use:   "context NAME",
		Short: "Make a docker context for an engine",
		Long: `Make, or bring up to date, the docker context berth-NAME of the user who called berth,
so that ` + "`docker --context berth-NAME`" + ` reaches the engine.`,
		Example: `  sudo berth context web && docker --context berth-web ps
  sudo berth context --rm web`,
		Args:              exactly(1, "the name or id of an engine"),
		ValidArgsFunction: a.completeFirst,
		RunE: func(cmd *cobra.Command, args []string) error {
			es, err := a.open(a)
			if err != nil {
				return err
			}
			if remove {
				return a.removeContext(cmd.Context(), es, args[0])
			}
			info, err := a.findRunning(cmd.Context(), es, args[0])
			if err != nil {
				return err
			}
			return a.makeContext(cmd.Context(), es, info)
		},
	}
	cmd.Flags().BoolVar(&remove, "rm", false, "remove the context; the engine may be gone already")
	return cmd
}

func contextName(engine string) string { return "berth-" + engine }

func (a *app) makeContext(ctx context.Context, es engines, info engine.Info) error {
	name := contextName(info.Name)
	verb := "create"
	if _, err := a.dockerContext(ctx, es, "inspect", name); err == nil {
		verb = "update"
	}
	_, err := a.dockerContext(ctx, es, verb, name, "--description", "berth engine "+info.ID, "--docker", "host="+info.DockerHost())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.Out, name)
	return err
}

// removeContext works without the engine; its name then has to be given in full.
func (a *app) removeContext(ctx context.Context, es engines, ref string) error {
	info, err := es.Find(ctx, ref)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		info.Name = strings.TrimPrefix(ref, contextName(""))
	case err != nil:
		return err
	}
	_, err = a.dockerContext(ctx, es, "rm", "--force", contextName(info.Name))
	return err
}

// dockerContext runs `docker context` as the user who called berth, whose contexts they are.
func (a *app) dockerContext(ctx context.Context, es engines, args ...string) (string, error) {
	as, err := command.Invoking()
	if err != nil {
		return "", err
	}
	tree, err := es.Tree(ctx)
	if err != nil {
		return "", err
	}
	c := &command.Command{
		Path: tree.Docker(), As: as,
		Args: append([]string{"docker", "context"}, args...),
		Env:  command.Environment{}.Environ(os.Environ(), as),
	}
	return c.Output(ctx)
}
