// Package gitlab holds what has to be known of GitLab's versions: the stops of
// an upgrade, the holes by which a stranger takes a server over, and the
// packages that there are. All are data, in files beside this one;
// scripts/server/upgrade-gitlab.sh reads the first one, too, which is why they
// are tables and not Go.
package gitlab
