package appspec

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// installed is what the agent would put on an instance (installer.rb, install_instruction.rb).
type installed struct {
	files map[string]spot // destination → what is copied there
	dirs  map[string]bool // folders that it makes
	// alone: nobody asks for the files, as one entry alone writes none of them twice. There may be a million.
	alone bool
	made  int // files and folders
}

// maxInstalled bounds how much of an installation is followed: links to folders can make a few files into very many.
var maxInstalled = 250_000 // a test has less

// clash is a reason for the agent to stop installing.
type clash string

// checkFiles notes what is installed, each file of it only where it is asked for later.
func (s *server) checkFiles(files *value, asked bool) (*installed, error) {
	to := &installed{files: map[string]spot{}, dirs: map[string]bool{}}
	if files.falsy() || files.kind == refused {
		return to, nil
	}
	entries, ok := s.elementsOf(files, "files")
	if !ok {
		s.refuse(files, "files: got %s, want a list: begin each entry with '- source:'", files)
		return to, nil
	}
	to.alone = len(entries) == 1 && !asked
	for _, e := range entries {
		if e.kind == refused {
			continue
		}
		if e.kind != mapping {
			s.refuse(e, "files: got %s, want an entry with source and destination, as 'key: value' with a space after the colon", e)
			continue
		}
		s.known(e, "an entry of files", "source", "destination")
		source, destination := e.get("source"), e.get("destination")
		if source.missing() {
			s.refuse(e, "an entry of files without source")
		}
		if destination.missing() {
			s.refuse(e, "an entry of files without destination")
		}
		from, known := s.pathOf("source", source)
		target, sound := s.pathOf("destination", destination)
		if !known {
			continue
		}
		found, err := s.checkSource(source, s.slashes(from))
		if err != nil {
			return nil, err
		}
		if !sound || found == nil || s.windows || !s.checkDestination(destination, target) {
			continue
		}
		if err := s.install(to, source, destination, from, *found, target); err != nil {
			return nil, err
		}
	}
	return to, nil
}

// pathOf returns the path that a value stands for, and reports a value that stands for none.
func (s *server) pathOf(what string, v *value) (name string, ok bool) {
	if v.missing() || v.kind == refused {
		return "", false
	}
	name, ok = v.path()
	switch {
	case !ok && (v.kind == integer || v.kind == float || v.kind == boolean || v.kind == symbol):
		s.refuse(v, "%s: got %s, want a path; in quotes it is one", what, v)
	case !ok:
		s.refuse(v, "%s: got %s, want a path", what, v)
	case v.kind == list:
		s.warn(v, "%s: got a list, which this agent joins to one path, and others refuse; want a path", what)
	}
	return name, ok
}

// checkSource looks a source up as the agent does: joined to the root of the bundle, so that a leading slash means that
// root and nothing on this disk. It returns nil when there is nothing to copy.
func (s *server) checkSource(source *value, name string) (*spot, error) {
	found, err := s.bundle.find(name)
	if err != nil {
		return nil, err
	}
	switch {
	case found.excluded && found.link == "":
		s.refuse(source, "source %s is needed, but it is excluded", quote(name))
	case found.outside != "" && found.link == "":
		s.refuse(source, "source %s leaves the folder", quote(name))
	case found.outside != "":
		s.warn(source, "source %s is a link that leaves the folder: an instance gets the link to %s, or the folder that it has there", quote(name), quote(found.link))
		return &found, nil
	case !found.exists() && found.link == "":
		s.refuse(source, "source %s does not exist in the folder", quote(name))
	case !found.exists():
		s.warn(source, "source %s is a link to %s, which does not exist: an instance gets the link", quote(name), quote(found.link))
		return &found, nil
	default:
		return &found, nil
	}
	return nil, nil
}

func (s *server) checkDestination(destination *value, target string) bool {
	switch {
	case strings.HasPrefix(target, "~"):
		s.refuse(destination, "destination: got %s, want a path that begins with a slash: the agent makes a folder of that name", quote(target))
		return false
	case !strings.HasPrefix(target, "/"):
		s.warn(destination, "destination: got %s, want a path that begins with a slash: it counts from the agent's own folder", quote(target))
	case strings.Contains(target, "$"):
		s.warn(destination, "destination: got %s, want no variable: the agent replaces none", quote(target))
	}
	return true
}

// install notes what one entry copies. Only its first clash is told, since the agent stops there.
func (s *server) install(to *installed, source, destination *value, from string, found spot, target string) error {
	folder := found.exists() && found.info.IsDir()
	if folder && destination.kind == list {
		s.refuse(destination, "destination: got a list for the folder %s, want a path", quote(from))
		return nil
	}
	if !folder {
		target = strings.TrimRight(target, "/") + "/" + path.Base(path.Clean("/"+from))
	}
	c := to.makeAncestors(target)
	if c == "" {
		if !folder {
			c = s.copyFile(to, source, found, target)
		} else {
			w := &walk{server: s, to: to, source: source}
			if err := w.folder(found.path, target); err != nil {
				return err
			}
			c = w.stopped
		}
	}
	if c != "" {
		s.refuse(destination, "%s", string(c))
	}
	return nil
}

