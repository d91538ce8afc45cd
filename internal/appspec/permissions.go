package appspec

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// permission is an entry of permissions, as linux_permission_info.rb has it.
type permission struct {
	entry                                              *value
	object                                             string
	pattern, except, types, owner, group, acl, context *value
	mode                                               *value
	files, folders                                     bool
	defaultACL                                         bool
}

var permissionKeys = []string{"object", "pattern", "except", "type", "owner", "group", "mode", "acls", "context"}

func (s *server) checkPermissions(permissions *value, to *installed) {
	if permissions.falsy() || permissions.kind == refused {
		return
	}
	entries, ok := s.elementsOf(permissions, "permissions")
	if !ok {
		s.refuse(permissions, "permissions: got %s, want a list: begin each entry with '- object:'", permissions)
		return
	}
	if s.windows && len(entries) > 0 {
		s.refuse(permissions, "permissions: got a list, want none with os: windows")
		return
	}
	set := map[string]bool{}
	for _, e := range entries {
		if p := s.checkPermission(e); p != nil {
			s.apply(p, to, set)
		}
	}
}

// checkPermission reads an entry. It returns nil for one that cannot be applied.
func (s *server) checkPermission(e *value) *permission {
	if e.kind == refused {
		return nil
	}
	if e.kind != mapping {
		s.refuse(e, "permissions: got %s, want an entry that begins with '- object:'", e)
		return nil
	}
	s.known(e, "an entry of permissions", permissionKeys...)
	object := e.get("object")
	sound := object == nil || object.kind != refused
	if object.missing() || object.kind != refused && strip(object.text) == "" {
		s.refuse(e, "an entry of permissions without object")
		sound = false
	}
	p := &permission{
		entry: e, pattern: e.get("pattern"), except: e.get("except"), types: e.get("type"),
		owner: e.get("owner"), group: e.get("group"), mode: e.get("mode"), acl: e.get("acls"), context: e.get("context"),
	}
	for _, part := range []*value{p.pattern, p.except, p.types, p.owner, p.group, p.mode, p.acl, p.context} {
		sound = sound && (part == nil || part.kind != refused)
	}
	sound = s.checkExcept(p) && sound
	sound = s.checkTypes(p) && sound
	sound = s.checkMode(p.mode) && sound
	sound = s.checkACL(p) && sound
	sound = s.checkContext(p.context) && sound
	if !sound {
		return nil
	}
	p.object = strip(object.text)
	switch {
	case strings.Contains(p.object, "\x00"), isHomeOfAnother(p.object):
		s.refuse(object, "object: got %s, want a path that begins with a slash, on the instance", quote(p.object))
		return nil
	case !strings.HasPrefix(p.object, "/"):
		s.warn(object, "object: got %s, want a path that begins with a slash, on the instance", quote(p.object))
	}
	return p
}

func (s *server) checkExcept(p *permission) bool {
	if p.except.falsy() || p.except.kind == refused {
		return true
	}
	_, ok := loopedOver(p.except)
	if !ok {
		s.refuse(p.except, "except: got %s, want a list of names or patterns", p.except)
	}
	return ok
}

func (s *server) checkTypes(p *permission) bool {
	if p.types.falsy() || p.types.kind == refused {
		p.files, p.folders = true, true
		return true
	}
	types, ok := p.types.elements()
	if !ok {
		s.refuse(p.types, "type: got %s, want a list with file, directory or both", p.types)
		return false
	}
	for _, t := range types {
		switch {
		case t.kind == refused:
			return false
		case t.kind == text && t.text == "file":
			p.files = true
		case t.kind == text && t.text == "directory":
			p.folders = true
		default:
			s.refuse(t, "type: got %s, want file or directory", t)
			ok = false
		}
	}
	return ok
}

// checkMode reads a mode as mode_info.rb does: the decimal digits of the number that YAML has made of it.
func (s *server) checkMode(mode *value) bool {
	if mode.missing() || mode.kind == refused {
		return true
	}
	if mode.kind == list || mode.kind == mapping || len(mode.text) > 4 || strings.Trim(mode.text, "01234567") != "" {
		s.refuse(mode, "mode: got %s, want one to four octal digits, such as '0644' in quotes or 644", mode)
		return false
	}
	if mode.text != mode.written {
		s.warn(mode, "mode: got %s, and that becomes the mode; want it in quotes, or without the leading zero", mode)
	}
	return true
}

