"""The command line: `cxrobust run study.toml` and one command for each stage.

A command is a function in the module of its kind, which imports what it needs when it runs: `--help` loads no library.
"""

import errno
import sys
import traceback
from importlib import import_module

import typer

from cxrobust.cli.app import app, warn
from cxrobust.errors import CxrobustError, StudyError

__all__ = ["app", "main"]

for _kind in ("studies", "documents", "texts"):  # in the order of the help
    import_module(f"cxrobust.cli.{_kind}")

INTERRUPTED = 130
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]
"""Wrong usage, of the click that typer brings with it or depends on, by version."""


def main() -> None:
    """Run the command line and exit with 0 done, 1 data or run, 2 usage or study file, 130 interrupted."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    wanted = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(wanted or ["--help"], prog_name="cxrobust", standalone_mode=False)
    except CxrobustError as error:
        return _fail(str(error), error.exit_code, debug)
    except UsageError as error:
        return _fail(f"{error.format_message()} (see cxrobust --help)", StudyError.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        return _fail(f"{error.filename or 'the run'}: {error.strerror or error}: {_mend(error)}", 1, debug)
    if code == INTERRUPTED:
        return _fail("interrupted; what is done is kept, and the same command goes on", INTERRUPTED, debug)
    return int(code or 0)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    warn(" ".join(message.split()))
    return code


def _mend(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "make room and run again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "correct its permissions, or choose another place"
    return "correct the path and run again"
