#!/usr/bin/env bash
#/ Usage: issue-runner-token.sh --action <issue|online> --name <runner>
#/            --parameter <name> --key <id> --region <region> [--tags <a,b>]
#/
#/ issue puts what a runner registers with into an SSM parameter, which only
#/ the runner's host can decrypt: until 15.11 the registration token of
#/ the instance, from 16.0 on the authentication token of a runner that is made
#/ for it. online says whether GitLab has heard from the runner of that name
#/ lately. Run it as root on the server.
#/
#/ OPTIONS:
#/   --action <…>        issue or online.
#/   --name <runner>     The runner's description in GitLab.
#/   --parameter <name>  SSM parameter, for issue.
#/   --key <id>          KMS key of the parameter: its ARN, for issue.
#/   --region <region>   AWS region of both, for issue.
#/   --tags <a,b>        Tags of the runner, from 16.0 on; without any it takes
#/                       untagged jobs.
#/   -h, --help          Show this message.
#/
#/ The result on stdout is one line of JSON: {"version", "token"} where token is
#/ the kind, "registration" or "authentication", never the token itself; for
#/ online {"runner", "online", "contactedSecondsAgo"}.
#/ Exit status: 0 done (online: it is), 1 failed (online: it is not), 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/runner.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/runner.sh"
# shellcheck source=scripts/lib/database.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/database.sh"

# Where the package says which version it is. For tests.
VERSION_MANIFEST=${VERSION_MANIFEST:-/opt/gitlab/version-manifest.txt}

# GitLab itself calls a runner offline after an hour, later versions after two:
# it writes the contact down every 40 to 55 minutes only.
# https://gitlab.com/gitlab-org/gitlab/-/blob/master/app/models/ci/runner.rb
ONLINE_SECONDS=3600

main() {
  refuse_trace
  parse_arguments "$@"
  check_host
  if [[ $ACTION == online ]]; then
    report_online
  else
    exclusive register-runner
    read_version
    read_token
    put_token
    printf '{"version": "%s", "token": "%s"}\n' "$VERSION" "$KIND"
  fi
}

parse_arguments() {
  ACTION='' NAME='' PARAMETER='' KEY='' REGION='' TAGS=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --action) ACTION=${2-} ;;
      --name) NAME=${2-} ;;
      --parameter) PARAMETER=${2-} ;;
      --key) KEY=${2-} ;;
      --region) REGION=${2-} ;;
      --tags) TAGS=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_argument --action "$ACTION" 'issue|online' 'issue or online'
  check_runner_name "$NAME"
  [[ $ACTION == issue ]] || return 0
  check_token_parameter "$PARAMETER" "$REGION"
  check_argument --key "$KEY" 'arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key/[0-9a-f-]+|alias/[A-Za-z0-9/_-]+)' 'the ARN of a KMS key'
  check_job_tags "$TAGS"
}

check_host() {
  ((EUID == 0)) || die "run this as root"
  need timeout
  if [[ $ACTION == online ]]; then need gitlab-psql; else need aws flock gitlab-rails; fi
}

read_version() {
  VERSION=$(awk 'NR == 1 { print $2 }' "$VERSION_MANIFEST") || die "there is no GitLab on this host: $VERSION_MANIFEST cannot be read"
  VERSION=${VERSION%%-*}
  [[ $VERSION =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "$VERSION_MANIFEST names no version: '$VERSION'"
}

# read_token sets TOKEN, which leaves this process through a pipe only. The
# database has it encrypted, so that Rails has to be asked.
read_token() {
  local output
  # 15.10 and 15.11 know runners with a token of their own, switched off.
  # https://docs.gitlab.com/ci/runners/runners_scope/
  if version_at_least "$VERSION" 16.0.0; then
    KIND=authentication
    log "making a runner '$NAME' in GitLab $VERSION; starting Rails takes half a minute"
  else
    KIND=registration
    log "reading the registration token of GitLab $VERSION; starting Rails takes half a minute"
  fi
  output=$("${KIND}_program" | timeout 300 gitlab-rails runner -e production -) ||
    die "gitlab-rails runner failed (see the messages above): no token"
  # Rails may say something of its own on stdout.
  TOKEN=$(sed -n 's/^gitlab-codedeploy token: //p' <<<"$output")
  [[ $TOKEN =~ ^[A-Za-z0-9._=-]{8,255}$ ]] || die "gitlab-rails runner printed no token"
}

# registration_program prints Ruby that asks for the token, past the cache;
# without one GitLab makes it.
registration_program() {
  cat <<'END_OF_RUBY'
settings = ApplicationSetting.current_without_cache or abort 'GitLab has no settings in its database'
puts "gitlab-codedeploy token: #{settings.runners_registration_token}"
END_OF_RUBY
}

# authentication_program prints Ruby that makes a runner, or takes one of an
# earlier try that nobody has used. Its type was an argument at first.
authentication_program() {
  # The quotes in a variable: bash 4.2 reads them differently in a replacement.
  local tags='' between="', '"
  [[ -z $TAGS ]] || tags="'${TAGS//,/$between}'"
  cat <<END_OF_RUBY
name = '$NAME'
tags = [$tags]
admin = User.admins.active.order(:id).first or abort 'no active administrator'
runner = Ci::Runner.where(runner_type: :instance_type, registration_type: :authenticated_user,
  description: name, contacted_at: nil).order(:id).last
unless runner
  params = { runner_type: 'instance_type', description: name, tag_list: tags, run_untagged: tags.empty?, locked: false }
  service = Ci::Runners::CreateRunnerService
  arguments = { user: admin, params: params }
  arguments[:type] = 'instance_type' if service.instance_method(:initialize).parameters.include?([:keyreq, :type])
  answer = nil
  Gitlab::Auth::CurrentUserMode.bypass_session!(admin.id) { answer = service.new(**arguments).execute }
  abort "GitLab refuses to make a runner: #{Array(answer.message).join(', ')}" unless answer.success?
  runner = answer.payload[:runner]
end
puts "gitlab-codedeploy token: #{runner.token}"
END_OF_RUBY
}

# put_token hands the value over on stdin: arguments can be read by everybody
# on the host.
put_token() {
  log "putting the token into $PARAMETER, for the runner's host"
  printf '%s' "$TOKEN" | timeout 60 aws ssm put-parameter --region "$REGION" --name "$PARAMETER" --type SecureString \
    --key-id "$KEY" --overwrite --value file:///dev/fd/0 >/dev/null ||
    die "cannot put the token into $PARAMETER (see the messages above)"
}

report_online() {
  local ago
  ago=$(
    database <<END_OF_SQL
SELECT coalesce(min(extract(epoch FROM (now() AT TIME ZONE 'UTC') - contacted_at))::bigint, -1) FROM ci_runners WHERE description = '$NAME';
END_OF_SQL
  ) || die "GitLab's database does not answer: is PostgreSQL up (gitlab-ctl status postgresql)?"
  [[ $ago =~ ^-?[0-9]+$ ]] || die "GitLab's database answers '$ago' instead of a number of seconds"
  if ((ago >= 0 && ago < ONLINE_SECONDS)); then
    printf '{"runner": "%s", "online": true, "contactedSecondsAgo": %s}\n' "$NAME" "$ago"
    return
  fi
  printf '{"runner": "%s", "online": false, "contactedSecondsAgo": %s}\n' "$NAME" "$([[ $ago == -1 ]] && echo null || echo "$ago")"
  die "GitLab has not heard from a runner '$NAME' within $ONLINE_SECONDS s"
}

operate runner-token main "$@"
