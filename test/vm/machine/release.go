package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// listsAge is how old lists of packages may be before they are fetched again.
const listsAge = 24 * time.Hour

// debianKey is where the package debian-archive-keyring has the archive's keys.
const debianKey = "/usr/share/keyrings/debian-archive-keyring.gpg"

// backports stands for those of the machine's own release.
const backports = "backports"

// archive is the machine's own apt, or, with a release such as bookworm-backports, one
// that knows that release as well: it has sources and lists of its own in the store, so
// that the machine's configuration stays as it is.
func (s Store) archive(ctx context.Context, release string) (archive, error) {
	if release == "" {
		return archive{s: s}, nil
	}
	if release == backports {
		codename, err := debianCodename("/etc/os-release")
		if err != nil {
			return archive{}, err
		}
		release = codename + "-" + backports
	}
	dir := filepath.Join(s.Dir, "apt-"+release)
	sources := filepath.Join(dir, "sources.list")
	a := archive{s, []string{
		"-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Etc::SourceList=" + sources, "-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "APT::Sandbox::User=root",
		"-o", "APT::Default-Release=" + release,
	}}
	stamp := filepath.Join(dir, "updated")
	if info, err := os.Stat(stamp); err == nil && time.Since(info.ModTime()) < listsAge {
		return a, nil
	}
	lines, err := sourcesFor(ctx, release)
	if err != nil {
		return a, err
	}
	err = errors.Join(os.MkdirAll(filepath.Join(dir, "lists/partial"), 0o755), os.MkdirAll(filepath.Join(dir, "cache/archives/partial"), 0o755),
		os.WriteFile(sources, []byte(lines), 0o644))
	if err != nil {
		return a, err
	}
	s.say("fetching the lists of %s", release)
	if _, err := command(ctx, "", "apt-get", append(append([]string{"-qq"}, a.options...), "update")...); err != nil {
		return a, fmt.Errorf("lists of release %s: %w", release, err)
	}
	return a, os.WriteFile(stamp, nil, 0o644)
}

// sourcesFor lists the main components of Debian that this machine has, and the release
// beside them, from the same mirror.
func sourcesFor(ctx context.Context, release string) (string, error) {
	out, err := command(ctx, "", "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT)", "Created-By: Packages", "Origin: Debian")
	if err != nil {
		return "", err
	}
	return addRelease(out, release)
}

func addRelease(targets, release string) (string, error) {
	base, _, _ := strings.Cut(release, "-")
	var lines strings.Builder
	added := false
	line := func(uri, suite string) {
		fmt.Fprintf(&lines, "deb [signed-by=%s] %s %s main\n", debianKey, uri, suite)
	}
	for target := range strings.Lines(targets) {
		f := strings.Fields(target)
		if len(f) < 4 || f[3] != "main" {
			continue
		}
		line(f[0], f[1])
		if f[1] == base && !added {
			line(f[0], release)
			added = true
		}
	}
	if !added {
		return "", fmt.Errorf("release %s: apt on this machine has no %s beside which it could be; run apt-get update on Debian %s", release, base, base)
	}
	return lines.String(), nil
}
