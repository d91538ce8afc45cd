// Package backup makes complete backups of the GitLab on this host, and restores them.
//
// What a backup consists of stands in package backups. The large part is read once:
//
//	tar ──▶ SHA-256 ──▶ parallel parts ──▶ S3, which compares its own checksum
//	    └─▶ content: database dump, each inner archive, repositories
//
// A stream whose content is wrong never becomes an object, and the manifest is written
// when all parts are there: a backup counts as a whole, or not at all.
//
// What GitLab prints and how its archives look was read in its sources, from 13.10 to 19.x:
// https://gitlab.com/gitlab-org/gitlab/-/tree/master/lib/backup and
// https://gitlab.com/gitlab-org/gitaly/-/tree/master/internal/backup
package backup
