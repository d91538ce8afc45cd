package appspec

import (
	"slices"
	"strconv"
	"strings"
)

// checkACL reads the entries of an access control list as ace_info.rb does: [default:][user|group|mask|other:][name]:rwx.
func (s *server) checkACL(p *permission) bool {
	if p.acl.missing() || p.acl.kind == refused {
		return true
	}
	entries, ok := p.acl.elements()
	if !ok {
		s.refuse(p.acl, "acls: got %s, want a list of entries such as u:name:rw", p.acl)
		return false
	}
	for _, e := range entries {
		switch {
		case e.kind == refused:
			ok = false
		case e.kind != text:
			s.refuse(e, "acls: got %s, want an entry such as \"u:name:rw\" in quotes", e)
			ok = false
		default:
			isDefault, wrong := readACE(e.text)
			if wrong != "" {
				s.refuse(e, "acls: got %s, %s", e, wrong)
				ok = false
			}
			p.defaultACL = p.defaultACL || isDefault
		}
	}
	return ok
}

var aceTypes = map[string]string{
	"m": "mask", "mask": "mask", "o": "other", "other": "other", "g": "group", "group": "group", "u": "user", "user": "user",
}

func isDefaultWord(word string) bool { return word == "d" || word == "default" }

// readACE says what is wrong with an entry; "" for nothing.
func readACE(ace string) (isDefault bool, wrong string) {
	const form = "want [default:][user|group|mask|other:][name]:permissions"
	parts := strings.Split(ace, ":")
	if len(parts) < 2 || len(parts) > 4 {
		return false, form
	}
	permissions, name := parts[len(parts)-1], parts[len(parts)-2]
	words := parts[:len(parts)-2]
	if len(words) == 2 {
		if !isDefaultWord(words[0]) || isDefaultWord(words[1]) {
			return false, form
		}
		isDefault, words = true, words[1:]
	}
	kind := ""
	if len(words) == 1 {
		if isDefaultWord(words[0]) {
			isDefault = true
		} else if kind = aceTypes[words[0]]; kind == "" {
			return false, form
		}
	}
	if whole := aceTypes[name]; kind == "" && (whole == "mask" || whole == "other") {
		kind, name = whole, ""
	}
	switch {
	case (kind == "mask" || kind == "other") && name != "":
		return false, "want no name for " + kind
	case !isDefault && kind != "mask" && name == "":
		return false, "want a name: mode sets what has none"
	}
	if len(permissions) == 1 && permissions[0] >= '0' && permissions[0] <= '7' {
		return isDefault, ""
	}
	if strings.Trim(permissions, "rwx-") != "" {
		return isDefault, "want permissions of r, w, x and -, or one octal digit"
	}
	return isDefault, ""
}

// checkContext reads the SELinux context of an entry (context_info.rb, range_info.rb).
func (s *server) checkContext(context *value) bool {
	if context.missing() || context.kind == refused {
		return true
	}
	if context.kind != mapping {
		s.refuse(context, "context: got %s, want type, range and perhaps name", context)
		return false
	}
	s.known(context, "context", "name", "type", "range")
	ok := true
	if context.get("type").missing() {
		s.refuse(context, "context: got no type, want an SELinux type such as httpd_sys_content_t")
		ok = false
	}
	if limits := context.get("range"); !limits.missing() && limits.kind != refused && (limits.kind != text || !isRange(limits.text)) {
		s.refuse(limits, "range: got %s, want an SELinux range such as s0, s0-s3 or s0-s3:c0.c3,c7", limits)
		ok = false
	}
	return ok
}

// isRange reads s#[-s#][:c#[.c#][,c#[.c#]]…].
func isRange(limits string) bool {
	levels, categories, hasCategories := strings.Cut(limits, ":")
	low, high, hasHigh := strings.Cut(levels, "-")
	from, ok := numbered(low, "s")
	if !ok {
		return false
	}
	if hasHigh {
		if to, ok := numbered(high, "s"); !ok || to < from {
			return false
		}
	}
	if !hasCategories {
		return true
	}
	var seen []int
	list := strings.TrimRight(categories, ",")
	if list == "" {
		return categories != ""
	}
	for part := range strings.SplitSeq(list, ",") {
		low, high, hasHigh := strings.Cut(part, ".")
		from, ok := numbered(low, "c")
		to := from
		if ok && hasHigh {
			to, ok = numbered(high, "c")
		}
		if !ok || to < from || to > 1023 {
			return false
		}
		for category := from; category <= to; category++ {
			if slices.Contains(seen, category) {
				return false
			}
			seen = append(seen, category)
		}
	}
	return true
}

// numbered reads a letter with a number, such as s0.
func numbered(text, letter string) (int, bool) {
	digits, ok := strings.CutPrefix(text, letter)
	if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}
