package trust

import (
	"fmt"
	"slices"
)

// Rule says who may deploy to one deployment group. The zero rule lets nobody.
type Rule struct {
	// AnyProject switches the proof off: whoever can upload may deploy.
	AnyProject bool `json:"anyProject,omitempty"`
	// Projects may deploy, from their Refs.
	Projects []Project `json:"projects,omitempty"`
	// Refs are exact names of branches and tags.
	Refs []string `json:"refs,omitempty"`
	// UnprotectedRefs lets refs deploy that GitLab does not protect, so everybody who may push to the project.
	UnprotectedRefs bool `json:"unprotectedRefs,omitempty"`
}

// Project is one of GitLab's. The id stays for ever, a path may be given to another project: both have to be right.
type Project struct {
	ID   int64  `json:"id"`
	Path string `json:"path"`
}

func (p Project) String() string { return fmt.Sprintf("%d (%s)", p.ID, p.Path) }

// Deployer is who deploys, as GitLab has signed it. The zero Deployer is nobody.
type Deployer struct {
	Project     string `json:"project,omitempty"` // its path
	Ref         string `json:"ref,omitempty"`
	User        string `json:"user,omitempty"` // who started the pipeline
	PipelineURL string `json:"pipelineUrl,omitempty"`
}

// check says whether the rule lets a job deploy.
func (r Rule) check(c *claims) *Refusal {
	came := fmt.Sprintf("%d (%s)", c.ProjectID, quote(c.ProjectPath))
	i := slices.IndexFunc(r.Projects, func(p Project) bool { return p.ID == c.ProjectID })
	switch {
	case len(r.Projects) == 0:
		return refuse(RuleProject, "the job is of project %s, and no project may deploy this: add it to projects of the deployment group in the environment's configuration", came)
	case i < 0:
		return refuse(RuleProject, "the job is of project %s, want %s", came, r.projects())
	case r.Projects[i].Path != c.ProjectPath:
		return refuse(RuleProject, "the job is of project %s, want %s: correct the path in the environment's configuration if the project was moved", came, r.Projects[i])
	case !slices.Contains(r.Refs, c.Ref):
		return refuse(RuleRef, "the pipeline is of %s %s, want %s", c.RefType, quote(c.Ref), r.refs())
	case !c.Protected && !r.UnprotectedRefs:
		return refuse(RuleProtected, "%s %s is not protected, want a protected one: protect it in the project's settings", c.RefType, quote(c.Ref))
	}
	return nil
}

// Recheck says whether the rule still has what let a deployer deploy: it may have changed while an artifact waited. The
// error is a [*Refusal].
func (r Rule) Recheck(d Deployer) error {
	switch {
	case r.AnyProject:
		return nil
	case !slices.ContainsFunc(r.Projects, func(p Project) bool { return p.Path == d.Project }):
		return refuse(RuleProject, "the job is of project %s, which may not deploy this any more, want %s", quote(d.Project), r.projects())
	case !slices.Contains(r.Refs, d.Ref):
		return refuse(RuleRef, "the pipeline is of %s, which may not deploy this any more, want %s", quote(d.Ref), r.refs())
	}
	return nil
}

func (r Rule) refs() string {
	var names []string
	for _, ref := range r.Refs {
		names = append(names, quote(ref))
	}
	return some(names)
}

func (r Rule) projects() string {
	var names []string
	for _, p := range r.Projects {
		names = append(names, p.String())
	}
	return some(names)
}
