"""`tissuegraph`: its commands, and what becomes of a failure."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError

import tissuegraph
from tissuegraph import trace
from tissuegraph.cli import failures
from tissuegraph.cli.logs import configure_logs
from tissuegraph.memory import hold_little

app = App(
    name="tissuegraph",
    help="Graph attention networks for spatial omics: from molecules to cells to tissue.",
    version=lambda: tissuegraph.__version__,
    default_parameter=Parameter(negative=()),
)
simulate = App(name="simulate", help="Make input whose truth is known.", sort_key=1)
app.command(simulate)

# One line a command; each is imported when it is asked for.
LOADER = "tissuegraph.cli.commands"
simulate.command(f"{LOADER}:tissue", help="Simulate tissue as a Xenium bundle, with its truth.")
simulate.command(f"{LOADER}:grown_tissue", help="Grow tissue that differs from the first in kind.")
simulate.command(
    f"{LOADER}:write_section", name="section", help="Simulate sections of cells or spots in known domains."
)
simulate.command(
    f"{LOADER}:write_omics", name="omics", help="Simulate cells of types that lie at known distances."
)
app.command(f"{LOADER}:segment", help="Find the cells of a slide.", sort_key=2)
app.command(
    f"{LOADER}:find_domains", name="domains", help="Find the tissue domains of a section.", sort_key=7
)
app.command(f"{LOADER}:embed_cells", name="embed", help="Embed cells along a graph.", sort_key=9)
app.command(f"{LOADER}:annotate_cells", name="annotate", help="Name the type of each cell.", sort_key=8)
app.command(f"{LOADER}:sweep_cells", name="sweep", help="Search the parameters of a model.", sort_key=11)
app.command(f"{LOADER}:cluster_cells_of", name="cluster", help="Find clusters of cells.", sort_key=10)
app.command(f"{LOADER}:evaluate", help="Judge segmentations side by side, beside simple rules.", sort_key=3)
app.command(f"{LOADER}:dataset", help="Cut training tiles out of a slide.", sort_key=4)
app.command(f"{LOADER}:train", help="Train a model on the tiles that dataset cut.", sort_key=5)
app.command(f"{LOADER}:predict", help="Find the cells of a slide with a trained model.", sort_key=6)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own, and return its exit status.

    0: done. 2: the user can mend it, and reads one sentence. 1: our fault, the traceback is in the log file
    that is named. 130: interrupted. 141: who read our output has gone.
    """
    configure_logs()
    if tokens is None:  # the process is ours
        trace.count_from_process_start()
        hold_little()
    tokens = list(sys.argv[1:] if tokens is None else tokens)
    arguments: dict[str, Any] = {}
    try:
        command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
        arguments = bound.arguments
        command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except (KeyboardInterrupt, BrokenPipeError) as error:
        return failures.leave(error)
    except SystemExit as error:  # Lightning and rich exit by themselves on either
        return failures.leave(error.__context__ or error)
    except CycloptsError as error:
        return _say(failures.USER_CAN_MEND, _usage(error))
    except Exception as error:
        sentence = failures.explain(error, arguments.get("out") or arguments.get("default_root_dir"))
        if sentence is not None:
            return _say(failures.USER_CAN_MEND, sentence)
        log = failures.write_log(error, tokens)
        kind = type(error).__name__
        return _say(failures.OUR_FAULT, f"{kind}: a fault of ours, please report it with {log}")
    return failures.DONE


def _usage(error: CycloptsError) -> str:
    """Return what is wrong with the words that were typed, and where the right ones stand."""
    command = " ".join(["tissuegraph", *(error.command_chain or ())])
    if isinstance(error, UnknownCommandError):  # its own message would import every command
        typed = (error.unused_tokens or [""])[0]
        names = [name for name in error.app or app if not name.startswith("-")]
        near = difflib.get_close_matches(typed, names, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
        return f"no command {typed!r}; {advice}"
    sentence = " ".join(str(error).split()).removesuffix(".")
    return f"{sentence}; see {command} --help"


def _say(status: int, sentence: str) -> int:
    print(f"tissuegraph: error: {sentence}", file=sys.stderr)
    return status
