package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// maxProjects and maxRefs keep a thousand pairs small enough for a function to read at each start.
const maxProjects, maxRefs = 50, 50

// validateProjects checks who may deploy to a group. A group without projects is right: nothing may, until somebody says
// who.
func (d *document) validateProjects(group *DeploymentGroup) {
	d.validateProjectList(group)
	projects, refs := d.present(&group.Projects), d.present(&group.Refs)
	switch {
	case d.sound(&group.Refs) && !projects:
		d.refuse(&group.Refs, "refs without projects", "projects beside them: whose refs they are")
	case d.sound(&group.Refs) && group.Projects.Any:
		d.refuse(&group.Refs, "refs beside projects: any", "no refs: nothing is proven, so nobody can look at them")
	case d.sound(&group.Projects) && !refs && !group.Projects.Any && len(group.Projects.List) > 0:
		at := d.places[&group.Projects]
		d.report(at.line, strings.TrimSuffix(at.path, "projects")+"refs", "missing, want the branches and tags that may deploy, by their exact names")
	case d.sound(&group.Refs):
		d.validateRefs(group)
	}
}

func (d *document) validateProjectList(group *DeploymentGroup) {
	if !d.sound(&group.Projects) || group.Projects.Any {
		return
	}
	list := group.Projects.List
	switch {
	case len(list) == 0:
		d.refuse(&group.Projects, "an empty list", "at least one project; leave the key out as long as nothing may deploy")
		return
	case len(list) > maxProjects:
		d.refuse(&group.Projects, fmt.Sprintf("%d projects", len(list)), fmt.Sprintf("at most %d", maxProjects))
		return
	}
	first := map[int]*Project{}
	for i := range list {
		project := &list[i]
		check(d, &project.Path, projectPath)
		if !check(d, &project.ID, by(projectID)) {
			continue
		}
		if before := first[project.ID]; before != nil {
			d.refuse(project, fmt.Sprintf("project %d again", project.ID), fmt.Sprintf("each project once (also %s)", d.places[before].path))
			continue
		}
		first[project.ID] = project
	}
}

func projectID(id int) string {
	if id < 1 {
		return "the project's id, a number above 0: it stands below the project's name in GitLab"
	}
	return ""
}

func (d *document) validateRefs(group *DeploymentGroup) {
	switch n := len(group.Refs); {
	case n == 0:
		d.refuse(&group.Refs, "an empty list", "at least one branch or tag")
		return
	case n > maxRefs:
		d.refuse(&group.Refs, strconv.Itoa(n)+" refs", fmt.Sprintf("at most %d", maxRefs))
		return
	}
	first := map[string]*string{}
	for i := range group.Refs {
		ref := &group.Refs[i]
		if !check(d, ref, by(refName)) {
			continue
		}
		if before := first[*ref]; before != nil {
			d.refuse(ref, quote(*ref)+" again", fmt.Sprintf("each ref once (also %s)", d.places[before].path))
			continue
		}
		first[*ref] = ref
	}
}

// refName is Git's rule, as far as it can be mistaken for something else.
// https://git-scm.com/docs/git-check-ref-format
func refName(name string) string {
	switch {
	case name == "" || len(name) > 255:
		return "the name of a branch or tag, up to 255 bytes"
	case strings.HasPrefix(name, "refs/"):
		return "the name of a branch or tag without refs/heads/ or refs/tags/"
	case strings.ContainsAny(name, "*?["):
		return "an exact name: patterns are none, for a branch that matches one can be made by anybody who may push"
	case strings.ContainsAny(name, " ~^:\\") || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }),
		strings.Contains(name, ".."), strings.Contains(name, "//"), strings.HasPrefix(name, "/"), strings.HasSuffix(name, "/"), strings.HasPrefix(name, "-"):
		return "the name of a branch or tag, as Git allows it"
	}
	return ""
}
