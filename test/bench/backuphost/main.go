//go:build unix

// Command backuphost makes a backup of the GitLab in a folder, as the hosts' program
// does of the one in "/": backuphost FOLDER BUCKET.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gitlab-codedeploy/internal/backup"
	"gitlab-codedeploy/internal/machine"
)

func main() {
	ctx := context.Background()
	account, err := config.LoadDefaultConfig(ctx)
	if err == nil {
		host := &machine.Machine{Runner: machine.System{}, Root: os.Args[1], Log: os.Stderr}
		_, err = backup.Make(ctx, host, backup.NewBucket(host, s3.NewFromConfig(account), os.Args[2]))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
