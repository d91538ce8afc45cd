#!/usr/bin/env bash
#/ Usage: scripts/ops check --env NAME [--profile PROFILE] [OPTIONS]
#/
#/ Says whether Session Manager reaches the server and the runner, and if not, why.
#/
#/ It looks at all that stands between this machine and a shell there: the AWS
#/ CLI's plug-in, the instances, their roles, the VPC's endpoints, and the SSM
#/ Agent on each host. It changes nothing.
#/
#/ OPTIONS:
#/   --env NAME         Environment: config/NAME.yaml.
#/   --profile PROFILE  AWS profile of GitLab's account (gitlab.account). Default:
#/                      the credentials that the AWS CLI finds by itself.
#/   --dry-run          Print the commands, and call nothing in AWS.
#/   --yes              Accepted as everywhere; nothing is asked here.
#/   -h, --help         Show this message.
#/
#/ Prints a table on stdout: WHERE, WHAT, STATE (ok, wrong, or unknown when AWS
#/ does not say), and what was found.
#/ Exit status: 0 all is ok; 1 something is not, or is unknown; 2 wrong use,
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
  local server runner vpc host profile role
  parse_options "$@"
  open_account
  server=$(host_instance server)
  runner=$(host_instance runner)
  vpc=$(need_output VpcId 'vpc-[0-9a-f]{8,17}')
  if [[ -n $DRY_RUN ]]; then
    print_commands "$server" "$runner" "$vpc"
    return
  fi

  command -v session-manager-plugin >"$WORK/plugin" || true
  agents_command "$server" "$runner"
  look agents
  instances_command "$server" "$runner"
  look instances
  endpoints_command "$vpc"
  look endpoints
  for host in "server $server" "runner $runner"; do
    profile=$(program profile "${host#* }")
    [[ -n $profile ]] || continue
    profile_command "$profile"
    look "profile-${host#* }"
    role=$(program role "${host#* }")
    [[ -n $role ]] || continue
    policies_command "$role"
    look "policies-${host#* }"
  done
  program table "$server" "$runner"
}

# The commands, each put into CMD: --dry-run prints the same ones.

agents_command() { aws_command ssm describe-instance-information --filters "Key=InstanceIds,Values=$1,$2" --output json; }

instances_command() { aws_command ec2 describe-instances --instance-ids "$1" "$2" --output json; }

endpoints_command() { aws_command ec2 describe-vpc-endpoints --filters "Name=vpc-id,Values=$1" --output json; }

profile_command() { aws_command iam get-instance-profile "--instance-profile-name=$1" --output json; }

policies_command() { aws_command iam list-attached-role-policies "--role-name=$1" --output json; }

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
  node "$ROOT/scripts/ops.d/check.js" "$step" "$WORK" "$@"
}

print_commands() {
  agents_command "$1" "$2"
  print_command
  instances_command "$1" "$2"
  print_command
  endpoints_command "$3"
  print_command
  echo "# for the instance profile of each: aws iam get-instance-profile, and aws iam list-attached-role-policies for its role"
}

main "$@"
