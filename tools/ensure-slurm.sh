#!/bin/sh
# Tests of the Slurm executor start a private cluster of one node. Install Slurm where that can be done without a
# question and where no service would be started by it, as in a container; else say the one command and go on: those
# tests are skipped without it.
set -u

have_slurm() { PATH="$PATH:/usr/sbin" command -v slurmctld && PATH="$PATH:/usr/sbin" command -v munged; }

have_slurm >/dev/null && exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
can_be_root() { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }

if command -v apt-get >/dev/null 2>&1; then
    command="$as_root apt-get install -y --no-install-recommends slurm-wlm munge"
    if [ ! -d /run/systemd/system ] && can_be_root; then
        echo "Installing Slurm for tests of its executor: $command" >&2
        { DEBIAN_FRONTEND=noninteractive $command || { $as_root apt-get update && DEBIAN_FRONTEND=noninteractive $command; }; } >&2
    fi
else
    command="your system's package manager: install slurm and munge"
fi

have_slurm >/dev/null || echo "Tests of the Slurm executor need Slurm. Install it with: ${command# }. Until then they are skipped." >&2
exit 0
