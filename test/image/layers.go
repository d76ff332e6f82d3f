package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// applets are the busybox programs that tests and the demo use in containers.
var applets = []string{
	"sh", "ash", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "dmesg",
	"echo", "env", "expr", "false", "find", "free", "grep", "head", "hostname", "id",
	"insmod", "ip", "kill", "ln", "ls", "lsmod", "mkdir", "mknod", "mount", "mv", "nc",
	"nproc", "nslookup", "ping", "printf", "ps", "pwd", "readlink", "reboot", "rm", "rmdir",
	"sed", "seq", "sleep", "sort", "stat", "stty", "sync", "tail", "tar", "test",
	"top", "touch", "tr", "true", "umount", "uname", "unshare", "nsenter", "wc", "wget",
	"chroot", "losetup", "httpd", "timeout", "od", "hexdump", "strings", "switch_root",
	"pivot_root", "hwclock", "sysctl", "tee", "xargs", "yes", "awk", "which", "poweroff",
}

// Busybox finds a static busybox: BERTH_TEST_BUSYBOX, the one on PATH, or the
// one in a payload that berth has extracted.
func Busybox() (string, error) {
	if path := os.Getenv("BERTH_TEST_BUSYBOX"); path != "" {
		return path, nil
	}
	if path, err := exec.LookPath("busybox"); err == nil {
		return path, nil
	}
	path, err := Payload("busybox")
	if err != nil {
		err = errors.New("no static busybox found: set BERTH_TEST_BUSYBOX, or install busybox-static")
	}
	return path, err
}

// Payload finds a program of a payload that berth has extracted on this machine.
func Payload(program string) (string, error) {
	state := os.Getenv("BERTH_STATE_DIR")
	if state == "" {
		state = "/var/lib/berth"
	}
	found, _ := filepath.Glob(filepath.Join(state, "payload/*/rootfs/usr/bin", program))
	if len(found) == 0 {
		return "", fmt.Errorf("no %s found in %s/payload: start an engine first", program, state)
	}
	return found[len(found)-1], nil
}

// entry is one file of a layer. Kind is a tar type flag; zero means a file.
type entry struct {
	name string
	kind byte
	link string
	mode int64
	uid  int
	data []byte
}

func layers(o Options) ([]v1.Layer, error) {
	path := o.Busybox
	if path == "" {
		found, err := Busybox()
		if err != nil {
			return nil, err
		}
		path = found
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the image's busybox: %w", err)
	}
	all := [][]entry{base(program), links(), userFiles(o.Label), doomed(), whiteout()}
	programs := map[string]string{}
	if o.Probe != "" {
		programs["probe"] = o.Probe
	}
	maps.Copy(programs, o.Programs)
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		data, err := os.ReadFile(programs[name])
		if err != nil {
			return nil, fmt.Errorf("read the image's /%s: %w", name, err)
		}
		all = append(all, []entry{{name: name, mode: 0o755, data: data}})
	}
	if o.Ballast > 0 {
		data, err := io.ReadAll(noise(o.Ballast))
		if err != nil {
			return nil, err
		}
		all = append(all, []entry{{name: "ballast", mode: 0o644, data: data}})
	}
	out := make([]v1.Layer, 0, len(all))
	for _, entries := range all {
		layer, err := layer(entries)
		if err != nil {
			return nil, err
		}
		out = append(out, layer)
	}
	return out, nil
}

func base(busybox []byte) []entry {
	list := []entry{{name: "bin/busybox", mode: 0o755, data: busybox}}
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "root", "home"} {
		list = append([]entry{{name: dir + "/", kind: tar.TypeDir, mode: 0o755}}, list...)
	}
	return append(list,
		entry{name: "tmp/", kind: tar.TypeDir, mode: 0o1777},
		entry{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")},
		entry{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nuser:x:1000:\n")},
	)
}

func links() []entry {
	list := make([]entry, 0, len(applets))
	for _, applet := range applets {
		list = append(list, entry{name: "bin/" + applet, kind: tar.TypeSymlink, link: "busybox"})
	}
	return list
}

func userFiles(label string) []entry {
	return []entry{
		{name: "home/user/", kind: tar.TypeDir, mode: 0o750, uid: 1000},
		{name: "home/user/note", mode: 0o640, uid: 1000, data: []byte("owned by 1000\n")},
		{name: "home/user/to-note", kind: tar.TypeSymlink, link: "note", uid: 1000},
		{name: "greeting", mode: 0o644, data: []byte(Greeting + "\n")},
		{name: "label", mode: 0o644, data: []byte(label + "\n")},
	}
}

func doomed() []entry {
	return []entry{
		{name: "doomed", mode: 0o644, data: []byte("a later layer removes this\n")},
		{name: "opaque/", kind: tar.TypeDir, mode: 0o755},
		{name: "opaque/old", mode: 0o644, data: []byte("hidden by an opaque directory\n")},
	}
}

func whiteout() []entry {
	return []entry{
		{name: ".wh.doomed"},
		{name: "opaque/", kind: tar.TypeDir, mode: 0o755},
		{name: "opaque/.wh..wh..opq"},
		{name: "opaque/new", mode: 0o644, data: []byte("the only file here\n")},
	}
}

func layer(entries []entry) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		header := &tar.Header{
			Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: e.mode,
			Uid: e.uid, Gid: e.uid, Size: int64(len(e.data)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", e.name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	data := buf.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
}

// noise reads n incompressible bytes that are the same every time.
func noise(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{'b', 'e', 'r', 't', 'h'}), n)
}
