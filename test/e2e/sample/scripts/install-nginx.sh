#!/usr/bin/env bash
# Hook BeforeInstall: a fresh green instance has no web server yet.
set -euo pipefail
command -v nginx >/dev/null && exit
amazon-linux-extras install -y nginx1
