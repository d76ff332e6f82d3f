package cli

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/payload"
	"github.com/berth-dev/berth/internal/version"
)

// versions are what `berth version` tells.
type versions struct {
	Version  string            `json:"version"`
	Commit   string            `json:"commit,omitempty"`
	Date     string            `json:"date,omitempty"`
	Go       string            `json:"go"`
	Platform string            `json:"platform"`
	Payload  string            `json:"payload,omitempty"` // digest
	Programs []payload.Package `json:"programs,omitempty"`
}

func (a *app) versionVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of berth and of every program in it",
		Example: "  berth version --json | jq .programs",
		Args:    atMost(0),
		RunE: func(*cobra.Command, []string) error {
			v, err := readVersions()
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(v)
			}
			return a.printVersions(v)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func readVersions() (versions, error) {
	v := versions{
		Version: version.Version(), Commit: version.Commit(), Date: version.Date(),
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	p, err := payload.Embedded()
	if errors.Is(err, payload.ErrNotBuilt) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.Payload = p.Digest()
	components, err := p.Components()
	for _, c := range components {
		v.Programs = append(v.Programs, c.Packages...)
	}
	return v, err
}

func (a *app) printVersions(v versions) error {
	w := a.table()
	fmt.Fprintf(w, "berth\t%s\n", v.Version)
	fmt.Fprintf(w, "go\t%s %s\n", v.Go, v.Platform)
	if v.Payload == "" {
		fmt.Fprintf(w, "payload\t%v\n", payload.ErrNotBuilt)
	} else {
		fmt.Fprintf(w, "payload\t%s\n", v.Payload)
	}
	for _, p := range v.Programs {
		fmt.Fprintf(w, "  %s\t%s\n", p.Name, p.Version)
	}
	return w.Flush()
}
