package berth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const guide = "docs/guide/sdk.md"

// prelude is what stands around the snippets of the guide and of the package comment.
const prelude = `package snippets

import (
	"context"
	"net/http"
	"testing"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/berthtest"
)

var (
	ctx  context.Context
	e    *berth.Engine
	img  berth.Image
	page []byte
)
`

// unused says that a snippet does nothing with what it has got, as snippets do.
var unused = regexp.MustCompile(`declared and not used|imported and not used|too many errors|^#`)

// TestSnippetsCompile compiles what people copy.
func TestSnippetsCompile(t *testing.T) {
	code := prelude
	for _, snippet := range append(snippets(t), packageComment(t)) {
		snippet = strings.ReplaceAll(snippet, "…", "")
		if !strings.HasPrefix(snippet, "func ") {
			snippet = "func _() error {\n" + snippet + "\nreturn nil\n}"
		}
		code += "\n" + snippet + "\n"
	}
	file := filepath.Join(t.TempDir(), "snippets.go")
	if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("go", "build", "-gcflags=-e", "-o", os.DevNull, file).CombinedOutput()
	if !strings.Contains(string(out), "declared and not used: address") { // by the guide's
		t.Errorf("not what a compiler says of snippets: %s", out)
	}
	for line := range strings.Lines(string(out)) {
		if !unused.MatchString(line) {
			t.Errorf("%s in\n%s", strings.TrimSpace(line), code)
		}
	}
}

// snippets are the guide's pieces of Go.
func snippets(t *testing.T) (out []string) {
	t.Helper()
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(text(t, guide), -1) {
		out = append(out, block[1])
	}
	if len(out) == 0 {
		t.Errorf("%s has no snippets", guide)
	}
	return out
}

// packageComment is the code in it: the lines that a tab begins.
func packageComment(t *testing.T) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "berth.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for line := range strings.Lines(f.Doc.Text()) {
		if strings.HasPrefix(line, "\t") {
			code.WriteString(line)
		}
	}
	return code.String()
}

// TestErrorsAreExplained: each has a row in the guide that says what it means and what to do.
func TestErrorsAreExplained(t *testing.T) {
	rows := text(t, guide)
	for _, name := range declared(t, "errors.go", token.VAR) {
		if !strings.HasPrefix(name, "Err") {
			continue
		}
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\| [^|]+ \\| [^|]+ \\|$")
		if !row.MatchString(rows) {
			t.Errorf("%s: no row in %s", name, guide)
		}
	}
}

// TestEveryExampleRuns: TestExamples calls all of them.
func TestEveryExampleRuns(t *testing.T) {
	code := text(t, "example_test.go")
	for _, name := range declared(t, "example_test.go", token.FUNC) {
		if strings.HasPrefix(name, "Example") && !strings.Contains(code, name+"}") {
			t.Errorf("TestExamples does not call %s", name)
		}
	}
}

// declared are the names of a file's variables or functions.
func declared(t *testing.T, file string, kind token.Token) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range f.Scope.Objects {
		if kind == token.VAR && object.Kind == ast.Var || kind == token.FUNC && object.Kind == ast.Fun {
			names = append(names, object.Name)
		}
	}
	if len(names) == 0 {
		t.Errorf("%s declares nothing", file)
	}
	return names
}

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
