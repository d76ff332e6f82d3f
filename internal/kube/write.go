package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Manifest is a list of objects.
type Manifest []object

// YAML is the manifest as `kubectl apply -f` takes it.
func (m Manifest) YAML() ([]byte, error) {
	var b bytes.Buffer
	for i := range m {
		if i > 0 {
			b.WriteString("---\n")
		}
		text, err := m[i].yaml()
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	return b.Bytes(), nil
}

// maxAnnotations is how many bytes an object's annotations may have
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/).
const maxAnnotations = 256 << 10

// TooLargeToApply names the objects, as ConfigMap/x, that plain `kubectl apply` cannot have:
// it keeps each as JSON in an annotation, which `kubectl apply --server-side` does not.
func (m Manifest) TooLargeToApply() ([]string, error) {
	const more = 512 // what kubectl adds: the annotation's own name, a namespace
	var names []string
	for i := range m {
		text, err := m[i].yaml()
		if err != nil {
			return nil, err
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			return nil, err
		}
		kept, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if len(kept)+more > maxAnnotations {
			names = append(names, m[i].Kind+"/"+m[i].Metadata.Name)
		}
	}
	return names, nil
}

// File is a file to be written.
type File struct {
	Name string
	Data []byte
}

// Kustomize is the manifest as a base: a file for each object, and kustomization.yaml.
func (m Manifest) Kustomize() ([]File, error) {
	var files []File
	base := struct {
		APIVersion string   `yaml:"apiVersion"`
		Kind       string   `yaml:"kind"`
		Resources  []string `yaml:"resources"`
	}{APIVersion: "kustomize.config.k8s.io/v1beta1", Kind: "Kustomization"}
	for i := range m {
		text, err := m[i].yaml()
		if err != nil {
			return nil, err
		}
		name := strings.ToLower(m[i].Kind) + "-" + m[i].Metadata.Name + ".yaml"
		base.Resources = append(base.Resources, name)
		files = append(files, File{name, text})
	}
	text, err := encode(base, nil)
	return append(files, File{"kustomization.yaml", text}), err
}

func (o object) yaml() ([]byte, error) { return encode(o, o.comments) }

// encode writes a value with comments, which are named by the path of what they stand above:
// keys with dots between, an item of a list by its name, "" for the whole.
func encode(v any, comments map[string]string) ([]byte, error) {
	var node yaml.Node
	if err := node.Encode(v); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if c, ok := comments[""]; ok {
		fmt.Fprintf(&b, "# %s\n", strings.ReplaceAll(c, "\n", "\n# "))
	}
	annotate(&node, "", comments)
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

func annotate(n *yaml.Node, path string, comments map[string]string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			here := strings.TrimPrefix(path+"."+key.Value, ".")
			key.HeadComment = comments[here]
			annotate(value, here, comments)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			here := path + "." + nameOf(item)
			item.HeadComment = comments[here]
			annotate(item, here, comments)
		}
	}
}

// nameOf is what tells an item of a list from others.
func nameOf(n *yaml.Node) string {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "name" {
			return n.Content[i+1].Value
		}
	}
	return n.Value
}
