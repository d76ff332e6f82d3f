package image

import (
	"bytes"
	"encoding/json"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// startInterval is after how long the health of a container that has just been started is
// asked for, by Docker from 25 on; older ones wait for the interval. An engine is ready at
// about that time, and the check waits for one that is not.
const startInterval = 500 * time.Millisecond

// withStartInterval adds startInterval to the image's health check: go-containerregistry
// knows the image specification of Docker before 25, which has no such field.
func withStartInterval(img v1.Image, layers []v1.Layer) (*assembled, error) {
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	a := &assembled{layers: layers}
	if a.config, err = set(raw, startInterval, "config", "Healthcheck", "StartInterval"); err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	m = m.DeepCopy()
	if m.Config.Digest, m.Config.Size, err = v1.SHA256(bytes.NewReader(a.config)); err != nil {
		return nil, err
	}
	a.manifest, err = json.Marshal(m)
	return a, err
}

// set returns the JSON object with a value at a path of keys.
func set(object []byte, value any, path ...string) ([]byte, error) {
	if len(path) == 0 {
		return json.Marshal(value)
	}
	m := map[string]json.RawMessage{}
	if err := json.Unmarshal(object, &m); err != nil {
		return nil, err
	}
	inner, err := set(m[path[0]], value, path[1:]...)
	if err != nil {
		return nil, err
	}
	m[path[0]] = inner
	return json.Marshal(m) // keys are sorted
}
