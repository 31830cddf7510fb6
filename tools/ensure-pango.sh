#!/bin/sh
# WeasyPrint draws text with Pango, a library of the system. Install it where that can be done without a question;
# else say the one command and go on: the HTML report needs none.
set -u

have_pango() {
    "$1" - <<'PYTHON'
import ctypes.util, sys
sys.exit(not all(ctypes.util.find_library(name) for name in ("pango-1.0", "pangoft2-1.0", "harfbuzz-subset")))
PYTHON
}

python="${1:-python3}"
have_pango "$python" && exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
can_be_root() { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }

if command -v apt-get >/dev/null 2>&1; then
    packages="libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
    command="$as_root apt-get install -y --no-install-recommends $packages"
    if can_be_root; then
        echo "Installing Pango for the PDF report: $command" >&2
        { DEBIAN_FRONTEND=noninteractive $command || { $as_root apt-get update && DEBIAN_FRONTEND=noninteractive $command; }; } >&2
    fi
elif command -v dnf >/dev/null 2>&1; then
    command="$as_root dnf install -y pango"
    can_be_root && $command >&2
elif command -v brew >/dev/null 2>&1; then
    command="brew install pango"
    $command >&2
else
    command="your system's package manager: install pango"
fi

have_pango "$python" || echo "The PDF report needs Pango. Install it with: ${command# }. Until then the report is HTML alone." >&2
exit 0
