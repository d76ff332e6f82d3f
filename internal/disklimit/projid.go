package disklimit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// projectFiles are where administrators note projects, also such as have no files yet:
// NAME:ID (projid(5)) and ID:DIRECTORY (projects(5)).
var projectFiles = []projectFile{{"/etc/projid", 1}, {"/etc/projects", 0}}

type projectFile struct {
	path  string
	field int // with the id
}

// named returns the projects in the files, those of them that exist.
func named(files []projectFile) (map[uint32]bool, error) {
	all := map[uint32]bool{}
	for _, file := range files {
		f, err := os.Open(file.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = addProjects(all, f, file.field)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file.path, err)
		}
	}
	return all, nil
}

// addProjects passes over lines that are no project, as the tools for these files do.
func addProjects(all map[uint32]bool, r io.Reader, field int) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if field >= len(fields) {
			continue
		}
		if id, err := strconv.ParseUint(strings.TrimSpace(fields[field]), 10, 32); err == nil {
			all[uint32(id)] = true
		}
	}
	return lines.Err()
}
