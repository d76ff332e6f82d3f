package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
)

// find returns the engine that ref names. Its error names engines that are spelt alike.
func (a *app) find(ctx context.Context, es engines, ref string) (engine.Info, error) {
	info, err := es.Find(ctx, ref)
	if errors.Is(err, engine.ErrNotFound) {
		return info, a.suggest(ctx, es, ref, err)
	}
	return info, err
}

// findRunning is find for an engine that can be used now.
func (a *app) findRunning(ctx context.Context, es engines, ref string) (engine.Info, error) {
	info, err := a.find(ctx, es, ref)
	if err != nil || info.Status == engine.StatusRunning {
		return info, err
	}
	remedy := "`berth ls` shows how engines are"
	switch {
	case info.Status == engine.StatusDead && info.Spec.Keep:
		return info, fmt.Errorf("engine %s is stopped, for its monitor was killed; start it with `berth start %[1]s`", info.Name)
	case info.Status == engine.StatusStopped:
		remedy = fmt.Sprintf("start it with `berth start %s`", info.Name)
	case info.Status == engine.StatusDead:
		remedy = "`berth gc` removes it"
	}
	return info, fmt.Errorf("engine %s is %s; %s", info.Name, info.Status, remedy)
}

// mostNear is how many names are suggested.
const mostNear = 3

// suggest adds up to [mostNear] names close to ref to the error of a search that found none.
func (a *app) suggest(ctx context.Context, es engines, ref string, err error) error {
	all, listErr := es.List(ctx)
	if listErr != nil {
		return err
	}
	var near []string
	for _, info := range all {
		if alike(ref, info.Name) {
			near = append(near, info.Name)
		}
	}
	if len(near) == 0 {
		return fmt.Errorf("%w %s; `berth ls` shows those there are", engine.ErrNotFound, ref)
	}
	return fmt.Errorf("%w %s; did you mean %s?", engine.ErrNotFound, ref, strings.Join(near[:min(len(near), mostNear)], " or "))
}

// alike tells whether two names differ by a slip of the hand: one begins with the other,
// or up to two letters are wrong, missing or too many.
func alike(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	return strings.HasPrefix(b, a) || strings.HasPrefix(a, b) || distance(a, b) <= min(2, (len(a)+1)/2)
}

// distance is the Levenshtein distance of two names in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left, diagonal := i+1, i
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, left, row[j+1])
			}
			diagonal, left, row[j], row[j+1] = row[j+1], cost, left, cost
		}
	}
	return row[len(b)]
}

// completeFirst and completeAll are what a shell offers where a verb takes names.
func (a *app) completeFirst(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.completeAll(cmd, args, "")
}

func (a *app) completeAll(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	es, err := a.open(a)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := es.List(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, info := range all {
		names = append(names, fmt.Sprintf("%s\t%s", info.Name, info.Status))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
