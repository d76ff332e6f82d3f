package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/trust"
)

// maxFile bounds the files that flags name: larger ones are not what they should be.
const maxFile = 4 << 20 // bytes

// parseTrust reads the files that --registry-ca and --daemon-config name.
func (f *engineFlags) parseTrust(spec *engine.Spec) error {
	for _, s := range f.registryCAs {
		ca, err := parseRegistryCA(s)
		if err != nil {
			return fmt.Errorf("--registry-ca %s: %w", s, err)
		}
		spec.RegistryCAs = append(spec.RegistryCAs, ca)
	}
	if f.daemonConfig == "" {
		return nil
	}
	config, err := readDaemonConfig(f.daemonConfig)
	if err != nil {
		return fmt.Errorf("--daemon-config %s: %w", f.daemonConfig, err)
	}
	spec.DaemonConfig = config
	return nil
}

func parseRegistryCA(s string) (engine.RegistryCA, error) {
	host, pem, err := trust.ReadFor(s)
	return engine.RegistryCA{Host: host, PEM: pem}, err
}

func readDaemonConfig(file string) (json.RawMessage, error) {
	data, err := readSmall(file)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil || object == nil {
		return nil, fmt.Errorf("not a JSON object such as {\"debug\": true}%s", suffix(err))
	}
	return data, nil
}

func suffix(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// readSmall reads a regular file of moderate size.
func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d MiB; is this the right file?", maxFile>>20)
	}
	return data, nil
}

// cause leaves out the path of an error about a file that the message has named already.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
