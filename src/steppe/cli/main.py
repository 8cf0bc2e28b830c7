"""The commands, and what the shell is told."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError

from steppe._version import __version__
from steppe.core import InputError, KindError, SteppeError

from .check import check
from .cite import cite
from .compress import compress
from .diff import diff
from .doctor import doctor
from .export import export
from .judge import judge
from .list import list_studies
from .measure import measure
from .output import EXIT_CODES, INTERRUPTED, MISUSE, UNUSABLE, complain
from .rates import rates
from .run import run
from .shatter import shatter
from .show import show
from .verify import verify

_COMMANDS: dict[str, Callable[..., int]] = {
    "list": list_studies,
    "show": show,
    "run": run,
    "judge": judge,
    "diff": diff,
    "export": export,
    "measure": measure,
    "compress": compress,
    "shatter": shatter,
    "check": check,
    "verify": verify,
    "rates": rates,
    "cite": cite,
    "doctor": doctor,
}


def application() -> App:
    """The commands as one application."""
    app = App(
        name="steppe",
        help="How flat is the minimum, how small is the function-space norm, and what do they buy in generalization?",
        help_epilogue=EXIT_CODES,
        version=__version__,
        version_flags=["--version"],
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for position, (name, command) in enumerate(_COMMANDS.items()):
        app.command(command, name=name, sort_key=position)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code; no error of the library leaves as a traceback.

    Args:
        arguments: The words after `steppe`; those of the process if None.

    Returns:
        0 done, 1 a theorem claim fails, 2 misuse, 3 inconclusive (diff: something else differs), 4 a cell crashed
        without a valid row, 5 the folder or a computation failed, 130 interrupted.
    """
    try:
        code = application()(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except CycloptsError as error:
        complain(f"{error}\nsteppe --help lists the commands, steppe COMMAND --help its options.")
        return MISUSE
    except (InputError, KindError) as error:
        complain(str(error))
        return MISUSE
    except SteppeError as error:
        complain(str(error))
        return UNUSABLE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # `steppe list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        complain(f"{error}; check the path and its permissions")
        return UNUSABLE
    except Exception:
        traceback.print_exc()
        complain("this is a mistake in steppe, not in what you typed; please report it with the lines above")
        return UNUSABLE
    return code if isinstance(code, int) else 0