// apply does what installer.rb does with an entry: it finds what the entry is about among what is installed.
func (s *server) apply(p *permission, to *installed, set map[string]bool) {
	object := absolute(p.object)
	_, file := to.files[object]
	var matches []string
	switch {
	case file && p.files:
		if text := pattern(p.pattern); text != "**" {
			s.refuse(p.pattern, "pattern: got %s for the file %s, want none: a pattern is for what is in a folder", p.pattern, quote(object))
			return
		}
		if items, _ := loopedOver(p.except); len(items) > 0 {
			s.refuse(p.except, "except: got a list for the file %s, want none: it is for what is in a folder", quote(object))
			return
		}
		matches = []string{object}
	case file:
	default:
		var ok bool
		if matches, ok = s.matches(p, to, object); !ok {
			return
		}
	}
	if len(matches) == 0 {
		s.warn(p.entry, "permissions for %s change nothing: files puts nothing there that they are for", quote(p.object))
		return
	}
	for _, target := range matches {
		found, file := to.files[target]
		switch {
		case set[target]:
			s.refuse(p.entry, "permissions of %s are set twice, want one entry for it", quote(target))
			return
		case file && p.defaultACL:
			s.refuse(p.acl, "acls: got a default entry for the file %s, want it for folders only: type: [directory]", quote(target))
			return
		case !s.applicable(p, to, target, found):
			return
		}
		set[target] = true
	}
}

// matches are the files and folders in a folder that an entry is about.
func (s *server) matches(p *permission, to *installed, object string) (matches []string, ok bool) {
	base := strings.TrimRight(object, "/") + "/"
	var targets []string
	if p.files {
		targets = slices.Sorted(maps.Keys(to.files))
	}
	if p.folders {
		targets = append(targets, slices.Sorted(maps.Keys(to.dirs))...)
	}
	except, _ := loopedOver(p.except)
	for _, target := range targets {
		name, below := strings.CutPrefix(target, base)
		if !below {
			continue
		}
		if glob := pattern(p.pattern); glob != "**" {
			if !strings.Contains(name, "/") && p.pattern.kind != text {
				s.refuse(p.pattern, "pattern: got %s, want a text, such as \"*.sh\" in quotes", p.pattern)
				return nil, false
			}
			if !globs(name, glob) {
				continue
			}
		}
		excepted := false
		for _, item := range except {
			if !strings.Contains(name, "/") && item.kind != text {
				s.refuse(item, "except: got %s, want a text, such as \"*.sh\" in quotes", item)
				return nil, false
			}
			if excepted = globs(name, item.text); excepted {
				break
			}
		}
		if !excepted {
			matches = append(matches, target)
		}
	}
	return matches, true
}

// loopedOver are the elements of a value that is only looped over. A mapping hands out pairs, which are no text.
func loopedOver(v *value) ([]*value, bool) {
	switch {
	case v.falsy():
		return nil, true
	case v.kind == mapping:
		pairs := make([]*value, len(v.entries))
		for i, e := range v.entries {
			pairs[i] = &value{kind: list, line: e.key.line, column: e.key.column}
		}
		return pairs, true
	default:
		return v.elements()
	}
}

func pattern(v *value) string {
	if v.falsy() {
		return "**"
	}
	return v.text
}

// globs matches one name; a star is for any characters, and all else for itself.
func globs(name, pattern string) bool {
	if strings.Contains(name, "/") {
		return false
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return name == pattern
	}
	name, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name = name[at+len(part):]
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}

// isHomeOfAnother tells the home of a user that an instance may lack, on which the agent fails.
func isHomeOfAnother(object string) bool {
	user, _, _ := strings.Cut(object, "/")
	return strings.HasPrefix(user, "~") && user != "~" && user != "~root"
}

// isName tells whether a text may be the name of a user or group. Linux makes none of digits alone.
func isName(s string) bool { return userName.MatchString(s) && strings.Trim(s, "0123456789") != "" }

var userName = regexp.MustCompile(`^[\pL0-9_][\pL0-9_.@+ -]*\$?$`)

// applicable tells whether what an entry sets can be set. A user that an instance lacks is not known here.
func (s *server) applicable(p *permission, to *installed, target string, found spot) bool {
	for what, who := range map[string]*value{"owner": p.owner, "group": p.group} {
		if !who.falsy() && (who.kind != text || !isName(who.text)) {
			s.refuse(who, "%s: got %s, want a name: the agent looks up no ids", what, who)
			return false
		}
	}
	if !p.context.missing() && p.context.get("range").missing() {
		// to_h of the agent asks the range that is not there: install_instruction.rb.
		s.refuse(p.context, "context: got none for range, want range: the agent fails without it")
		return false
	}
	if found.link == "" || p.mode.missing() && p.owner.falsy() && p.group.falsy() {
		return true
	}
	if strings.HasPrefix(found.link, "/") {
		s.warn(p.entry, "permissions of %s change %s, which it is a link to", quote(target), quote(found.link))
		return true
	}
	linked := absolute(path.Dir(target) + "/" + found.link)
	if _, file := to.files[linked]; !file && !to.dirs[linked] && !onEveryInstance(linked) {
		s.refuse(p.entry, "permissions of %s: it is a link to %s, which files does not install; want it in except", quote(target), quote(linked))
		return false
	}
	return true
}
