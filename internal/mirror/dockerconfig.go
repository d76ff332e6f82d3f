package mirror

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// helperTime bounds a credential helper, credentialLife is how long its answer is used.
const (
	helperTime     = 10 * time.Second
	credentialLife = time.Minute
)

// hubKey is what Docker calls Docker Hub in its configuration.
const hubKey = "https://index.docker.io/v1/"

// DockerConfig finds credentials as docker does: in a config.json and by the credential
// helpers that it names (docker-credential-<name>, which must be on PATH). The file is read
// again when it changes. The result is for [Config].Credentials.
func DockerConfig(file string) func(registry string) (user, password string, err error) {
	return (&dockerConfig{file: file}).find
}

type dockerConfig struct {
	file string

	mu      sync.Mutex // guards what follows
	changed time.Time
	content *dockerConfigFile // nil: not read yet
	answers *expiring[[2]string]
}

// dockerConfigFile is what a config.json says of credentials.
type dockerConfigFile struct {
	Auths map[string]struct {
		Auth     string `json:"auth"`
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

func (d *dockerConfig) find(registry string) (user, password string, err error) {
	content, answers, err := d.load()
	if err != nil {
		return "", "", err
	}
	if a, ok := answers.get(registry); ok {
		return a[0], a[1], nil
	}
	key := registry
	if registry == hub {
		key = hubKey
	}
	helper := content.CredHelpers[registry]
	if helper == "" {
		helper = content.CredsStore
	}
	if helper != "" {
		if user, password, err = askHelper(helper, key); err != nil {
			return "", "", err
		}
	}
	if user == "" {
		user, password = content.written(key, registry)
	}
	answers.put(registry, [2]string{user, password}, credentialLife)
	return user, password, nil
}

// load returns what the file says and what helpers have answered since it says so.
func (d *dockerConfig) load() (*dockerConfigFile, *expiring[[2]string], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(d.file)
	if err != nil {
		return nil, nil, err
	}
	if d.content != nil && info.ModTime().Equal(d.changed) {
		return d.content, d.answers, nil
	}
	b, err := os.ReadFile(d.file)
	if err != nil {
		return nil, nil, err
	}
	content := &dockerConfigFile{} // anew: what is not there any more is not to be used
	if err := json.Unmarshal(b, content); err != nil {
		return nil, nil, fmt.Errorf("%s: not a docker configuration: %w", d.file, err)
	}
	d.content, d.changed, d.answers = content, info.ModTime(), newExpiring[[2]string]()
	return d.content, d.answers, nil
}

// written looks for credentials in the file itself.
func (c *dockerConfigFile) written(keys ...string) (user, password string) {
	for _, key := range keys {
		for _, k := range []string{key, "https://" + key, "https://" + key + "/v2/"} {
			a, ok := c.Auths[k]
			if !ok {
				continue
			}
			if a.Auth != "" {
				if b, err := base64.StdEncoding.DecodeString(a.Auth); err == nil {
					user, password, _ = strings.Cut(string(b), ":")
					return user, strings.TrimRight(password, "\x00")
				}
			}
			return a.Username, a.Password
		}
	}
	return "", ""
}

// askHelper speaks the protocol of docker-credential-helpers: the registry on standard
// input, JSON or an error on standard output.
func askHelper(name, registry string) (user, password string, err error) {
	if filepath.Base(name) != name {
		return "", "", fmt.Errorf("credential helper %q is no name", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), helperTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "get")
	cmd.Stdin = strings.NewReader(registry)
	out, err := cmd.Output()
	if err != nil {
		if bytes.Contains(out, []byte("credentials not found")) {
			return "", "", nil
		}
		return "", "", fmt.Errorf("docker-credential-%s: %w", name, err)
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", "", fmt.Errorf("docker-credential-%s: its answer: %w", name, err)
	}
	return got.Username, got.Secret, nil
}
