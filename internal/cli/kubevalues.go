package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/berth-dev/berth/internal/config"
)

// applyValues sets a verb's flags from a YAML file with their long names as keys. A flag that
// can be given often takes a list, or a mapping for KEY=VALUE; `command` is the client's
// command, and nil for a verb that has no client. What was given on the command line stays.
func applyValues(cmd *cobra.Command, path string, command *[]string) error {
	data, err := readValues(cmd.InOrStdin(), path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return setValues(cmd.Flags(), path, data, command)
}

func readValues(in io.Reader, path string) ([]byte, error) {
	if path != "-" {
		return readSmall(path)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("too large")
	}
	return data, err
}

func setValues(fs *pflag.FlagSet, path string, data []byte, command *[]string) error {
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // an empty file
	} else if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(&second); err == nil {
		return fmt.Errorf("%s:%d: a second document begins here; give each a file of its own", path, second.Line)
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: not a mapping; write KEY: VALUE lines", path, root.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		fail := func(err error) error { return fmt.Errorf("%s:%d: %s: %w", path, key.Line, key.Value, err) }
		if seen[key.Value] {
			return fail(errors.New("this key is there twice"))
		}
		seen[key.Value] = true
		list, err := textOf(value)
		if err != nil {
			return fail(err)
		}
		if key.Value == "command" && command != nil {
			if len(*command) == 0 {
				*command = list
			}
			continue
		}
		flag := fs.Lookup(key.Value)
		if flag == nil || slices.Contains(notInValues, flag.Name) {
			return fmt.Errorf("%s:%d: unknown key %q%s", path, key.Line, key.Value, config.Suggest(key.Value, valueKeys(fs, command != nil)))
		}
		if err := setFlag(fs, flag, value, list); err != nil {
			return fail(err)
		}
	}
	return nil
}

// notInValues are about the call itself, not about the objects.
var notInValues = []string{"values", "help", "debug", "kustomize"}

func valueKeys(fs *pflag.FlagSet, client bool) []string {
	var keys []string
	if client {
		keys = append(keys, "command")
	}
	fs.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(notInValues, f.Name) {
			keys = append(keys, f.Name)
		}
	})
	return keys
}

func setFlag(fs *pflag.FlagSet, flag *pflag.Flag, value *yaml.Node, list []string) error {
	_, many := flag.Value.(pflag.SliceValue)
	if !many && value.Kind != yaml.ScalarNode {
		return errors.New("one value is expected here")
	}
	if flag.Changed {
		return nil
	}
	for _, s := range list {
		if err := fs.Set(flag.Name, s); err != nil {
			return err
		}
	}
	return nil
}

// textOf is a value as flags have it: a mapping is a list of KEY=VALUE.
func textOf(n *yaml.Node) ([]string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil, nil
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}, nil
	case n.Kind == yaml.SequenceNode || n.Kind == yaml.MappingNode:
	default:
		return nil, errors.New("a text, a list or a mapping of texts is expected here")
	}
	var out []string
	lines := map[string]int{} // of a mapping's keys
	for i, item := range n.Content {
		if item.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: only texts are expected in a list", item.Line)
		}
		if item.ShortTag() == "!!null" {
			return nil, fmt.Errorf("line %d: null is no text; give \"\" for an empty one, or \"null\"", item.Line)
		}
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			out[len(out)-1] += "=" + item.Value
			continue
		}
		if first := lines[item.Value]; n.Kind == yaml.MappingNode && first != 0 {
			return nil, fmt.Errorf("line %d: %s is there already, on line %d; give it once", item.Line, item.Value, first)
		}
		lines[item.Value] = item.Line
		out = append(out, item.Value)
	}
	return out, nil
}
