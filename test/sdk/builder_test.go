package sdk

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/builder"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// TestContainerBuilder builds with BuildKit in a container, which knows neither the
// engine's images nor its registries: it pulls and pushes by itself.
func TestContainerBuilder(t *testing.T) {
	r, opts := serve(t, registry.Options{})
	base := push(t, r, "base:1", image.Options{}, nil)
	e := start(t, append(opts, berth.WithMirror("off"))...)
	s := shop{t, e, []string{bundledDocker(t)}}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	bk, err := builder.Image()
	if err != nil {
		t.Fatal(err)
	}
	loadImage(t, e, builder.Name, bk)
	dir := t.TempDir()
	write(t, dir, "buildkitd.toml", "[registry.\""+r.Address()+"\"]\n  ca = [\""+r.CAFile+"\"]\n")
	s.docker("buildx", "create", "--name", "box", "--driver", "docker-container", "--buildkitd-config", filepath.Join(dir, "buildkitd.toml"), "--bootstrap")
	defer s.docker("buildx", "rm", "-f", "box")
	write(t, dir, "secret", "hush\n")
	write(t, dir, "Dockerfile", "FROM "+base+" AS first\n"+
		"RUN --mount=type=secret,id=s grep -q hush /run/secrets/s && echo made >/made\n"+
		"ARG N\nRUN --mount=type=cache,target=/c echo $(cat /c/n 2>/dev/null)x >/c/n; cp /c/n /n # $N\n"+
		"FROM "+base+"\nCOPY --from=first /made /n /\nCMD [\"cat\", \"/made\", \"/n\"]\n")
	build := []string{"buildx", "build", "--builder", "box", "--secret", "id=s,src=" + filepath.Join(dir, "secret")}
	for _, want := range []string{"made\nx\n", "made\nxx\n"} { // the cache mount lasts from build to build
		s.docker(append(build, "--build-arg", "N="+want[5:], "--load", "-t", "sdk.test/boxed:1", dir)...)
		if out := s.docker("run", "--rm", "sdk.test/boxed:1"); out != want {
			t.Errorf("the image that was loaded prints %q, want %q", out, want)
		}
	}
	pushed := r.Address() + "/built:1"
	s.docker(append(build, "--push", "-t", pushed, dir)...)
	img, err := e.Pull(t.Context(), pushed)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := e.Output(t.Context(), img.ID, nil); err != nil || !strings.HasPrefix(string(out.Stdout), "made\n") {
		t.Errorf("the image that was pushed prints %q, %v", out.Stdout, err)
	}
}
