#!/bin/sh
# Tests open the HTML report in Chromium. Install Debian's where that can be done without a question; else say the one
# command and go on: those tests are skipped without it.
set -u

have_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

have_chromium >/dev/null && exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
can_be_root() { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }

if command -v apt-get >/dev/null 2>&1 && { [ ! -r /etc/os-release ] || ! grep -q '^ID=ubuntu' /etc/os-release; }; then
    command="$as_root apt-get install -y --no-install-recommends chromium"
    if can_be_root; then
        echo "Installing Chromium for tests of the HTML report: $command" >&2
        { DEBIAN_FRONTEND=noninteractive $command || { $as_root apt-get update && DEBIAN_FRONTEND=noninteractive $command; }; } >&2
    fi
elif command -v dnf >/dev/null 2>&1; then
    command="$as_root dnf install -y chromium"
    can_be_root && $command >&2
else
    command="your system's package manager: install chromium or google-chrome"
fi

have_chromium >/dev/null || echo "Tests of the HTML report need Chromium. Install it with: ${command# }. Until then they are skipped." >&2
exit 0
