package dind

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var block = regexp.MustCompile("(?s)(?:<!-- test: dind([a-z. ]*) -->\n)?```(sh|yaml|json)\n(.*?)```")

// blocks are those of the guide's page with a mark, which all but the first example have.
func blocks(t *testing.T, mark string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/guide/dind.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		if strings.TrimSpace(m[1]) == mark && strings.HasPrefix(m[0], "<!--") {
			out = append(out, strings.ReplaceAll(m[3], "registry.example/", ""))
		} else if m[2] == "yaml" && m[1] == "" {
			t.Errorf("no test runs this:\n%s", m[3])
		}
	}
	if len(out) == 0 {
		t.Fatalf("no block is marked %q any more", mark)
	}
	return out
}

// parse reads one of them; JSON's decoder takes a key in any case.
func parse(t *testing.T, text string, v any) {
	t.Helper()
	var tree any
	err := yaml.Unmarshal([]byte(text), &tree)
	if err == nil {
		var b []byte
		if b, err = json.Marshal(tree); err == nil {
			err = json.Unmarshal(b, v)
		}
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// The commands of the guide's page work as they stand there.
func TestGuide(t *testing.T) {
	h := current(t)
	bin := t.TempDir()
	docker := "#!/bin/sh\nexec '" + strings.Join(h.cli, "' '") + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(docker), 0o755); err != nil {
		t.Fatal(err)
	}
	env := append(h.env[:len(h.env):len(h.env)], "PATH="+bin+":"+os.Getenv("PATH"))
	for _, text := range blocks(t, "") {
		if r, err := run(env, "sh", "-exc", text); err != nil || r.code != 0 {
			t.Errorf("%v, %s", err, r)
		}
	}
}

// compose is docker compose with a file, whose project goes at the end of the test.
func (h *host) compose(t *testing.T, path string) func(args ...string) result {
	program, env := h.args("compose"), h.env
	if h.name != "berth" { // Debian's docker.io comes without
		program = []string{filepath.Join(unpack(t), "usr/libexec/docker/cli-plugins/docker-compose")}
		env = append(env[:len(env):len(env)], "DOCKER_HOST="+h.cli[2])
	}
	compose := func(args ...string) result {
		t.Helper()
		r, err := run(env, append(append(program[:len(program):len(program)], "--project-name", "guide", "-f", path), args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Cleanup(func() {
		if r := compose("down", "-v", "--timeout", "5"); r.code != 0 {
			t.Error(r)
		}
	})
	return compose
}

func TestGuideCompose(t *testing.T) {
	text := blocks(t, "compose")[0]
	each(t, func(t *testing.T, h *host) {
		compose := h.compose(t, file(t, "compose.yaml", text))
		r := compose("up", "--no-color", "--abort-on-container-exit", "--exit-code-from", "job")
		if r.code != 0 {
			t.Fatal(r)
		}
		want(t, "what the job says", r.stdout, "Storage Driver")
	})
}

func TestGuideDevContainer(t *testing.T) {
	var settings struct{ DockerComposeFile, Service, WorkspaceFolder string }
	if err := json.Unmarshal([]byte(blocks(t, "devcontainer.json")[0]), &settings); err != nil {
		t.Fatal(err)
	}
	h := current(t)
	workspace := filepath.Dir(file(t, "source", "of the workspace"))
	path := filepath.Join(workspace, ".devcontainer", settings.DockerComposeFile)
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(blocks(t, "devcontainer")[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	compose := h.compose(t, path)
	if r := compose("up", "-d"); r.code != 0 {
		t.Fatal(r)
	}
	if r := compose("cp", busyTar, settings.Service+":/busy.tar"); r.code != 0 {
		t.Fatal(r)
	}
	script := "docker load -qi /busy.tar && docker run --rm -v " + settings.WorkspaceFolder + ":/src " + busyName + " cat /src/source"
	r := compose("exec", "-T", settings.Service, "sh", "-ec", script)
	want(t, r.String(), r.stdout, "of the workspace")
}

// The part of GitLab's runner: a service by its alias, and a job with the same volumes.
func TestGuideGitLab(t *testing.T) {
	var ci map[string]struct {
		Image     string
		Services  []struct{ Name, Alias string }
		Variables map[string]string
		Script    []string
	}
	parse(t, blocks(t, "gitlab")[0], &ci)
	job := ci["test"]
	h := current(t)
	h.must(t, "network", "create", "gitlab")
	t.Cleanup(func() { h.try(t, "network", "rm", "gitlab") })
	builds := filepath.Dir(file(t, "Dockerfile", "FROM scratch\nCOPY . /\n"))
	options := []string{"--network", "gitlab", "-v", volume(t, h, "gitlab-certs") + ":/certs/client", "-v", builds + ":/builds/app", "-w", "/builds/app"}
	for name, value := range job.Variables {
		options = append(options, "-e", name+"="+value)
	}
	for _, s := range job.Services {
		h.container(t, "gitlab-"+s.Alias, append([]string{"--privileged", "--network-alias", s.Alias}, options...))
		if s.Name != imageName || job.Image != imageName {
			t.Errorf("images %s and %s", s.Name, job.Image)
		}
	}
	// It waits for the lowest port that the service's image has, not for its health.
	wait := "until timeout 1 nc docker 2375 </dev/null >/dev/null 2>&1; do sleep 0.1; done; "
	script := append([]string{"run", "--rm"}, append(options, job.Image, "sh", "-ec", wait+strings.Join(job.Script, "\n"))...)
	if r := h.try(t, script...); r.code != 0 {
		t.Error(r)
	}
}