func (s *server) copyFile(to *installed, source *value, found spot, target string) clash {
	if found.exists() && found.info.Mode()&fs.ModeNamedPipe != 0 && found.link == "" {
		s.refuse(source, "%s is a FIFO, want a file: the agent waits for ever for what it says", quote(found.path))
	}
	return to.copy(found, target)
}

// walk copies a folder as installer.rb does: it goes into a link to a folder as if it was one.
type walk struct {
	*server
	to      *installed
	source  *value
	open    []string // the folders around, by their own paths
	stopped clash
}

func (w *walk) folder(from, target string) error {
	if !onEveryInstance(target) {
		if w.stopped = w.to.mkdir(target); w.stopped != "" {
			return nil
		}
	}
	w.open = append(w.open, from)
	defer func() { w.open = w.open[:len(w.open)-1] }()
	entries, err := w.bundle.entries(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if w.to.made >= maxInstalled {
			w.warn(w.source, "the agent makes more than %d files and folders of it, perhaps through links to folders; what comes after them is not checked", maxInstalled)
			return nil
		}
		name := entry.Name()
		found, err := w.bundle.at(from, entry)
		if err != nil {
			return err
		}
		at := target + "/" + name
		if !utf8.ValidString(name) {
			w.refuse(w.source, "%s is not UTF-8, want another name: the agent cannot write it down", quote(at))
		}
		switch {
		case found.exists() && found.info.IsDir() && slices.Contains(w.open, found.path):
			w.warn(w.source, "%s is a link to a folder that it is in: the agent copies that %d times into itself", quote(path.Join(from, name)), maxLinks)
		case found.exists() && found.info.IsDir():
			if err := w.folder(found.path, at); err != nil {
				return err
			}
		default:
			w.stopped = w.copyFile(w.to, w.source, found, at)
		}
		if w.stopped != "" {
			return nil
		}
	}
	return nil
}

func (i *installed) copy(found spot, target string) clash {
	if i.alone {
		i.made++
		return ""
	}
	target = absolute(target)
	if earlier, twice := i.files[target]; twice {
		return clash("destination " + quote(target) + " is written twice, by " + quote(earlier.path) + " and by " + quote(found.path) + "; want one source for a file")
	}
	if i.dirs[target] {
		return clash("destination " + quote(target) + " is a folder of another entry, and the file " + quote(found.path) + " too; want one of them")
	}
	i.files[target] = found
	i.made++
	return ""
}

func (i *installed) mkdir(target string) clash {
	made := absolute(target)
	_, file := i.files[made]
	switch {
	case file:
		return clash("destination " + quote(made) + " is a file of another entry, and a folder too; want one of them")
	case i.dirs[made]:
	case target == "":
		return "destination: got nothing, want a path that begins with a slash: the agent tries to make its own folder"
	case strings.HasPrefix(target, "/") && onEveryInstance(made), !strings.HasPrefix(target, "/") && onEveryInstance(path.Clean(target)):
		return clash("destination: got " + quote(target) + ", want the path without '..': the agent tries to make the folder " + quote(made))
	}
	i.dirs[made] = true
	i.made++
	return ""
}

// makeAncestors makes the folders above a destination, from the first that an instance lacks.
func (i *installed) makeAncestors(target string) clash {
	var missing []string
	for parent := above(target); !onEveryInstance(parent) && parent != "." && parent != "/"; parent = above(parent) {
		missing = append(missing, parent)
	}
	slices.Reverse(missing)
	for _, folder := range missing {
		if c := i.mkdir(folder); c != "" {
			return c
		}
	}
	return ""
}

// above is Ruby's File.dirname, which leaves dots as they are.
func above(name string) string {
	name = strings.TrimRight(name, "/")
	cut := strings.LastIndex(name, "/")
	if cut < 0 {
		if name == "" {
			return "/"
		}
		return "."
	}
	if name = strings.TrimRight(name[:cut], "/"); name == "" {
		return "/"
	}
	return name
}

// absolute is Ruby's File.expand_path. The agent's own folder is /.
func absolute(name string) string { return path.Clean("/" + name) }

// standard are the folders that each Linux has. https://refspecs.linuxfoundation.org/FHS_3.0/fhs-3.0.html
var standard = strings.Fields(`/ /bin /boot /dev /etc /home /lib /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr
	/usr/bin /usr/include /usr/lib /usr/local /usr/local/bin /usr/local/etc /usr/local/lib /usr/local/sbin /usr/local/share
	/usr/sbin /usr/share /usr/src /var /var/cache /var/lib /var/log /var/opt /var/run /var/spool /var/tmp
	/etc/cron.d /etc/opt /etc/profile.d /etc/systemd /etc/systemd/system`)

// onEveryInstance tells whether a path leads to a folder on an instance that has nothing but Linux: each step has to exist,
// also one that ".." takes back.
func onEveryInstance(name string) bool {
	if !strings.HasPrefix(name, "/") { // it counts from the agent's own folder, and only that is sure to be there
		return name != "" && strings.Trim(name, "./") == ""
	}
	at := "/"
	for step := range strings.SplitSeq(name, "/") {
		if at = path.Join(at, step); !slices.Contains(standard, at) {
			return false
		}
	}
	return true
}
