package architecture

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// TestNobodyAsksForTheCgroupVersion: what differs between v1 and v2 is behind package
// cgroup's functions. Its Version is for people: it may be printed, not compared.
func TestNobodyAsksForTheCgroupVersion(t *testing.T) {
	signs := []string{"/sys/fs/cgroup/", "/proc/self/cgroup", "unified_cgroup_hierarchy"}
	asks := map[string]bool{"unix.CGROUP2_SUPER_MAGIC": true, "unix.CGROUP_SUPER_MAGIC": true, "cgroups.IsCgroup2UnifiedMode": true, "cgroups.IsCgroup2HybridMode": true}
	for _, s := range sources(t) {
		if s.test || within(s.dir(), "internal/cgroup") {
			continue
		}
		for call := range calls(s.file) {
			if asks[call] {
				t.Errorf("%s: %s; ask package cgroup for what is wanted instead", s.path, call)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				for _, sign := range signs {
					if n.Kind == token.STRING && (strings.Contains(n.Value, sign) || n.Value == `"cgroup2"`) {
						t.Errorf("%s: %s; only internal/cgroup knows v1 from v2", s.path, n.Value)
					}
				}
			case *ast.BinaryExpr:
				if comparesVersion(n) {
					t.Errorf("%s: compares the cgroup version; add what is wanted to package cgroup", s.path)
				}
			case *ast.SwitchStmt:
				if n.Tag != nil && namesVersion(n.Tag) {
					t.Errorf("%s: switches on the cgroup version; add what is wanted to package cgroup", s.path)
				}
			}
			return true
		})
	}
}

func comparesVersion(e *ast.BinaryExpr) bool {
	return (e.Op == token.EQL || e.Op == token.NEQ) && (namesVersion(e.X) || namesVersion(e.Y))
}

// namesVersion tells whether an expression is cgroup.Version() or a field made from it.
func namesVersion(e ast.Expr) bool {
	if call, ok := e.(*ast.CallExpr); ok {
		e = call.Fun
	}
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, _ := sel.X.(*ast.Ident)
	return sel.Sel.Name == "CgroupVersion" || pkg != nil && pkg.Name == "cgroup" && sel.Sel.Name == "Version"
}
