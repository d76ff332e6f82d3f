// Package image makes small real container images without a registry or a
// daemon: several layers, symlinks, a whiteout and files of another user, all
// from one static busybox.
//
// The same options give the same bytes, so that a digest can be compared across
// runs. The package knows nothing of berth, of engines, or of where an image
// will be used.
package image

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Greeting is what the image's default command prints.
const Greeting = "hello from five layers"

// Options say what an image holds. The zero value is usable when a busybox can
// be found (see [Busybox]).
type Options struct {
	Busybox string   // path of a static busybox; empty: found by Busybox
	Cmd     []string // default command; empty: prints Greeting
	Env     []string // added to PATH=/bin
	User    string   // user of the default command; empty: root
	Label   string   // value of the label "berth.test"; tells images apart
	Probe   string   // path of a static program that becomes /probe; empty: none
	// Programs are static programs of this machine by their path in the image, without the
	// first slash. Each is in a layer of its own.
	Programs   map[string]string
	Entrypoint []string
	Ballast    int64 // bytes of incompressible data in a layer of its own
}

// Build makes the image: a layer each for busybox, for the applets' symlinks,
// for files of uid 1000, for a file that is removed again, and for the whiteout
// that removes it.
//
// Errors: no busybox, or one that cannot be read.
func Build(o Options) (v1.Image, error) {
	layers, err := layers(o)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, fmt.Errorf("put the layers together: %w", err)
	}
	return mutate.ConfigFile(img, config(img, o))
}

func config(img v1.Image, o Options) *v1.ConfigFile {
	file, err := img.ConfigFile()
	if err != nil { // cannot happen: the image is made in memory
		file = &v1.ConfigFile{}
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	file.Config.Env = append([]string{"PATH=/bin"}, o.Env...)
	file.Config.Cmd = o.Cmd
	if len(o.Cmd)+len(o.Entrypoint) == 0 {
		file.Config.Cmd = []string{"cat", "/greeting"}
	}
	file.Config.Entrypoint = o.Entrypoint
	file.Config.User = o.User
	file.Config.Labels = map[string]string{"berth.test": o.Label}
	return file
}

// SaveTar writes img to path as an archive that `docker load` takes, under the
// name ref. An unfinished file is removed.
func SaveTar(path, ref string, img v1.Image) (err error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("image name %q: %w", ref, err)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(path)
		}
	}()
	return tarball.Write(tag, img, file)
}

// Push sends img to a registry under the name ref, over transport (which has to
// trust the registry's certificate and to find its address).
func Push(ref string, img v1.Image, transport http.RoundTripper, auth authn.Authenticator) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("image name %q: %w", ref, err)
	}
	if auth == nil {
		auth = authn.Anonymous
	}
	return remote.Write(tag, img, remote.WithTransport(transport), remote.WithAuth(auth))
}
