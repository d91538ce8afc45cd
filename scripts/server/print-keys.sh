#!/usr/bin/env bash
#/ Usage: print-keys.sh --external-url URL
#/
#/ Prints the public keys that GitLab on this server shows: those that it signs
#/ tokens with. It changes nothing, and no secret is among what it reads.
#/
#/ Prints a line for each address that has keys: the word keys, the path, and a
#/ JSON Web Key Set. Old versions of GitLab show the key of jobs at one of the two
#/ addresses only.
#/
#/ OPTIONS:
#/   --external-url URL  The address that users see.
#/   -h, --help          Show this message.
#/
#/ Exit status: 0 shown; 1 GitLab shows none; 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

main() {
  local url='' path found='' shown
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --external-url)
        url=${2-}
        shift "$(($# > 1 ? 2 : 1))"
        ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
  done
  [[ $url =~ ^https://[a-z0-9.-]+$ ]] || bad_usage "--external-url: want https://HOST, got '$url'"
  for path in /oauth/discovery/keys /-/jwks; do
    shown=$(curl --silent --fail --max-time 30 --max-filesize 20000 \
      --header "Host: ${url#https://}" --header 'X-Forwarded-Proto: https' --header 'X-Forwarded-Port: 443' \
      "http://localhost$path" | tr -d '\r\n') || shown=''
    [[ $shown == '{'* ]] || continue
    printf 'keys %s %s\n' "$path" "$shown"
    found=yes
  done
  [[ -n $found ]] || die "GitLab shows no keys at http://localhost, neither /oauth/discovery/keys nor /-/jwks: is it running (scripts/ops status)?"
}

main "$@"
