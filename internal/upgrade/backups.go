//go:build unix

package upgrade

import (
	"context"
	"time"

	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/machine"
)

// Backups are complete backups of this GitLab.
type Backups interface {
	// Newest returns the newest complete one; found is false without one.
	Newest(context.Context) (b Backup, found bool, err error)
	// Make makes one.
	Make(context.Context) (Backup, error)
}

// Backup is a complete backup.
type Backup struct {
	ID, Version, Edition string
	Age                  time.Duration
}

// BackupsIn are those of a host in a store.
func BackupsIn(m *machine.Machine, store backup.Store) Backups { return stored{m, store} }

type stored struct {
	machine *machine.Machine
	store   backup.Store
}

func (s stored) Newest(ctx context.Context) (b Backup, found bool, err error) {
	m, age, found, err := backup.Newest(ctx, s.store, time.Now(), s.machine.Say)
	return Backup{ID: m.ID, Version: m.Version, Edition: m.Edition, Age: age}, found, err
}

func (s stored) Make(ctx context.Context) (Backup, error) {
	m, err := backup.Make(ctx, s.machine, s.store)
	return Backup{ID: m.ID, Version: m.Version, Edition: m.Edition}, err
}
