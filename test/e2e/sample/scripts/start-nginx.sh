#!/usr/bin/env bash
# Hook ApplicationStart.
set -euo pipefail
systemctl enable nginx
systemctl restart nginx
