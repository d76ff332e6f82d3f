package berth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
)

// Image is an image that an engine has.
type Image struct {
	ID       string // digest, as containers are made of; sha256:…
	Ref      string // name by which it was asked for, in full
	Tags     []string
	Digests  []string // names with digests, NAME@sha256:…, as registries know it
	Platform string   // linux/amd64
	Size     int64    // bytes
	Created  time.Time
	Labels   map[string]string
}

// Pull fetches an image and returns when it can be used: there is nothing to wait for
// afterwards. Concurrent pulls of one image are one. A registry that is unavailable is
// tried again (see [WithTries]). Cancelling ctx ends the pull; layers that are complete
// are kept for the next.
//
// Errors: [ErrInvalidReference], [ErrNotFound], [ErrDenied], [ErrUnauthorized],
// [ErrNoPlatform], [ErrUntrusted], [ErrUnavailable], [ErrTooManyRequests], [ErrCorrupt],
// [ErrNoSpace].
func (e *Engine) Pull(ctx context.Context, ref string, opts ...TransferOption) (Image, error) {
	t := newTransfer(opts)
	named, err := parseReference("pull", ref)
	if err != nil {
		return Image{}, err
	}
	if _, err := parsePlatform("pull "+ref, t.platform); err != nil {
		return Image{}, err
	}
	auth, err := registryAuth(ctx, t.keychain, named)
	if err != nil {
		return Image{}, wrap(ctx, "pull", ref, err)
	}
	tell, done := t.listener()
	defer done()
	key := strings.Join([]string{named.String(), t.platform, auth}, " ")
	img, err := e.pulls.do(ctx, key, tell, func(ctx context.Context, tell func(Progress)) (Image, error) {
		err := retry(ctx, t.tries, tell, func() error { return e.pull(ctx, named.String(), auth, &t, tell) })
		if err != nil {
			return Image{}, err
		}
		return e.image(ctx, "pull", named.String(), t.platform)
	})
	return img, e.explained(ctx, wrap(ctx, "pull", ref, err), reference.Domain(named))
}

func (e *Engine) pull(ctx context.Context, ref, auth string, t *transfer, tell func(Progress)) error {
	o := client.ImagePullOptions{RegistryAuth: auth}
	if p, _ := parsePlatform("pull", t.platform); p != nil {
		o.Platforms = append(o.Platforms, *p)
	}
	return e.transfer(ctx, "pull", ref, t, tell, func(ctx context.Context) (streamer, error) {
		return e.client.ImagePull(ctx, ref, o)
	})
}

type streamer interface {
	JSONMessages(context.Context) messages
}

// transfer carries out one try of a pull or a push.
func (e *Engine) transfer(ctx context.Context, op, ref string, t *transfer, tell func(Progress), begin func(context.Context) (streamer, error)) error {
	watched, dog, stop := watch(ctx, t.stall)
	defer stop()
	stream, err := begin(watched)
	if err == nil {
		err = consume(stream.JSONMessages(watched), func(m jsonstream.Message) {
			dog.see(m)
			tell(progressOf(m))
		})
	}
	var stalled *Error
	if err != nil && ctx.Err() == nil && errors.As(context.Cause(watched), &stalled) {
		return &Error{Op: op, Subject: ref, Kind: stalled.Kind, Reason: stalled.Reason}
	}
	return wrap(ctx, op, ref, err)
}

// Push sends an image to the registry that its name says, with all its platforms unless
// [WithPlatform] chooses one. Errors are those of [Engine.Pull].
func (e *Engine) Push(ctx context.Context, ref string, opts ...TransferOption) error {
	t := newTransfer(opts)
	named, err := parseReference("push", ref)
	if err != nil {
		return err
	}
	platform, err := parsePlatform("push "+ref, t.platform)
	if err != nil {
		return err
	}
	auth, err := registryAuth(ctx, t.keychain, named)
	if err != nil {
		return wrap(ctx, "push", ref, err)
	}
	if auth == "" {
		auth = "e30=" // {}: dockerd asks for the header in any case
	}
	tell, done := t.listener()
	defer done()
	err = retry(ctx, t.tries, tell, func() error {
		return e.transfer(ctx, "push", ref, &t, tell, func(ctx context.Context) (streamer, error) {
			return e.client.ImagePush(ctx, named.String(), client.ImagePushOptions{RegistryAuth: auth, Platform: platform})
		})
	})
	return e.explained(ctx, wrap(ctx, "push", ref, err), reference.Domain(named))
}

// Tag gives an image another name.
//
// Errors: [ErrNotFound], [ErrInvalidReference].
func (e *Engine) Tag(ctx context.Context, ref, tag string) error {
	named, err := parseReference("tag", tag)
	if err != nil {
		return err
	}
	_, err = e.client.ImageTag(ctx, client.ImageTagOptions{Source: ref, Target: named.String()})
	return wrap(ctx, "tag", ref, err)
}

// Image describes an image by its name or id.
//
// Errors: [ErrNotFound], [ErrInvalidReference].
func (e *Engine) Image(ctx context.Context, ref string) (Image, error) {
	return e.image(ctx, "inspect", ref, "")
}

func (e *Engine) image(ctx context.Context, op, ref, platform string) (Image, error) {
	p, err := parsePlatform(op, platform)
	if err != nil {
		return Image{}, err
	}
	var opts []client.ImageInspectOption
	if p != nil {
		opts = append(opts, client.ImageInspectWithPlatform(p))
	}
	r, err := e.client.ImageInspect(ctx, ref, opts...)
	if err != nil {
		return Image{}, wrap(ctx, op, ref, err)
	}
	img := Image{
		ID: r.ID, Ref: ref, Tags: r.RepoTags, Digests: r.RepoDigests, Size: r.Size,
		Platform: formatPlatform(r.Os, r.Architecture, r.Variant),
	}
	img.Created, _ = time.Parse(time.RFC3339Nano, r.Created) // empty where the image does not say
	if r.Config != nil {
		img.Labels = r.Config.Labels
	}
	return img, nil
}

// Images lists the images that the engine has.
func (e *Engine) Images(ctx context.Context) ([]Image, error) {
	list, err := e.client.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return nil, wrap(ctx, "list images", "", err)
	}
	out := make([]Image, 0, len(list.Items))
	for _, s := range list.Items {
		out = append(out, imageOf(s))
	}
	return out, nil
}

func imageOf(s image.Summary) Image {
	img := Image{ID: s.ID, Tags: s.RepoTags, Digests: s.RepoDigests, Size: s.Size, Created: time.Unix(s.Created, 0), Labels: s.Labels}
	if len(s.RepoTags) > 0 {
		img.Ref = s.RepoTags[0]
	}
	return img
}

// RemoveImage removes an image, or only the name, when it has others. With force it does
// so even if stopped containers use it.
//
// Errors: [ErrNotFound], [ErrConflict] when a container uses it.
func (e *Engine) RemoveImage(ctx context.Context, ref string, force bool) error {
	_, err := e.client.ImageRemove(ctx, ref, client.ImageRemoveOptions{Force: force, PruneChildren: true})
	return wrap(ctx, "remove image", ref, err)
}
