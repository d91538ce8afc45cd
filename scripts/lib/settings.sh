# Our settings of GitLab: a file of their own, which gitlab.rb includes. A
# gitlab.rb that came from another server is then never edited. Source it after
# common.sh and host.sh, do not run it. Keep it to bash 4.2, like common.sh.
# shellcheck shell=bash disable=SC2034 # the scripts use them

SETTINGS=/etc/gitlab/gitlab-codedeploy.rb
MAIN_SETTINGS=/etc/gitlab/gitlab.rb
# What makes a file ours. Installed hosts have it: it never changes.
SETTINGS_HEADER='# Written by gitlab-codedeploy (install-gitlab.sh).'
INCLUDE_LINE="from_file '$SETTINGS'"

# check_external_url VALUE takes what may stand between quotes in Ruby.
check_external_url() {
  check_argument --external-url "$1" 'https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?' \
    'https:// and a host name, without port or path'
}

# settings_text URL prints our settings for that address.
settings_text() {
  cat <<END_OF_SETTINGS
$SETTINGS_HEADER
# Included at the end of gitlab.rb, so that these settings win.

# The owners of the files on the data volume, which may outlive this host: a new
# one has to give its users the same numbers. They are taken from where neither
# packages nor people take theirs.
# https://docs.gitlab.com/omnibus/settings/configuration/#specify-numeric-user-and-group-identifiers
user['uid'] = 880
user['gid'] = 880
web_server['uid'] = 881
web_server['gid'] = 881
redis['uid'] = 882
redis['gid'] = 882
postgresql['uid'] = 883
postgresql['gid'] = 883
registry['uid'] = 884
registry['gid'] = 884
prometheus['uid'] = 885
prometheus['gid'] = 885

external_url '$1'

# TLS ends at the load balancer, which talks to port 80. For an https
# external_url GitLab itself sets X-Forwarded-Proto and X-Forwarded-Ssl.
# https://docs.gitlab.com/omnibus/settings/ssl/#configure-a-reverse-proxy-or-load-balancer-ssl-termination
nginx['listen_port'] = 80
nginx['listen_https'] = false
letsencrypt['enable'] = false

# The client is the last address in X-Forwarded-For, which the load balancer
# adds; what stands before it is the client's own word. Only the load balancer
# can reach port 80, so its subnets need not be known here.
# https://docs.gitlab.com/omnibus/settings/nginx/#configure-gitlab-trusted-proxies-and-nginx-real_ip-module
nginx['real_ip_trusted_addresses'] = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10']
nginx['real_ip_header'] = 'X-Forwarded-For'
nginx['real_ip_recursive'] = 'off'
END_OF_SETTINGS
}

# includes_settings FILE is true when it has a line that includes ours.
includes_settings() {
  grep -Eq "^[[:space:]]*from_file[ (]+['\"]${SETTINGS}['\"]" "$1"
}

# address_in_use prints the address that the settings in force name: the last
# one wins, and ours come last.
address_in_use() {
  local file address='' found
  for file in "$MAIN_SETTINGS" "$SETTINGS"; do
    found=$(sed -n "s/^[[:space:]]*external_url[ (]*['\"]\([^'\"]*\)['\"].*/\1/p" "$file" 2>/dev/null | tail -n 1) || true
    address=${found:-$address}
  done
  printf '%s\n' "$address"
}

# answers_sign_in URL asks for the sign-in page as the load balancer does, and
# sets ANSWER to the HTTP status. 000 means no answer.
answers_sign_in() {
  local host=${1:-localhost}
  host=${host#*://}
  ANSWER=$(curl --silent --output /dev/null --max-time 30 --write-out '%{http_code}' \
    --header "Host: ${host%%[:/]*}" --header 'X-Forwarded-Proto: https' --header 'X-Forwarded-Port: 443' \
    http://localhost/users/sign_in) || true
  [[ $ANSWER == 200 ]]
}
