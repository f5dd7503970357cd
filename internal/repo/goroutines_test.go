package repo_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strings"
	"testing"
)

// waits are files whose goroutines do nothing on behalf of a call: they start a
// process, wait for one, close a channel.
var waits = map[string]bool{"server/service/sql.go": true, "server/service/sql_process.go": true}

// TestGoroutinesOfCallsAreGuarded: a panic on a goroutine that a call has started
// ends the server unless it is caught there (internal/rescue).
func TestGoroutinesOfCallsAreGuarded(t *testing.T) {
	seen := 0
	for _, f := range files(t) {
		if !strings.HasSuffix(f, ".go") || strings.HasSuffix(f, "_test.go") || waits[f] || strings.HasSuffix(path.Dir(f), "test") {
			continue
		}
		called := false
		for _, dir := range []string{"server/service/", "server/flight/", "loader/", "query/", "dataset/"} {
			called = called || strings.HasPrefix(f, dir)
		}
		if !called {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, f, read(t, f), parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			body := goroutine(n)
			if body == nil {
				return true
			}
			if seen++; !guards(body) {
				t.Errorf("%s: a panic of this goroutine ends the server: run it within rescue.Do, and give what that returns to rescue.Again where it is waited for", set.Position(n.Pos()))
			}
			return true
		})
	}
	if seen < 5 {
		t.Fatalf("only %d goroutines were looked at", seen)
	}
}

// goroutine is the function literal that a statement or a WaitGroup starts.
func goroutine(n ast.Node) *ast.BlockStmt {
	switch x := n.(type) {
	case *ast.GoStmt:
		if f, ok := x.Call.Fun.(*ast.FuncLit); ok {
			return f.Body
		}
		return &ast.BlockStmt{} // of a function with a name: it can't be seen what it does
	case *ast.CallExpr:
		if s, ok := x.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(x.Args) == 1 {
			if f, ok := x.Args[0].(*ast.FuncLit); ok {
				return f.Body
			}
		}
	}
	return nil
}

// guards reports whether a body catches panics.
func guards(body *ast.BlockStmt) bool {
	found := false
	ast.Inspect(body, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			switch f := c.Fun.(type) {
			case *ast.SelectorExpr:
				p, ok := f.X.(*ast.Ident)
				found = found || ok && p.Name == "rescue" && f.Sel.Name == "Do"
			case *ast.Ident:
				found = found || f.Name == "guarded" || f.Name == "recover"
			}
		}
		return !found
	})
	return found
}
