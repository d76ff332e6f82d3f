package mirror

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// lowWater is how far eviction goes once it has begun, in percent of the bound.
	lowWater = 90
	// partialLife is how long a partial blob waits to be resumed.
	partialLife = 24 * time.Hour
)

// stored is a complete blob on disk.
type stored struct {
	Digest digest.Digest
	Size   int64
	Used   time.Time
}

func (s *Store) blobs() ([]stored, error) {
	var out []stored
	for _, algorithm := range []string{"sha256", "sha512"} {
		entries, err := fs.ReadDir(s.root.FS(), "blobs/"+algorithm)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				continue // evicted meanwhile
			}
			b := stored{Digest: digest.Digest(algorithm + ":" + e.Name()), Size: info.Size(), Used: info.ModTime()}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				b.Used = time.Unix(st.Atim.Sec, st.Atim.Nsec)
			}
			out = append(out, b)
		}
	}
	return out, nil
}

// makeRoom evicts what was not used for longest until the content, and so many bytes more,
// are within the bound. What is being served stays.
func (s *Store) makeRoom(more int64) (freed int64) {
	s.mu.Lock()
	if s.max == 0 || s.evicting || s.size+more <= s.max {
		s.mu.Unlock()
		return 0
	}
	s.evicting = true
	want := s.size + more - s.max*lowWater/100
	s.mu.Unlock()
	freed = s.evict(want)
	s.mu.Lock()
	s.evicting = false
	s.mu.Unlock()
	return freed
}

// exceeds reports whether content of a size has no place here, whatever else is removed.
func (s *Store) exceeds(size int64) bool { return s.max > 0 && size > s.max }

// evict removes at least so many bytes, if there are as many that nobody uses.
func (s *Store) evict(want int64) (freed int64) {
	blobs, err := s.blobs()
	if err != nil {
		s.log.Warn("cannot list what could be evicted", "error", err)
		return 0
	}
	slices.SortFunc(blobs, func(a, b stored) int { return a.Used.Compare(b.Used) })
	for _, b := range blobs {
		if freed >= want {
			break
		}
		s.mu.Lock()
		if s.using[b.Digest] == 0 && s.root.Remove(blobPath(b.Digest)) == nil {
			s.size -= b.Size
			s.evicted += b.Size
			freed += b.Size
			delete(s.verified, b.Digest)
			delete(s.touched, b.Digest)
		}
		s.mu.Unlock()
	}
	return freed
}

// Collected is what [Store.Collect] did.
type Collected struct {
	Bytes    int64 `json:"bytes"`    // freed by evicting blobs
	Partials int   `json:"partials"` // downloads given up
	Links    int   `json:"links"`    // records of content that is gone
}

// Collect brings the content down to at most size bytes (negative: the bound of the store),
// and removes abandoned downloads and the records of what is gone.
func (s *Store) Collect(size int64) (Collected, error) {
	var c Collected
	if size < 0 {
		c.Bytes = s.makeRoom(0)
	} else if over := s.Size() - size; over > 0 {
		c.Bytes = s.evict(over)
	}
	entries, err := fs.ReadDir(s.root.FS(), "partial")
	if err != nil {
		return c, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > partialLife && s.root.Remove("partial/"+e.Name()) == nil {
			c.Partials++
		}
	}
	err = fs.WalkDir(s.root.FS(), "repos", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Base(path.Dir(name)) != "_links" {
			return err
		}
		if d, ok := digestOf(e.Name()); (!ok || !s.has(d)) && s.root.Remove(name) == nil {
			c.Links++
		}
		return nil
	})
	return c, err
}

// Entry is a tag or manifest that the mirror has, as `berth mirror ls` shows it.
type Entry struct {
	Registry string        `json:"registry"`
	Repo     string        `json:"repository"`
	Tag      string        `json:"tag"`
	Digest   digest.Digest `json:"digest"`
	Checked  time.Time     `json:"checked"`
	Private  bool          `json:"private,omitempty"` // served only to who has shown the right to it
	Complete bool          `json:"complete"`          // its manifest is here
}

// List returns the tags that the mirror knows, by name.
func (s *Store) List() ([]Entry, error) {
	var out []Entry
	err := fs.WalkDir(s.root.FS(), "repos", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Base(path.Dir(name)) != "_tags" {
			return err
		}
		registry, rest, _ := strings.Cut(strings.TrimPrefix(name, "repos/"), "/")
		repo, tag, _ := strings.Cut(rest, "/_tags/")
		var t Tag
		if s.record(name, &t) {
			out = append(out, Entry{registry, repo, tag, t.Digest, t.Checked, !s.isOpen(registry, repo), s.has(t.Digest)})
		}
		return nil
	})
	return out, err
}

// tags lists the tags of one repository.
func (s *Store) tags(t target) []string {
	entries, err := fs.ReadDir(s.root.FS(), repoPath(t.registry, t.repo)+"/_tags")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// Summary is how much the store holds.
type Summary struct {
	Bytes    int64 `json:"bytes"`
	Blobs    int   `json:"blobs"`
	Partials int   `json:"partials"`
	MaxBytes int64 `json:"max_bytes,omitempty"`
}

// Summary counts what is there.
func (s *Store) Summary() (Summary, error) {
	blobs, err := s.blobs()
	if err != nil {
		return Summary{}, err
	}
	partials, err := fs.ReadDir(s.root.FS(), "partial")
	return Summary{Bytes: s.Size(), Blobs: len(blobs), Partials: len(partials), MaxBytes: s.max}, err
}
