#!/bin/sh
#/ Usage: scripts/ops trust --env NAME [--profile PROFILE] [OPTIONS]
#/
#/ Reads the keys that GitLab signs with, and writes config/NAME.jwks.json.
#/
#/ The command itself is cmd/ops, in Go: it is built here when its sources have
#/ changed. scripts/ops trust --help is its help.
set -eu
cd "$(dirname "$0")/../.."
go build -o bin/ops ./cmd/ops
exec bin/ops trust "$@"
