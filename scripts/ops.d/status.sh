#!/usr/bin/env bash
#/ Usage: scripts/ops status --env NAME [--profile PROFILE] [OPTIONS]
#/
#/ Shows on one screen how GitLab is.
#/
#/ Versions, services, sign-in page, disk, pending migrations, runners and
#/ operations come from the server; the last complete backup from its bucket;
#/ the agents and the load balancer's health check from AWS. What cannot be read
#/ says so, and does not hide the rest. It changes nothing, and takes a minute or
#/ two where GitLab's Rails has to be started for it.
#/
#/ OPTIONS:
#/   --env NAME         Environment: config/NAME.yaml.
#/   --profile PROFILE  AWS profile of GitLab's account (gitlab.account). Default:
#/                      the credentials that the AWS CLI finds by itself.
#/   --timeout SECONDS  Longest time to wait for the server. Default: 86400.
#/   --dry-run          Print the commands, and call nothing in AWS.
#/   --yes              Accepted as everywhere; nothing is asked here.
#/   -h, --help         Show this message.
#/
#/ Prints a table on stdout: PART, STATE (ok, wrong, unknown, or - for what is
#/ only told), and what was found.
#/ Exit status: 0 nothing is wrong or unknown; 1 something is; 2 wrong use,
#/ configuration or credentials.

# Runs on operators' laptops, macOS too: keep it to bash 3.2.
set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
# shellcheck source=scripts/lib/children.sh
source "$ROOT/scripts/lib/children.sh"
# shellcheck source=scripts/lib/operator.sh
source "$ROOT/scripts/lib/operator.sh"
# shellcheck source=scripts/lib/remote.sh
source "$ROOT/scripts/lib/remote.sh"

main() {
  local server runner bucket name
  parse_options "$@"
  [[ -z $FOLLOW ]] || bad_usage "--follow: there is nothing to follow; ask again"
  open_account
  server=$(host_instance server)
  runner=$(host_instance runner)
  bucket=$(need_output BackupBucketName '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]')
  name=$(need_output LoadBalancerDnsName '[A-Za-z0-9.-]+')
  if [[ -n $DRY_RUN ]]; then
    print_commands "$server" "$runner" "$bucket"
    return
  fi

  agents_command "$server" "$runner"
  look agents
  backups_command "$bucket"
  look backups
  balancers_command
  look balancers
  look_at_targets "$name"
  log "asking the server, which may take a minute"
  # A process of its own, which may end without ending this one.
  if ! run_child quietly run_operation server status; then
    tail -n 1 "$WORK/said" | sed 's/^[^ ]* //; s/^error: //' >"$WORK/server.error"
  fi
  program table "$server" "$runner"
}

# quietly COMMAND… keeps what it says.
quietly() { "$@" >"$WORK/said" 2>&1; }

# The commands, each put into CMD: --dry-run prints the same ones.

agents_command() { aws_command ssm describe-instance-information --filters "Key=InstanceIds,Values=$1,$2" --output json; }

# A backup is complete when it has a manifest.
backups_command() {
  aws_command s3api list-objects-v2 --bucket "$1" --prefix backups/ \
    --query "Contents[?ends_with(Key, '/manifest.json')].Key" --output json
}

balancers_command() {
  aws_command elbv2 describe-load-balancers --query 'LoadBalancers[].[DNSName, LoadBalancerArn]' --output json
}

groups_command() {
  aws_command elbv2 describe-target-groups --load-balancer-arn "$1" --query 'TargetGroups[].TargetGroupArn' --output json
}

health_command() { aws_command elbv2 describe-target-health --target-group-arn "$1" --output json; }

look_at_targets() {
  local arn
  arn=$(program balancer "$1")
  [[ -n $arn ]] || return 0
  groups_command "$arn"
  look groups
  arn=$(program group)
  [[ -n $arn ]] || return 0
  health_command "$arn"
  look health
}

# look NAME keeps the answer as NAME.json, or why there is none as NAME.error.
look() {
  ask_into "$WORK/$1.json" || {
    rm -f "$WORK/$1.json"
    printf '%s\n' "$COMPLAINT" >"$WORK/$1.error"
  }
}

# program runs the part that needs more than a shell: see there.
program() {
  local step=$1
  shift
  node "$ROOT/scripts/ops.d/status.js" "$step" "$WORK" "$@"
}

print_commands() {
  agents_command "$1" "$2"
  print_command
  backups_command "$3"
  print_command
  balancers_command
  print_command
  echo "# for the one with the output LoadBalancerDnsName: aws elbv2 describe-target-groups and describe-target-health"
  run_operation server status
}

main "$@"
