package cli

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/state"
)

// netHost keeps a command in the host's network namespace; the engine has its own as always.
const netHost = "host"

// engineFlags are the flags of `run` and `up`: what the new engine is to be.
type engineFlags struct {
	name, memory, disk, cpus, net, shareAs, user, isolation, runtime, daemonConfig, cgroupParent string
	pids                                                                                         int64
	mtu                                                                                          int
	shares, registryCAs, addHosts                                                                []string
	noShareCWD                                                                                   bool
	from                                                                                         string
	noVolumes                                                                                    bool
	trustFlags
}

// networkHelp differs between verbs: only a command can stay in the host's network.
func (f *engineFlags) register(cmd *cobra.Command, networkHelp string) {
	fs := cmd.Flags()
	fs.StringVar(&f.memory, "memory", "", "most memory the engine and its containers may use: a `SIZE` such as 512m or 4g")
	fs.StringVar(&f.cpus, "cpus", "", "most processors they may use: a `NUMBER` such as 1.5")
	fs.Int64Var(&f.pids, "pids", 0, "most processes and threads they may have")
	fs.StringVar(&f.disk, "disk", "", "most the engine may store: a `SIZE` such as 20g; layers it shares with a snapshot do not count")
	fs.StringVar(&f.net, "net", "veth", networkHelp)
	fs.IntVar(&f.mtu, "mtu", 0, "MTU of the engine's networks in bytes (default: that of the host's way out)")
	fs.StringArrayVar(&f.addHosts, "add-host", nil, "a name the engine and its containers resolve: `NAME:IP` or NAME:host-gateway")
	fs.StringArrayVar(&f.shares, "share", nil, "a directory or file the engine sees at the same path: `PATH` or PATH:ro")
	fs.StringVar(&f.shareAs, "share-as", "", "`WHO` the owner of what is shared is in containers: root (the default) or keep-id")
	fs.BoolVar(&f.noShareCWD, "no-share-cwd", false, "do not share the current directory")
	fs.StringVar(&f.user, "user", "", "user the engine is for: `USER`, UID, USER:GROUP or UID:GID (default: who called berth or sudo)")
	fs.StringVar(&f.isolation, "isolation", "", "`KIND` of isolation: userns (the default), or rootful: the engine's root is the host's")
	fs.StringVar(&f.runtime, "runtime", "", "OCI `RUNTIME` that runs the engine, by name or path (default: the bundled runc)")
	fs.StringVar(&f.cgroupParent, "cgroup-parent", "", "control `GROUP` below which the engine's is: the path of one that exists, or own for that of this process")
	fs.StringArrayVar(&f.registryCAs, "registry-ca", nil, registryCAHelp)
	f.trustFlags.register(cmd)
	fs.StringVar(&f.daemonConfig, "daemon-config", "", "`FILE` with settings for dockerd, as daemon.json")
	_ = cmd.RegisterFlagCompletionFunc("net", cobra.FixedCompletions([]string{"veth", "none"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("share-as", cobra.FixedCompletions([]string{"root", "keep-id"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("cgroup-parent", cobra.FixedCompletions([]string{cgroup.ParentOwn}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("isolation", cobra.FixedCompletions([]string{"userns", "rootful"}, cobra.ShellCompDirectiveNoFileComp))
}

// request is what the flags say, ready to be carried out.
type request struct {
	spec engine.Spec
	as   command.Identity
	dir  string // the current directory, symbolic links resolved; empty when there is none
	note string // something the user should know, or empty
}

// parse turns the flags into a request. Every error is the user's.
func (f *engineFlags) parse(rules shareRules) (request, error) {
	var r request
	as, err := identity(f.user)
	if err != nil {
		return r, fmt.Errorf("--user: %w", err)
	}
	r.as = as
	r.spec = engine.Spec{
		Name: f.name, Isolation: engine.Isolation(f.isolation),
		CgroupParent: f.cgroupParent, ShareAs: engine.ShareAs(f.shareAs), Owner: engine.Owner{UID: as.UID, GID: as.GID},
	}
	if r.spec.Runtime, err = runtimePath(f.runtime); err != nil {
		return r, fmt.Errorf("--runtime %s: %w", f.runtime, err)
	}
	checks := []func(*engine.Spec) error{f.parseLimits, f.parseNetwork, f.parseTrust, f.trustFlags.parse, f.parseFork}
	for _, check := range checks {
		if err := check(&r.spec); err != nil {
			return r, err
		}
	}
	if r.dir, err = workDir(); err != nil && !f.noShareCWD {
		r.note = fmt.Sprintf("the current directory is not shared: %v", err)
	}
	if err := f.addShares(&r, rules); err != nil {
		return r, err
	}
	return r, r.spec.Validate()
}

// runtimePath is the absolute path of the program that --runtime names; empty stands for
// the bundled one.
func runtimePath(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errors.New("no such program; give the path of an OCI runtime, such as crun's")
	}
	return filepath.Abs(path)
}

// identity is the user that a --user flag names, or who called berth.
func identity(user string) (command.Identity, error) {
	if user == "" {
		return command.Invoking()
	}
	return command.Lookup(user)
}

func (f *engineFlags) addShares(r *request, rules shareRules) error {
	for _, s := range f.shares {
		share, err := rules.parse(s)
		if err != nil {
			return fmt.Errorf("--share %s: %w", s, err)
		}
		r.spec.Shares = appendShare(r.spec.Shares, share)
	}
	if !f.noShareCWD && r.dir != "" {
		f.addWorkDir(r, rules)
	}
	// A directory comes before what is in it, or it would be mounted over that.
	slices.SortFunc(r.spec.Shares, func(a, b engine.Share) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// addWorkDir shares the current directory, if that can be done.
func (f *engineFlags) addWorkDir(r *request, rules shareRules) {
	share, err := rules.resolve(r.dir)
	switch {
	case err == nil:
		r.spec.Shares = appendShare(r.spec.Shares, share)
	case r.dir != "/":
		r.note = fmt.Sprintf("the current directory is not shared: %v", err)
	} // Work in / is common in CI containers, and nobody expects all of the host in the engine.
}

// appendShare leaves a path out that is there already: an explicit --share PATH:ro
// of the current directory counts.
func appendShare(shares []engine.Share, s engine.Share) []engine.Share {
	for _, have := range shares {
		if have.Path == s.Path {
			return shares
		}
	}
	return append(shares, s)
}

// request parses the flags of a verb and prints the note.
func (a *app) request(cmd *cobra.Command, f *engineFlags) (request, error) {
	paths, err := state.FromEnv()
	if err != nil {
		return request{}, err
	}
	rules, err := engine.New(engine.Options{Paths: paths}) // touches nothing, so needs no root
	if err != nil {
		return request{}, err
	}
	if err := f.takeDefaults(cmd); err != nil {
		return request{}, usage(cmd, "%w", err)
	}
	r, err := f.parse(rules.ShareProblem)
	if err != nil {
		return request{}, usage(cmd, "%w", err)
	}
	if r.note != "" {
		a.note("%s", r.note)
	}
	return r, nil
}

// explain adds to an engine's error what only the command line knows.
func explain(cmd *cobra.Command, err error) error {
	var spec *engine.SpecError
	if errors.As(err, &spec) {
		return usage(cmd, "%w", err)
	}
	return err
}
