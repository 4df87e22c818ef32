"""What a student reads under a NameError: most often a cell above has not been run in this kernel."""

import sys
from typing import Any


def install() -> None:
    """Let the notebook that this runs in explain a NameError; elsewhere nothing happens.

    What is imported before any notebook stays out: IPython is asked for only where it already runs. After a
    restart nothing of this package is there, so the very first cell out of order gets Python's own message.
    """
    if "IPython" not in sys.modules:
        return
    shell = getattr(sys.modules["IPython"], "get_ipython", lambda: None)()
    if shell is not None:
        shell.events.register("post_run_cell", _explain)


def _explain(result: Any) -> None:
    """Print the hint under the traceback, which stays as it is."""
    error = result.error_in_exec
    if type(error) is NameError:  # an UnboundLocalError is one, too, and no other cell mends it
        print(
            f"If a cell above makes {error.name!r}, it has not been run since the kernel started. "
            "Run > Run All Above Selected Cell does that; then run this cell again."
        )
