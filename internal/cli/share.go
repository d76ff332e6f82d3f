package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/linux"
)

// shareRules says why an absolute path without symbolic links cannot be shared with an
// engine, or returns "".
type shareRules func(path string) (problem string)

// parse reads a --share flag: PATH, PATH:ro or PATH:rw.
func (r shareRules) parse(flag string) (engine.Share, error) {
	path, readOnly := flag, false
	if p, ok := strings.CutSuffix(flag, ":ro"); ok {
		path, readOnly = p, true
	} else if p, ok := strings.CutSuffix(flag, ":rw"); ok {
		path = p
	}
	if path == "" {
		return engine.Share{}, errors.New("give PATH or PATH:ro")
	}
	share, err := r.resolve(path)
	share.ReadOnly = readOnly
	return share, err
}

// resolve checks a path and follows its symbolic links, once: the engine later gets the
// very file that was found here, or none.
func (r shareRules) resolve(path string) (engine.Share, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return engine.Share{}, fmt.Errorf("no current directory to find it from: %w", cause(err))
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, os.ErrNotExist) {
		return engine.Share{}, errors.New("no such file or directory; make it first")
	}
	if err != nil {
		return engine.Share{}, cause(err)
	}
	if problem := r(real); problem != "" {
		return engine.Share{}, errors.New(problem)
	}
	f, err := linux.OpenPath(real)
	if err != nil {
		return engine.Share{}, cause(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		return engine.Share{}, errors.New("neither a directory nor a regular file")
	}
	dev, ino, err := linux.Identity(f)
	return engine.Share{Path: real, Device: dev, Inode: ino}, err
}

// workDir is the current directory with symbolic links resolved, as the engine sees it.
func workDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", errors.New("it does not exist any more; change to another one")
	}
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return "", errors.New("it does not exist any more; change to another one")
	}
	return dir, nil
}
