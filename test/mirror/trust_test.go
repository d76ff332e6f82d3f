package mirror

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	sdk "github.com/berth-dev/berth"
	"github.com/berth-dev/berth/berthtest"
	"github.com/berth-dev/berth/internal/trust"
	"github.com/berth-dev/berth/test/image"
)

// authorities are files and directories with a certificate: the registry's authority, and one
// that has nothing to do with it.
type authorities struct{ right, wrong string }

func newAuthorities(t *testing.T, f *front) (files, dirs authorities) {
	t.Helper()
	other, err := trust.NewAuthority("Another CA")
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "ca.pem")
	write(t, wrong, other.PEM())
	return authorities{f.CAFile, wrong}, authorities{filepath.Dir(f.CAFile), filepath.Dir(wrong)}
}

// ways are those to say whom to trust for a registry, by the name of a file or directory.
func ways(t *testing.T, f *front) map[string]func(ca string) []string {
	certs := func(ca string) string {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, f.Address), 0o755); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(ca); err == nil && info.IsDir() {
			ca = filepath.Join(ca, "ca.pem")
		}
		if err := os.Link(ca, filepath.Join(dir, f.Address, "ca.crt")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	return map[string]func(string) []string{
		"--ca":          func(ca string) []string { return []string{"--ca", ca} },
		"--registry-ca": func(ca string) []string { return []string{"--registry-ca", f.Address + "=" + ca} },
		"--certs-dir":   func(ca string) []string { return []string{"--certs-dir", certs(ca)} },
	}
}

// TestTrust goes through the ways to have something accept a registry, command by command,
// and sees that the wrong authority is told of: in one line, which names the registry, who
// issued its certificate, and what to do.
func TestTrust(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	files, dirs := newAuthorities(t, f)
	name := []string{"--add-host", registryHost + ":host-gateway"}
	pull := "docker pull -q " + ref + "; printf 'FROM " + ref + "\\n' | docker build -q -"

	run := func(flags []string) result { return berth(t, script(pull, append(name, flags...)...)...) }
	up := func(flags []string) result {
		must(t, append(append(append([]string{"up"}, name...), flags...), "kept")...)
		defer berth(t, "rm", "-f", "kept")
		r := berth(t, "docker", "--engine", "kept", "pull", "-q", ref)
		r.stderr += awaitLine(t, "kept", "berth: ", r.code != 0)
		return r
	}
	throughMirror := func(flags []string) result {
		d := serve(t, append([]string{"--upstream", f.Address}, flags...)...)
		defer d.end(t)
		return berth(t, script("docker pull -q "+ref)...)
	}
	doctor := func(flags []string) result {
		r := berth(t, append([]string{"doctor", "--registry", f.Address}, flags...)...)
		r.stderr += strings.ReplaceAll(r.stdout, "\n", " ") // several lines: it is a report
		return r
	}
	for command, does := range map[string]func([]string) result{"run": run, "up": up, "mirror serve": throughMirror, "doctor": doctor} {
		for way, flags := range ways(t, f) {
			if way == "--certs-dir" && (command == "mirror serve" || command == "doctor") {
				continue
			}
			for what, ca := range map[string]authorities{"FILE": files, "DIR": dirs} {
				if r := does(flags(ca.right)); r.code != 0 {
					t.Errorf("%s %s %s: %s%s", command, way, what, r.stdout, r.stderr)
				}
				if what == "DIR" && command != "run" {
					continue
				}
				distrusted(t, command+" "+way+" "+what+" of another authority", f, does(flags(ca.wrong)))
			}
		}
	}
	if r := run([]string{"--insecure-registry", f.Address}); r.code != 0 {
		t.Errorf("--insecure-registry: %s%s", r.stdout, r.stderr)
	}
	distrusted(t, "run without any", f, run(nil))

	for key, text := range map[string]func(string) string{
		"ca":          func(ca string) string { return "ca = [\"" + ca + "\"]\n" },
		"registry_ca": func(ca string) string { return "registry_ca = { \"" + f.Address + "\" = \"" + ca + "\" }\n" },
	} {
		for what, ca := range map[string]authorities{"FILE": files, "DIR": dirs} {
			conf := filepath.Join(t.TempDir(), "berth.toml")
			t.Setenv("BERTH_CONFIG", conf)
			for command, does := range map[string]func([]string) result{"run": run, "mirror serve": throughMirror} {
				write(t, conf, "[trust]\n"+text(ca.right))
				if r := does(nil); r.code != 0 {
					t.Errorf("%s, %s = %s in the configuration file: %s%s", command, key, what, r.stdout, r.stderr)
				}
				write(t, conf, "[trust]\n"+text(ca.wrong))
				distrusted(t, command+", "+key+" = "+what+" of another authority", f, does(nil))
			}
		}
	}
}

