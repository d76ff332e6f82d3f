package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/sandbox"
)

// asUser are the variables that sudo sets for the sandbox's ordinary user.
var asUser = []string{"SUDO_UID=1234", "SUDO_GID=1234", "SUDO_USER=tester"}

// workspace is a directory of the ordinary user's.
func workspace(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	for dir := base; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(base, "work")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, sandbox.UserID, sandbox.UserID); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inWorkspace runs a script there as the user, with the image loaded.
func inWorkspace(t *testing.T, dir, text string, flags ...string) result {
	t.Helper()
	env := append([]string{"DOCKER_CONFIG=" + filepath.Join(dir, ".docker")}, asUser...) // not in the user's home
	cmd := command(t, env, append(append([]string{"run"}, flags...), "--", "sh", "-ec",
		"docker load -q -i "+imageTar+" >/dev/null\nbox() { docker run --rm -v \"$PWD:$PWD\" -w \"$PWD\" \"$@\"; }\nimage="+imageName+"\n"+text)...)
	cmd.Dir = dir
	return finish(t, cmd)
}

// owner of a path as "uid:gid mode".
func owner(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Errorf("%s: %v", path, err)
		return ""
	}
	return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
}

// The user's files are root's inside; what root makes inside is the user's.
func TestOwnersInTheWorkspace(t *testing.T) {
	guard(t)
	dir := workspace(t)
	r := inWorkspace(t, dir, `
		echo mine >mine
		box $image stat -c '%u:%g %n' mine .
		box $image sh -c 'echo x >made; mkdir made.d; ln -s made made.l; cat mine'
		box -u 1000:1000 $image sh -c 'cat mine; touch made.d/no' || echo "other ids cannot write"
		box $image sh -c 'touch chowned; chown 1000:1000 chowned; stat -c "%u:%g %n" chowned; cp /bin/busybox setuid; chmod 4755 setuid'`)
	if r.code != 0 {
		t.Fatal(r)
	}
	for _, text := range []string{"0:0 mine\n", "0:0 .\n", "other ids cannot write\n", "1000:1000 chowned\n"} {
		want(t, "seen inside", r.stdout, text)
	}
	for name, want := range map[string]string{
		"made": "1234:1234 644", "made.d": "1234:1234 755", "made.l": "1234:1234 777",
		"chowned": "1234:1234 644", // given back at the end
		"setuid":  "1234:1234 4755",
	} {
		if got := owner(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s is %s outside, want %s", name, got, want)
		}
	}
}

// While the engine lives, other ids are the user's subordinate ids.
func TestOtherIdsAreSubordinate(t *testing.T) {
	guard(t)
	dir := workspace(t)
	r := inWorkspace(t, dir, `
		box $image sh -c 'touch a; chown 1000:1000 a'
		stat -c '%u %n' a`)
	var uid int
	if _, err := fmt.Sscanf(r.stdout, "%d a", &uid); err != nil || uid < sandbox.SubID || uid >= sandbox.SubID+sandbox.SubCount {
		t.Errorf("during the run: %s, want an id of %d to %d", r, sandbox.SubID, sandbox.SubID+sandbox.SubCount-1)
	}
	if got := owner(t, filepath.Join(dir, "a")); got != "1234:1234 644" {
		t.Errorf("afterwards it is %s", got)
	}
}

// With keep-id the user's own id is the same on both sides.
func TestKeepID(t *testing.T) {
	guard(t)
	dir := workspace(t)
	r := inWorkspace(t, dir, `
		touch mine
		box $image stat -c '%u:%g %n' mine
		box -u 1234:1234 $image sh -c 'touch made; stat -c "%u:%g %n" made'`, "--share-as", "keep-id")
	if r.code != 0 {
		t.Fatal(r)
	}
	want(t, "seen inside", r.stdout, "1234:1234 mine\n1234:1234 made\n")
	if got := owner(t, filepath.Join(dir, "made")); got != "1234:1234 644" {
		t.Errorf("made is %s outside", got)
	}
}

// A read-only share cannot be written, not even after a remount inside.
func TestReadOnlyShare(t *testing.T) {
	guard(t)
	dir, more := workspace(t), workspace(t)
	// The user's own, so that nothing but the mount keeps the engine from writing.
	if err := errors.Join(os.WriteFile(filepath.Join(more, "file"), []byte("kept"), 0o600), os.Chown(filepath.Join(more, "file"), sandbox.UserID, sandbox.UserID)); err != nil {
		t.Fatal(err)
	}
	r := inWorkspace(t, dir, fmt.Sprintf(`
		docker run --rm -v %[1]s:/more $image sh -c 'cat /more/file; echo x >/more/file' && exit 9
		docker run --rm --privileged -v %[1]s:/more $image sh -c 'mount -o remount,rw,bind /more; echo x >/more/file' && exit 8
		docker run --rm --privileged --pid host $image nsenter -t 1 -m sh -c 'mount -o remount,rw,bind %[1]s; echo x >%[1]s/file' && exit 7
		exit 0`, more), "--share", more+":ro")
	if r.code != 0 {
		t.Errorf("a read-only share could be written: %s", r)
	}
	want(t, "reading", r.stdout, "kept")
	if text, _ := os.ReadFile(filepath.Join(more, "file")); string(text) != "kept" {
		t.Errorf("now it holds %q", text)
	}
}

