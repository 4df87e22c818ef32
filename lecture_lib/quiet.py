"""No warnings of caches that cannot be written: what depends on one is made anew, and nothing is lost.

In a read-only home, on a full disk, or over a program that another notebook is writing, JAX would warn of
each program, and Matplotlib of its folder and fonts.
"""

import logging
import warnings

_OF_CACHES = ("mkdir -p failed", "Matplotlib created a temporary", "Matplotlib is building the font cache")


def install() -> None:
    """Pass over those messages, and no others; neither library is imported for it."""
    for name in ("matplotlib", "matplotlib.font_manager"):
        logging.getLogger(name).addFilter(_is_needed)
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)


def _is_needed(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_OF_CACHES)
