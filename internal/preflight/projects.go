package preflight

import (
	"context"
	"slices"

	"gitlab-codedeploy/internal/config"
)

func hasAnyProject(c *config.Config) bool {
	return slices.ContainsFunc(c.Deploy.DeploymentGroups, func(g config.DeploymentGroup) bool { return g.Projects.Any })
}

// whoMayDeploy warns of each group to which any job deploys. That is written down on purpose, so it stops nothing.
func whoMayDeploy(_ context.Context, a *asking) (found []Finding) {
	for i := range a.config.Deploy.DeploymentGroups {
		if g := &a.config.Deploy.DeploymentGroups[i]; g.Projects.Any {
			found = append(found, a.warning(&g.Projects, "any: every job that can upload may deploy to "+quote(g.DeploymentGroup)+", whatever its project and branch",
				"a list of projects, and refs", "name the projects and refs that may deploy to it"))
		}
	}
	return found
}
