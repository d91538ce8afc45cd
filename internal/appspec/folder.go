package appspec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxFile bounds what is read as an AppSpec file.
	maxFile = 4 << 20
	// maxLinks is how many links Linux follows in one path.
	maxLinks = 40
)

// bundle is a folder as the agent finds it on an instance: without what is excluded, and with nothing around it.
type bundle struct {
	root     string
	excluded func(string) bool
	inner    string // the folder inside of it that the agent takes for the root
}

// spot is where a path of the bundle leads.
type spot struct {
	path string      // slash-separated, after all links
	info fs.FileInfo // nil when there is nothing
	link string      // what the path's own last name points to, when it is a link
	// outside is where the path leaves the bundle: nobody knows what an instance has there.
	outside  string
	excluded bool // it is in the folder, and does not travel
}

func (p spot) exists() bool { return p.info != nil }

func openBundle(folder string, excluded func(string) bool) (*bundle, error) {
	info, err := os.Stat(folder)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is a file, want a folder", folder)
	}
	if excluded == nil {
		excluded = func(string) bool { return false }
	}
	return &bundle{root: folder, excluded: excluded}, nil
}

// appSpec finds and reads the AppSpec file. A nil text is reported.
func (b *bundle) appSpec(r *report) (*bundle, []byte, error) {
	b, err := b.unwrap()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"appspec.yml", "appspec.yaml", "appspec.json"} {
		file, err := b.find(name)
		if err != nil {
			return nil, nil, err
		}
		if !file.exists() && file.outside == "" && !file.excluded && file.link == "" {
			continue
		}
		r.file = path.Join(b.inner, name)
		switch {
		case file.excluded:
			r.refuse(nil, "the AppSpec file is needed, but it is excluded")
		case file.outside != "":
			r.refuse(nil, "got a link to %s, want a file in the folder: an instance has nothing there", quote(file.outside))
		case !file.exists():
			r.refuse(nil, "got a link to %s, which does not exist", quote(file.link))
		case !file.info.Mode().IsRegular():
			r.refuse(nil, "got something that is no file, want the AppSpec file")
		case file.info.Size() > maxFile:
			r.refuse(nil, "got %d bytes, want at most %d", file.info.Size(), maxFile)
		default:
			text, err := os.ReadFile(b.real(file.path))
			if text == nil && err == nil {
				text = []byte{}
			}
			return b, text, err
		}
		return b, nil, nil
	}
	r.refuse(nil, "no appspec.yml at the root of the folder%s", b.nearMiss())
	return b, nil, nil
}

var looksLikeAppSpec = regexp.MustCompile(`(?i)appspec`)

// unwrap steps into a folder that is all there is and has an AppSpec file, as the agent does (command_executor.rb).
func (b *bundle) unwrap() (*bundle, error) {
	names, err := b.list("")
	if err != nil || len(names) != 1 {
		return b, err
	}
	only, err := b.find(names[0])
	if err != nil || !only.exists() || !only.info.IsDir() || only.link != "" {
		return b, err
	}
	inside, err := b.list(only.path)
	if err != nil || !looksLikeAppSpec.MatchString(strings.Join(inside, "\n")) {
		return b, err
	}
	outer := b.excluded
	return &bundle{
		root: b.real(only.path), inner: names[0],
		excluded: func(name string) bool { return outer(path.Join(names[0], name)) },
	}, nil
}

// nearMiss names a file that may be meant.
func (b *bundle) nearMiss() string {
	names, _ := b.list("")
	for _, name := range names {
		if looksLikeAppSpec.MatchString(name) {
			return fmt.Sprintf(" (%s is there: rename it)", quote(name))
		}
	}
	return ""
}

// list returns the names in a folder of the bundle, in order.
func (b *bundle) list(folder string) ([]string, error) {
	entries, err := b.entries(folder)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// entries returns what travels of a folder of the bundle, in the order of its names.
func (b *bundle) entries(folder string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(b.real(folder))
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return b.excluded(path.Join(folder, e.Name())) }), err
}

// at is find for what a folder has, whose own path has no link in it: only a link has to be followed.
func (b *bundle) at(folder string, entry fs.DirEntry) (spot, error) {
	name := path.Join(folder, entry.Name())
	if entry.Type()&fs.ModeSymlink != 0 {
		return b.find(name)
	}
	info, err := entry.Info()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return spot{}, nil
	case err != nil:
		return spot{}, err
	}
	return spot{path: name, info: info}, nil
}

func (b *bundle) real(name string) string { return filepath.Join(b.root, filepath.FromSlash(name)) }

// find follows a path from the root of the bundle, name by name and link by link, as an instance will: a leading slash
// means that root, and what is excluded is not there.
func (b *bundle) find(name string) (spot, error) {
	at := spot{}
	wantsFolder := strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.")
	steps, links := strings.Split(name, "/"), 0
	last, via := "", name // what the path's own last name is a link to, and what has been followed last
	info, err := os.Stat(b.root)
	if err != nil {
		return at, err
	}
	for len(steps) > 0 {
		step := steps[0]
		steps = steps[1:]
		if step == "" || step == "." {
			continue
		}
		if !info.IsDir() {
			return spot{link: last}, nil
		}
		if step == ".." {
			if at.path == "" {
				return spot{outside: via, link: last}, nil
			}
			at.path = strings.TrimPrefix(path.Dir(at.path), ".")
			if info, err = os.Lstat(b.real(at.path)); err != nil {
				return at, err
			}
			continue
		}
		next := path.Join(at.path, step)
		if info, err = os.Lstat(b.real(next)); err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return at, err
			}
			return spot{link: last}, nil // also for a name that no file system takes
		}
		if b.excluded(next) {
			return spot{excluded: true, link: last}, nil
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at.path = next
			continue
		}
		target, err := os.Readlink(b.real(next))
		if err != nil {
			return at, err
		}
		links, via = links+1, target
		if len(steps) == 0 && last == "" {
			last = target
		}
		switch {
		case links > maxLinks:
			return spot{link: last}, nil
		case strings.HasPrefix(target, "/"):
			return spot{outside: target, link: last}, nil
		}
		steps = append(strings.Split(target, "/"), steps...)
		if info, err = os.Lstat(b.real(at.path)); err != nil {
			return at, err
		}
	}
	if wantsFolder && !info.IsDir() {
		return spot{}, nil
	}
	at.info, at.link = info, last
	return at, nil
}
