package berthtest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/berth-dev/berth"
)

// ImageOption says what an image holds.
type ImageOption func(testing.TB, *contents)

type contents struct {
	files   map[string]file // by absolute path
	busybox bool
	changes []string
}

type file struct {
	data []byte
	mode int64
	link string
}

// WithFile adds a file.
func WithFile(name string, data []byte) ImageOption {
	return func(_ testing.TB, c *contents) { c.files[name] = file{data: data, mode: 0o644} }
}

// WithProgram adds an executable from this machine; it has to be static, for the image
// holds no libraries.
func WithProgram(name, source string) ImageOption {
	return func(t testing.TB, c *contents) {
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatalf("berthtest: program for an image: %v", err)
		}
		c.files[name] = file{data: data, mode: 0o755}
	}
}

// WithoutShell leaves out what the image has by default: a busybox with a shell and the
// usual small programs in /bin.
func WithoutShell() ImageOption { return func(_ testing.TB, c *contents) { c.busybox = false } }

// WithCommand sets the image's command.
func WithCommand(argv ...string) ImageOption { return list("CMD", argv) }

// WithEntrypoint sets the image's entry point.
func WithEntrypoint(argv ...string) ImageOption { return list("ENTRYPOINT", argv) }

// WithInstruction adds a Dockerfile instruction that changes the configuration, such as
// "EXPOSE 80" or "HEALTHCHECK --interval=1s CMD test -e /ready".
func WithInstruction(line string) ImageOption {
	return func(_ testing.TB, c *contents) { c.changes = append(c.changes, line) }
}

func list(instruction string, argv []string) ImageOption {
	return func(t testing.TB, c *contents) {
		b, err := json.Marshal(argv)
		if err != nil {
			t.Fatalf("berthtest: %s %q: %v", instruction, argv, err)
		}
		c.changes = append(c.changes, instruction+" "+string(b))
	}
}

// applets are the programs of busybox that an image gets.
var applets = []string{
	"sh", "awk", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "echo", "env", "expr", "false", "find",
	"grep", "head", "hostname", "httpd", "id", "ip", "kill", "ln", "ls", "mkdir", "mount", "mv", "nc", "nslookup",
	"od", "ping", "printf", "ps", "pwd", "rm", "rmdir", "sed", "seq", "sha256sum", "sleep", "sort", "stat", "tail",
	"tar", "tee", "test", "timeout", "touch", "tr", "true", "uname", "wc", "wget", "which", "xargs", "yes",
}

// Image makes a small real image in an engine, without a registry: files, a command, and
// a busybox unless [WithoutShell] leaves it out.
func Image(t testing.TB, e *berth.Engine, ref string, opts ...ImageOption) berth.Image {
	t.Helper()
	c := contents{files: map[string]file{}, busybox: true}
	for _, opt := range opts {
		opt(t, &c)
	}
	if c.busybox {
		c.addBusybox(t, e)
	}
	archive, err := c.archive()
	if err != nil {
		t.Fatalf("berthtest: image %s: %v", ref, err)
	}
	c.changes = append([]string{"ENV PATH=/bin"}, c.changes...)
	img, err := e.Import(t.Context(), archive, ref, c.changes...)
	if err != nil {
		t.Fatalf("berthtest: %v", err)
	}
	return img
}

func (c *contents) addBusybox(t testing.TB, e *berth.Engine) {
	t.Helper()
	data, err := os.ReadFile(e.Busybox())
	if err != nil {
		t.Fatalf("berthtest: busybox of the engine's payload: %v", err)
	}
	c.files["/bin/busybox"] = file{data: data, mode: 0o755}
	for _, name := range applets {
		if _, taken := c.files["/bin/"+name]; !taken {
			c.files["/bin/"+name] = file{link: "busybox", mode: 0o777}
		}
	}
}

// archive is the root file system as a tar archive, the same for the same contents.
func (c *contents) archive() (*bytes.Buffer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	names := make([]string, 0, len(c.files))
	for name := range c.files {
		names = append(names, name)
	}
	slices.Sort(names)
	made := map[string]bool{"/": true}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/etc", "/tmp"} {
		if err := mkdirs(w, made, dir); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if err := mkdirs(w, made, path.Dir(path.Clean("/"+name))); err != nil {
			return nil, err
		}
		f := c.files[name]
		h := &tar.Header{Name: path.Clean("/" + name)[1:], Mode: f.mode, Size: int64(len(f.data)), Typeflag: tar.TypeReg}
		if f.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return &buf, w.Close()
}

func mkdirs(w *tar.Writer, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	if err := mkdirs(w, made, path.Dir(dir)); err != nil {
		return err
	}
	made[dir] = true
	mode := int64(0o755)
	if dir == "/tmp" {
		mode = 0o1777
	}
	return w.WriteHeader(&tar.Header{Name: dir[1:] + "/", Mode: mode, Typeflag: tar.TypeDir})
}