// A path that is not shared is a loud error that names the remedy.
// A share in a share has its own bounds, whichever of the two is the wider.
func TestShareInAShare(t *testing.T) {
	for name, flags := range map[string][]string{
		"userns": nil, "rootful": {"--isolation", "rootful"}, "keep-id": {"--share-as", "keep-id"},
	} {
		t.Run(name, func(t *testing.T) {
			guard(t)
			dir := workspace(t)
			for _, sub := range []string{"ro", "rw", "rw-not"} { // the last is between them by its bytes, and not in one
				if err := os.Mkdir(filepath.Join(dir, sub), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.Chown(filepath.Join(dir, sub), sandbox.UserID, sandbox.UserID); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, "file")
			if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
				t.Fatal(err)
			}
			remount := "box --privileged $image sh -c 'mount -o remount,rw,bind ro; echo x >ro/made' && exit 4"
			if name == "rootful" { // without a user namespace, a privileged container may do as it likes
				remount = ""
			}
			r := inWorkspace(t, dir, `
				box $image sh -c 'echo x >made; echo x >rw/made; cat file'
				box $image sh -c 'echo x >ro/made' && exit 3
				`+remount+`
				box $image sh -c 'echo x >file' && exit 5
				true`, append(flags, "--share", dir+"/ro:ro", "--share", file+":ro", "--share", dir+"/rw", "--share", dir+"/rw-not")...)
			if r.code != 0 || !strings.Contains(r.stdout, "text") {
				t.Fatal(r)
			}
			for path, there := range map[string]bool{"made": true, "rw/made": true, "ro/made": false} {
				if _, err := os.Lstat(filepath.Join(dir, path)); (err == nil) != there {
					t.Errorf("%s: %v", path, err)
				}
			}
			r = inWorkspace(t, filepath.Join(dir, "rw"), `
				box $image sh -c 'echo x >inner'
				docker run --rm -v "$PWD/..:/outer" $image sh -c 'cat /outer/file; echo x >/outer/no' && exit 6
				true`, append(flags, "--share", dir+":ro")...)
			if r.code != 0 || !strings.Contains(r.stdout, "text") {
				t.Error(r)
			}
			if _, err := os.Lstat(filepath.Join(dir, "rw/inner")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBindOfAPathNotShared(t *testing.T) {
	guard(t)
	dir, other := workspace(t), workspace(t)
	r := inWorkspace(t, dir, fmt.Sprintf("docker run --rm --mount type=bind,src=%s,dst=/x $image ls /x", other))
	if r.code == 0 {
		t.Errorf("a path that is not shared was mounted: %s", r)
	}
	r = inWorkspace(t, dir, fmt.Sprintf("docker run --rm -v %s:/x $image ls /x", other))
	if r.code == 0 {
		t.Errorf("docker run -v of a path not shared silently mounted an empty directory: %s", r)
	}
	want(t, "the error", r.stderr, "--share")
}

// Shares that cannot be are refused before anything starts.
func TestSharesThatCannotBe(t *testing.T) {
	guard(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ title, share, says string }{
		{"not there", "/no/such/dir", "/no/such/dir"},
		{"everything", "/", "/"},
		{"everything, in disguise", "/tmp/..", "/"},
		{"relative", "x/../../..", ""},
		{"kernel files", "/proc", "/proc"},
		{"more kernel files", "/sys/fs", "/sys"},
		{"berth's own state", "/var/lib/berth", "/var/lib/berth"},
		{"above berth's own state", "/var/lib", "/var/lib"},
		{"berth's sockets", "/run/berth", "/run/berth"},
	} {
		t.Run(test.title, func(t *testing.T) {
			r := berth(t, "run", "--share", test.share, "--", "true")
			if r.code != 2 && r.code != 125 {
				t.Errorf("want a refusal, got %s", r)
			}
			oneLine(t, r, test.says)
		})
	}
}

// A share that is a symbolic link is the place it leads to; one that is swapped
// inside the engine leads nowhere outside.
func TestLinksInAShare(t *testing.T) {
	guard(t)
	dir := workspace(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("host secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := inWorkspace(t, dir, fmt.Sprintf(`
		box $image ln -s %[1]s link
		box $image ln -s / root
		box $image cat link && exit 9
		box $image cat root%[1]s && exit 8
		docker run --rm -v "$PWD/link:/x" $image cat /x && exit 7
		docker run --rm -v "$PWD/root:/x" $image ls /x/var/lib/berth && exit 6
		exit 0`, secret))
	if r.code != 0 || strings.Contains(r.stdout, "host secret") {
		t.Errorf("a link in a share led out of the engine: %s", r)
	}
}

// What is left under foreign ids goes back to the user without following links
// or touching what is not the engine's.
func TestGivingBackFollowsNoLinks(t *testing.T) {
	guard(t)
	dir := workspace(t)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(dir, "roots")
	if err := os.WriteFile(roots, nil, 0o600); err != nil { // belongs to the host's root
		t.Fatal(err)
	}
	podmans := filepath.Join(dir, "podmans")
	if err := os.WriteFile(podmans, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(podmans, sandbox.SubID+7, sandbox.SubID+7); err != nil { // rootless Podman has the same ids
		t.Fatal(err)
	}
	r := inWorkspace(t, dir, fmt.Sprintf(`
		box $image sh -c 'mkdir d; ln -s %[1]s d/link; chown -h 1000:1000 d/link; chown 1000:1000 d'`, outside))
	if r.code != 0 {
		t.Fatal(r)
	}
	for path, want := range map[string]string{
		outside: "0:0 600", roots: "0:0 600", podmans: fmt.Sprintf("%[1]d:%[1]d 600", sandbox.SubID+7),
		filepath.Join(dir, "d"): "1234:1234 755", filepath.Join(dir, "d/link"): "1234:1234 777",
	} {
		if got := owner(t, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}
