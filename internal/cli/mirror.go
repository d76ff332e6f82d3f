package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/mirror"
	"github.com/berth-dev/berth/internal/state"
)

func (a *app) mirrorVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mirror",
		Short: "Serve one cache for every registry",
		Long: `A pull-through cache for any number of registries. While it runs, engines of this machine
pull through it by themselves.`,
		Example: "  sudo berth mirror serve",
		Args:    unknownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.mirrorServeVerb(), a.mirrorStatusVerb(), a.mirrorLsVerb(), a.mirrorGCVerb(), a.mirrorPrefetchVerb(), a.mirrorExportVerb(), a.mirrorImportVerb(), a.mirrorCAVerb())
	return cmd
}

func (a *app) mirrorStatusVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use: "status", Short: "Say what the running mirror holds and fetches",
		Example: "  sudo berth mirror status --json", Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s mirror.Status
			if err := askMirror(cmd.Context(), http.MethodGet, "/status", &s); err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(s)
			}
			w := a.table()
			fmt.Fprintf(w, "listening on\t%s\n", strings.Join(s.Listen, ", "))
			fmt.Fprintf(w, "stored\t%s in %d blobs\n", units.BytesSize(float64(s.Bytes)), s.Blobs)
			for _, d := range s.Downloads {
				fmt.Fprintf(w, "fetching\t%s/%s@%s: %s of %s for %d clients\n", d.Registry, d.Repo, d.Digest,
					units.BytesSize(float64(d.Bytes)), sizeOrUnknown(d.Size), d.Clients)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func sizeOrUnknown(n int64) string {
	if n < 0 {
		return "?"
	}
	return units.BytesSize(float64(n))
}

func (a *app) mirrorLsVerb() *cobra.Command {
	asJSON, dir := false, ""
	cmd := &cobra.Command{
		Use: "ls", Short: "List the tags that the mirror has",
		Example: "  sudo berth mirror ls", Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var entries []mirror.Entry
			err := a.onMirror(cmd.Context(), dir, http.MethodGet, "/list", &entries, func(s *mirror.Store) (err error) {
				entries, err = s.List()
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				for _, e := range entries {
					if err := a.printJSON(e); err != nil {
						return err
					}
				}
				return nil
			}
			w := a.table()
			fmt.Fprintln(w, "IMAGE\tDIGEST\tCHECKED\tPRIVATE")
			for _, e := range entries {
				fmt.Fprintf(w, "%s/%s:%s\t%s\t%s\t%t\n", e.Registry, e.Repo, e.Tag, e.Digest, checked(e.Checked), e.Private)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().StringVar(&dir, "dir", "", "the mirror's directory (default: berth's own)")
	return cmd
}

// checked is when a tag's registry was asked; for an imported one it never was.
func checked(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return age(at, time.Now()) + " ago"
}

func (a *app) mirrorGCVerb() *cobra.Command {
	size, dir, asJSON := "", "", false
	cmd := &cobra.Command{
		Annotations: map[string]string{whenInterrupted: sayAgain},
		Use:         "gc", Short: "Remove what the mirror has not served for longest",
		Long: `Remove abandoned downloads and records of content that is gone, and what has not been used
for longest until no more than --size is left.`,
		Example: "  sudo berth mirror gc --size 10g", Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			limit := int64(-1)
			if size != "" {
				n, err := units.RAMInBytes(size)
				if err != nil || n < 0 {
					return usage(cmd, "--size %s: not a size; give a number with m or g, such as 10g", size)
				}
				limit = n
			}
			var got mirror.Collected
			err := a.onMirror(cmd.Context(), dir, http.MethodPost, "/collect?size="+strconv.FormatInt(limit, 10), &got, func(s *mirror.Store) (err error) {
				got, err = s.Collect(limit)
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(got)
			}
			_, err = fmt.Fprintf(a.Out, "freed %s, gave up %d downloads\n", units.BytesSize(float64(got.Bytes)), got.Partials)
			return err
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "bytes to keep at most, such as 10g (default: the mirror's own bound)")
	cmd.Flags().StringVar(&dir, "dir", "", "the mirror's directory (default: berth's own)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// errNoMirror says that no mirror runs.
var errNoMirror = errors.New("no mirror is running on this machine; start one with `berth mirror serve`")

// askMirror asks the running mirror; it returns errNoMirror when there is none.
func askMirror(ctx context.Context, method, path string, answer any) error {
	return askMirrorWith(ctx, method, path, nil, answer)
}

func askMirrorWith(ctx context.Context, method, path string, body io.Reader, answer any) error {
	resp, err := callMirror(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(answer)
}

// callMirror makes a request to the running mirror. Any answer but 200 is an error.
func callMirror(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	paths, err := state.FromEnv()
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", paths.MirrorControl())
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://mirror"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if errors.Is(err, os.ErrPermission) {
		return nil, errors.New("the mirror is root's; use `sudo berth mirror …`")
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return nil, errNoMirror
	}
	if err != nil {
		return nil, fmt.Errorf("ask the mirror: %w", (err.(*url.Error)).Err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return nil, errors.New(strings.TrimSpace(string(text)))
}

// onMirror asks the running mirror, or, when there is none, works on its directory.
func (a *app) onMirror(ctx context.Context, dir, method, path string, answer any, direct func(*mirror.Store) error) error {
	if dir == "" {
		err := askMirror(ctx, method, path, answer)
		if !errors.Is(err, errNoMirror) {
			return err
		}
	}
	return a.inMirrorDir(dir, direct)
}

// inMirrorDir opens the content of a mirror that does not run.
func (a *app) inMirrorDir(dir string, f func(*mirror.Store) error) error {
	if dir == "" {
		paths, err := state.FromEnv()
		if err != nil {
			return err
		}
		dir = paths.Mirror()
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs")); err != nil {
		return fmt.Errorf("%s holds no mirror; start one with `berth mirror serve`", dir)
	}
	s, err := mirror.OpenStore(dir, 0, mirror.VerifyOnce, a.log())
	if err != nil {
		return err
	}
	defer s.Close()
	return f(s)
}
