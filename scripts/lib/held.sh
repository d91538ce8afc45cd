# What hold-operations.sh and release-operations.sh share. Source it, do not run
# it. Keep it to bash 4.2, like common.sh.
# shellcheck shell=bash disable=SC2034 # the scripts use them

# The unit that holds the lock of operations. A restart of the host ends it and
# takes this file along.
HELD=${HELD:-/run/gitlab-codedeploy-security-updates}

# Longer than updates and restart take. Whatever becomes of these, operations
# may begin after that.
HOLD_SECONDS=${HOLD_SECONDS:-7200}

# The lock of installations, which State Manager runs whenever a script changed.
INSTALL_LOCK=${INSTALL_LOCK:-/run/gitlab-codedeploy-install.lock}
