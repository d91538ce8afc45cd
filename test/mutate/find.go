package mutate

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Flip names a mutant by texts, so that the name outlives changes elsewhere in
// the file.
type Flip struct {
	Package  string `yaml:"package"`  // its folder, from the module's root
	Function string `yaml:"function"` // Type.Method, a function, or the variable that it is in
	Line     string `yaml:"line"`     // the line of the source, without indentation
	Original string `yaml:"original"`
	Mutant   string `yaml:"mutant"`
	// Nth tells flips apart that are alike in all of this; 0 is the first.
	Nth int `yaml:"nth,omitempty"`
}

func (f Flip) String() string { return f.Original + " → " + f.Mutant }

// Mutant is a source file with one condition flipped.
type Mutant struct {
	Flip
	File   string // from the module's root
	LineNo int

	importPath string
	start, end int // the bytes of the file that with stands for
	with       string
}

// Source returns the file's text with the condition flipped.
func (m Mutant) Source(original []byte) []byte {
	return slices.Concat(original[:m.start], []byte(m.with), original[m.end:])
}

// opposite of each comparison. Negation, not another boundary: < becomes >=.
var opposite = map[token.Token]token.Token{
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LSS: token.GEQ, token.GEQ: token.LSS,
	token.GTR: token.LEQ, token.LEQ: token.GTR,
	token.LAND: token.LOR, token.LOR: token.LAND,
}

func logical(op token.Token) bool { return op == token.LAND || op == token.LOR }

// Find lists the mutants of a package's file, in the order of the source.
func Find(root, pkg, name string) ([]Mutant, error) {
	path := filepath.Join(pkg, name)
	source, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := finder{source: source, file: files.File(tree.Pos()), path: path, pkg: filepath.ToSlash(pkg)}
	for _, decl := range tree.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			f.function = functionName(decl)
			ast.Inspect(decl, f.visit)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				if value, ok := spec.(*ast.ValueSpec); ok {
					f.function = value.Names[0].Name
					ast.Inspect(value, f.visit)
				}
			}
		}
	}
	slices.SortStableFunc(f.mutants, func(a, b Mutant) int { return cmp.Compare(a.start, b.start) })
	seen := map[Flip]int{}
	for i := range f.mutants {
		alike := f.mutants[i].Flip
		f.mutants[i].Nth = seen[alike]
		seen[alike]++
	}
	return f.mutants, nil
}

func functionName(decl *ast.FuncDecl) string {
	if decl.Recv == nil {
		return decl.Name.Name
	}
	receiver := decl.Recv.List[0].Type
	for {
		switch of := receiver.(type) {
		case *ast.StarExpr:
			receiver = of.X
		case *ast.IndexExpr: // a generic type
			receiver = of.X
		case *ast.IndexListExpr:
			receiver = of.X
		case *ast.Ident:
			return of.Name + "." + decl.Name.Name
		default:
			return decl.Name.Name
		}
	}
}

// finder walks through one file.
type finder struct {
	source    []byte
	file      *token.File
	path, pkg string
	function  string
	mutants   []Mutant
}

func (f *finder) visit(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.IfStmt:
		f.condition(n.Cond)
	case *ast.ForStmt:
		f.condition(n.Cond)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, clause := range n.Body.List {
				for _, condition := range clause.(*ast.CaseClause).List {
					f.condition(condition)
				}
			}
		}
	case *ast.UnaryExpr:
		if n.Op != token.NOT {
			break
		}
		if inner, ok := ast.Unparen(n.X).(*ast.BinaryExpr); !ok || logical(inner.Op) {
			f.add(n, f.text(n.X), f.text(n.X))
		}
	case *ast.BinaryExpr:
		to, ok := opposite[n.Op]
		if !ok {
			break
		}
		// With brackets, as the two logical operators bind differently.
		with := fmt.Sprintf("((%s) %s (%s))", f.text(n.X), to, f.text(n.Y))
		f.add(n, with, f.text(n.X)+" "+to.String()+" "+f.text(n.Y))
		if logical(n.Op) {
			f.condition(n.X)
			f.condition(n.Y)
		}
	}
	return true
}

// condition flips what is neither a comparison nor made of others: visit sees
// to those.
func (f *finder) condition(expr ast.Expr) {
	if expr == nil { // for without a condition
		return
	}
	switch of := ast.Unparen(expr).(type) {
	case *ast.BinaryExpr:
		return
	case *ast.UnaryExpr:
		if of.Op == token.NOT {
			return
		}
	}
	f.add(expr, "!("+f.text(expr)+")", "!"+f.text(expr))
}

func (f *finder) offset(pos token.Pos) int { return f.file.Offset(pos) }

func (f *finder) text(node ast.Node) string {
	return string(f.source[f.offset(node.Pos()):f.offset(node.End())])
}

// add notes the mutant that puts with in the place of node; shown is how a
// reader would write it.
func (f *finder) add(node ast.Node, with, shown string) {
	m := Mutant{File: filepath.ToSlash(f.path), LineNo: f.file.Line(node.Pos()), start: f.offset(node.Pos()), end: f.offset(node.End()), with: with}
	line := string(f.source[f.offset(f.file.LineStart(m.LineNo)):])
	line, _, _ = strings.Cut(line, "\n")
	m.Flip = Flip{Package: f.pkg, Function: f.function, Line: words(line), Original: words(f.text(node)), Mutant: words(shown)}
	f.mutants = append(f.mutants, m)
}

// words writes a text on one line.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }
