#!/usr/bin/env bash
# Hook ValidateService: a failure here keeps the traffic on the blue instances.
set -euo pipefail
for _ in {1..10}; do
  curl -fsS --max-time 3 http://localhost/ | grep -q sample-web && exit
  sleep 1
done
echo "http://localhost/ does not serve sample-web" >&2
exit 1