// awaitLine returns the first line of an engine's log that begins so, if one is to come.
func awaitLine(t *testing.T, engine, begin string, comes bool) string {
	t.Helper()
	if !comes {
		return ""
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, berthProgram, "logs", "-f", engine)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), begin) {
			return lines.Text()
		}
	}
	return ""
}

// distrusted fails the test unless a command failed and said in one line why, and what to do.
func distrusted(t *testing.T, what string, f *front, r result) {
	t.Helper()
	if r.code == 0 {
		t.Errorf("%s: it is trusted", what)
	}
	for line := range strings.Lines(r.stderr) {
		if strings.Contains(line, f.Address) && strings.Contains(line, "issued by \"CN=Corp Root CA") && strings.Contains(line, "--registry-ca "+f.Address+"=FILE") {
			return
		}
	}
	t.Errorf("%s: nothing says what is wrong and what to do:\n%s%s", what, r.stdout, r.stderr)
}

// TestTrustOfPrograms is the same for programs and for Go tests.
func TestTrustOfPrograms(t *testing.T) {
	guard(t)
	t.Setenv("BERTH_BINARY", berthProgram)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	files, _ := newAuthorities(t, f)
	for way, option := range map[string]func(pem []byte) sdk.Option{
		"WithCA":         sdk.WithCA,
		"WithRegistryCA": func(pem []byte) sdk.Option { return sdk.WithRegistryCA(f.Address, pem) },
	} {
		t.Run(way, func(t *testing.T) {
			e := berthtest.New(t, option([]byte(read(t, files.right))), sdk.WithHost(registryHost, "host-gateway"))
			if _, err := e.Pull(t.Context(), ref); err != nil {
				t.Error(err)
			}
			e = berthtest.New(t, option([]byte(read(t, files.wrong))), sdk.WithHost(registryHost, "host-gateway"))
			for range 2 { // the second time, too
				_, err := e.Pull(t.Context(), ref)
				var typed *sdk.Error
				if !errors.Is(err, sdk.ErrUntrusted) || !errors.As(err, &typed) {
					t.Fatalf("the wrong authority: %v", err)
				}
				for _, want := range []string{ref, f.Address, "issued by \"CN=Corp Root CA", "berth.WithRegistryCA"} {
					if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
						t.Errorf("%q: want %q in one line", err, want)
					}
				}
			}
		})
	}
}

// TestMirrorWithoutTrust: the reason is told where the image was asked for.
func TestMirrorWithoutTrust(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	serve(t, "--upstream", f.Address)
	r := berth(t, script("docker pull -q "+ref)...)
	if r.code == 0 || !strings.Contains(r.stderr, "Corp Root CA") || !strings.Contains(r.stderr, "berth mirror serve") {
		t.Errorf("status %d, %s", r.code, r.stderr)
	}
}

func TestShareCA(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	out := must(t, script("docker run --rm --device berth.dev/ca=bundle "+ref+` sh -c 'echo $SSL_CERT_FILE; grep -c "`+strings.Fields(read(t, f.CAFile))[3]+`" $SSL_CERT_FILE'`,
		"--ca", f.CAFile, "--share-ca", "--add-host", registryHost+":host-gateway")...)
	if out = strings.TrimSpace(out); !strings.HasSuffix(out, "/etc/berth/ca-certificates.crt\n1") {
		t.Errorf("%s", out)
	}
}
