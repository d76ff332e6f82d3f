package registry

import (
	"net/http"
	"os"
	"testing"

	"github.com/berth-dev/berth/test/image"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestPushAndPullThroughTLS(t *testing.T) {
	for _, test := range []struct{ title, user, password string }{
		{"open", "", ""},
		{"with a password", "user", "secret"},
	} {
		t.Run(test.title, func(t *testing.T) {
			r, err := Start(t.Context(), Options{Dir: t.TempDir(), User: test.user, Password: test.password})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			self, err := os.Executable() // nothing of the image is run
			if err != nil {
				t.Fatal(err)
			}
			img, err := image.Build(image.Options{Busybox: self})
			if err != nil {
				t.Fatal(err)
			}
			ref := r.Address() + "/busy:1"
			var auth authn.Authenticator = authn.Anonymous
			if test.user != "" {
				if err := image.Push(ref, img, r.Transport(), nil); err == nil {
					t.Fatal("pushed without a password")
				}
				auth = &authn.Basic{Username: test.user, Password: test.password}
			}
			if err := image.Push(ref, img, r.Transport(), auth); err != nil {
				t.Fatal(err)
			}
			tag, _ := name.NewTag(ref)
			got, err := remote.Image(tag, remote.WithTransport(r.Transport()), remote.WithAuth(auth))
			if err != nil {
				t.Fatal(err)
			}
			a, _ := got.Digest()
			b, _ := img.Digest()
			if a != b {
				t.Errorf("pushed %s, pulled %s", b, a)
			}
			if r.Requests() == 0 {
				t.Error("no requests counted")
			}
			if _, err := http.Get("https://127.0.0.1" + r.URL()[len("https://"+r.Host):] + "/v2/"); err == nil {
				t.Error("the certificate was trusted without its authority")
			}
		})
	}
}
