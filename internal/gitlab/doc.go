// Package gitlab holds what has to be known of GitLab's versions: the stops of
// an upgrade, the holes by which a stranger takes a server over, and the
// packages that there are. All are data, in files beside this one, so that who looks a
// version up needs to read no Go.
package gitlab
