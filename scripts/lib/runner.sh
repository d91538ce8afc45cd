# The server's end of a GitLab Runner's registration. Source it
# after common.sh and host.sh, do not run it. Keep it to bash 4.2, like common.sh.
# shellcheck shell=bash

# check_runner_name VALUE takes what may stand in TOML, Ruby and SQL.
check_runner_name() {
  check_argument --name "$1" '[A-Za-z0-9][A-Za-z0-9._-]{0,62}' 'a name of letters, digits and . _ -'
}

# check_token_parameter NAME REGION takes the SSM parameter that a token travels in.
check_token_parameter() {
  check_argument --parameter "$1" '/[A-Za-z0-9/._-]+' 'the name of an SSM parameter, from /'
  check_argument --region "$2" '[a-z]{2}(-[a-z]+)+-[0-9]' 'a region such as ap-northeast-1'
}

check_job_tags() {
  check_argument --tags "$1" '([A-Za-z0-9][A-Za-z0-9._-]*(,[A-Za-z0-9][A-Za-z0-9._-]*)*)?' 'tags of letters, digits and . _ -, with commas between them'
}
