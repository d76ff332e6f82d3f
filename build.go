package berth

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// BuildOption changes how [Engine.Build] builds.
type BuildOption func(*build)

type build struct {
	tags, args, secrets []string
	env                 []string
	dockerfile          string
	target              string
	noCache             bool
	context             io.Reader
	transfer            []TransferOption
}

// WithTag gives the image that is built a name; several do so several times.
func WithTag(ref string) BuildOption { return func(b *build) { b.tags = append(b.tags, ref) } }

// WithDockerfile says which file has the instructions, relative to the context. The
// default is Dockerfile.
func WithDockerfile(path string) BuildOption { return func(b *build) { b.dockerfile = path } }

// WithTarget builds one stage of several.
func WithTarget(stage string) BuildOption { return func(b *build) { b.target = stage } }

// WithBuildArg sets an ARG.
func WithBuildArg(name, value string) BuildOption {
	return func(b *build) { b.args = append(b.args, name+"="+value) }
}

// WithSecret gives RUN --mount=type=secret,id=… a secret. It is in no layer, on no command
// line and in no file of this machine.
func WithSecret(id string, value []byte) BuildOption {
	return func(b *build) {
		variable := fmt.Sprintf("BERTH_BUILD_SECRET_%d", len(b.secrets))
		b.secrets = append(b.secrets, "id="+id+",env="+variable)
		b.env = append(b.env, variable+"="+string(value))
	}
}

// WithNoCache builds every step anew.
func WithNoCache() BuildOption { return func(b *build) { b.noCache = true } }

// WithContextTar takes the context from a tar archive, compressed or not; the context that
// [Engine.Build] is given must be "-" then.
func WithContextTar(r io.Reader) BuildOption { return func(b *build) { b.context = r } }

// WithTransfer is for [WithPlatform], [WithProgress] and [WithProgressTo] of a build.
func WithTransfer(opts ...TransferOption) BuildOption {
	return func(b *build) { b.transfer = append(b.transfer, opts...) }
}

// BuildError says which step of a build failed, with what it printed.
type BuildError struct {
	Step   string // the instruction
	Reason string
	Output string // the last lines that the step printed
}

// Error is one line.
func (e *BuildError) Error() string {
	s := "build"
	if e.Step != "" {
		s += " " + e.Step
	}
	s += ": " + oneLine(e.Reason)
	if e.Output != "" {
		s += ": " + oneLine(e.Output)
	}
	return s
}

// Build builds an image with BuildKit from a directory of this machine, the URL of a git
// repository, or a tar archive ([WithContextTar]). Credentials for base images are those
// of the Docker configuration. Cancelling ctx ends the build.
//
// Errors: [*BuildError] when a step fails; those of [Engine.Pull] for base images;
// [ErrNotFound] for a context or Dockerfile that does not exist; [ErrInvalid] for options
// that do not go together, or with a build.
func (e *Engine) Build(ctx context.Context, source string, opts ...BuildOption) (Image, error) {
	var b build
	for _, opt := range opts {
		opt(&b)
	}
	t := newTransfer(b.transfer)
	if (source == "-") != (b.context != nil) {
		return Image{}, &Error{Op: "build", Subject: source, Kind: ErrInvalid, Reason: "invalid argument: the context - goes with berth.WithContextTar, and nothing else does"}
	}
	if t.keychain != authn.DefaultKeychain {
		return Image{}, &Error{Op: "build", Subject: source, Kind: ErrInvalid, Reason: "invalid argument: a build logs in with the Docker configuration alone (docker login), not with berth.WithCredentials or WithKeychain"}
	}
	docker, err := e.dockerCLI()
	if err != nil {
		return Image{}, err
	}
	tmp, err := os.MkdirTemp("", "berth-build-")
	if err != nil {
		return Image{}, wrap(ctx, "build", source, err)
	}
	defer os.RemoveAll(tmp)
	if dir, err := os.Stat(source); err == nil && dir.IsDir() && b.dockerfile != "" && !filepath.IsAbs(b.dockerfile) {
		b.dockerfile = filepath.Join(source, b.dockerfile)
	}
	iid := filepath.Join(tmp, "iid")
	cmd := exec.CommandContext(ctx, docker, append(b.flags(&t, iid), source)...)
	cmd.Env = slices.Concat(os.Environ(), e.Env(), b.env, []string{"BUILDX_BUILDER=default", "BUILDX_CONFIG=" + tmp})
	if b.context != nil {
		body, release := letGo(ctx, b.context)
		defer release()
		cmd.Stdin = body
	}
	// Docker and its plugin are told both: at its start the one does not tell the other yet.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) } // and they tell BuildKit
	cmd.WaitDelay = 5 * time.Second
	if err := t.follow(cmd); err != nil {
		if ctx.Err() != nil && cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what did not listen
		}
		return Image{}, buildError(ctx, source, err)
	}
	id, err := os.ReadFile(iid)
	if err != nil {
		return Image{}, &Error{Op: "build", Subject: source, Reason: "no image came of it", Err: err}
	}
	return e.image(ctx, "build", string(id), "")
}

func (e *Engine) dockerCLI() (string, error) {
	if e.docker != "" {
		return e.docker, nil
	}
	path, err := exec.LookPath("docker") // of `berth run`, first on PATH
	if err != nil {
		return "", &Error{Op: "build", Kind: ErrNoBinary, Reason: "no docker program on PATH; use `berth run`, or berth.Attach", Err: err}
	}
	return path, nil
}

func (b *build) flags(t *transfer, iid string) []string {
	args := []string{"buildx", "build", "--load", "--progress=rawjson", "--iidfile=" + iid}
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				args = append(args, flag+"="+v)
			}
		}
	}
	add("--tag", b.tags...)
	add("--build-arg", b.args...)
	add("--secret", b.secrets...)
	add("--file", b.dockerfile)
	add("--target", b.target)
	add("--platform", t.platform)
	if b.noCache {
		args = append(args, "--no-cache")
	}
	return args
}

// buildError keeps a failed step as it is; what failed around the steps is told as a pull's.
func buildError(ctx context.Context, source string, err error) error {
	failed, ok := err.(*BuildError)
	if !ok || ctx.Err() != nil {
		return wrap(ctx, "build", source, err)
	}
	if strings.Contains(failed.Step, "load metadata for") || strings.HasPrefix(failed.Step, "[internal]") {
		return &Error{Op: "build", Subject: source, Kind: kindOf(failed), Reason: failed.Reason, Err: failed}
	}
	return failed
}
