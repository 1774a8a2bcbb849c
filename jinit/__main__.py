"""The command line: it parses, calls the library and prints.

A subcommand is a function, named after it, that takes the parsed options and returns
the exit status, and a paragraph of `_parser`. A `ValueError` or `TypeError` is what the
user is told.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from jinit import __version__
from jinit._text import to_json
from jinit.gains._names import check_activation
from jinit.rules import RULES

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PATIENCE = 2.0  # seconds of work without a word


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    options = _parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
    except (ValueError, TypeError) as error:
        return _fail(f"jinit {options.command}: {error}", 2)
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # of the pipe or the disk that is printed to
        # What is left to be written would fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _fail(f"jinit {options.command}: {error}", 1)
        return 1
    return status


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: {line}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="jinit",
        description="Initializers for JAX.",
        epilog="Exit status: 0; 1 where an audit has findings or the result could not "
        "be written; 2 where the command cannot run.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )

    def command(run: Callable[..., int], **texts: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__[1:], **texts)
        added.add_argument("--json", action="store_true", help="print JSON")
        added.set_defaults(run=run)
        return added

    command(_list, help="list the initializers, by family")
    _show_options(command)
    _gain_options(command)
    _audit_options(command)
    _roles_options(command)
    return parser


_Command = Callable[..., argparse.ArgumentParser]


def _show_options(command: _Command) -> None:
    show = command(
        _show,
        help="show what an initializer draws: formula, numbers and a histogram",
        epilog="Example: jinit show \"xavier_uniform(gain='relu')\" --shape 512,256",
    )
    show.add_argument("initializer", help="the call that makes it, or its name")
    show.add_argument(
        "--shape", type=_shape, required=True, help="sizes, as 512,256; () is a scalar"
    )
    show.add_argument("--dtype", help="such as bfloat16 (JAX's default float dtype)")
    show.add_argument("--seed", type=int, default=0, help="of the key (%(default)s)")


def _gain_options(command: _Command) -> None:
    gain = command(_gain, help="print an activation's gains, and what they do in depth")
    which = gain.add_mutually_exclusive_group(required=True)
    which.add_argument("activation", nargs="?", help="its name, such as gelu")
    which.add_argument("--table", action="store_true", help="print all with a name")
    slope = "such as the slope of leaky_relu"
    gain.add_argument("parameter", nargs="?", type=float, help=slope)


def _audit_options(command: _Command) -> None:
    audit = command(
        _audit,
        help="check the parameters in a checkpoint against what they should be",
        description="Check the parameters in a checkpoint: an Orbax directory, or a "
        "file of safetensors (torch's state_dict too), .npz or flax.serialization. "
        "Nothing is unpickled.",
        epilog="Exit status: 0 where nothing is found, 1 where something is.",
    )
    audit.add_argument("checkpoint", type=Path, help="the file or directory")
    audit.add_argument(
        "--subtree",
        metavar="PATTERN",
        help="the part of it to check, such as params or 'agent/*/actor'",
    )
    meant = audit.add_mutually_exclusive_group()
    written = "what Plan.to_json wrote"
    meant.add_argument("--plan", type=Path, metavar="PLAN.json", help=written)
    meant.add_argument("--rules", choices=tuple(RULES), help="that it was drawn by")


def _roles_options(command: _Command) -> None:
    roles = command(
        _roles,
        help="read from the program what each parameter of a model is",
        epilog="Example: jinit roles my_models:small, where small() of my_models.py "
        "returns a model, its parameters or their shapes, and what it is called with.",
    )
    roles.add_argument("function", metavar="MODULE:FUNCTION", help="that returns these")
    which = "print the plan by a recipe, such as gpt2"
    roles.add_argument("--recipe", metavar="NAME", help=which)


def _list(options: argparse.Namespace) -> int:
    from jinit.cli._show import families

    groups = families()
    if options.json:
        entries = [asdict(entry) for group in groups.values() for entry in group]
        _print(to_json("list", initializers=entries))
        return 0
    width = max(len(entry.name) for group in groups.values() for entry in group)
    for family, group in groups.items():
        lines = [f"  {entry.name:<{width}}  {entry.summary}" for entry in group]
        _print("\n".join([family, *lines, ""]))
    _print("More of one: jinit show NAME --shape SHAPE")
    return 0


def _show(options: argparse.Namespace) -> int:
    from jinit.cli._show import parse, show

    init = parse(options.initializer)
    with _patience(f"drawing {init!r} ..."):
        shown = show(init, options.shape, options.dtype, options.seed)
    terminal = sys.stdout.isatty() and sys.stdout.encoding.lower() == "utf-8"
    _print(shown.to_json() if options.json else shown.text(blocks=terminal))
    return 0


def _gain(options: argparse.Namespace) -> int:
    from jinit.cli._gains import describe, names, report, table

    if options.table and options.json:
        _print(to_json("gain", activations=[*map(describe, names())]))
        return 0
    if options.table:
        for line in table():
            print(line, flush=True)
        return 0
    given = options.activation, options.parameter
    act = check_activation("activation", [part for part in given if part is not None])
    _print(to_json("gain", **describe(act)) if options.json else report(act))
    return 0


def _audit(options: argparse.Namespace) -> int:
    from jinit.audit._audit import audit
    from jinit.audit._checkpoints import read_checkpoint

    plan = options.rules if options.plan is None else _plan(options.plan)
    with _patience(f"reading {options.checkpoint} ..."):
        params = read_checkpoint(options.checkpoint)
    with _patience("measuring ..."):
        report = audit(params, plan, subtree=options.subtree)
    _print(report.to_json() if options.json else str(report))
    return report.exit_status


def _roles(options: argparse.Namespace) -> int:
    from jinit.cli._models import built
    from jinit.model._plan import plan
    from jinit.model._roles import roles
    from jinit.recipes import named

    with _patience(f"reading {options.function} ..."):
        model, params, *inputs = built(options.function)
        found = roles(model, params, *inputs)
    if options.recipe is not None:
        planned = plan(params, found.rules(named(options.recipe)()))
        _print(planned.to_json() if options.json else str(planned))
        return 0
    _print(found.to_json() if options.json else str(found))
    return 0


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.strip().removeprefix("(").removesuffix(")").removesuffix(",")
    try:
        return tuple(int(size) for size in sizes.split(",")) if sizes else ()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a shape; separate its sizes by commas, as in 512,256"
        ) from None


def _plan(path: Path) -> Any:
    from jinit.model._plan import Plan

    try:
        return Plan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"plan {str(path)!r} cannot be read: {error}") from error


@contextmanager
def _patience(line: str) -> Iterator[None]:
    """Says what is being done if it takes long."""
    say = partial(print, f"jinit: {line}", file=sys.stderr, flush=True)
    timer = threading.Timer(_PATIENCE, say, ())
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _print(text: str) -> None:
    """Prints, with a question mark for what the output lacks, or would obey."""
    text = _CONTROLS.sub("?", text)  # which a name in a checkpoint may hold
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def _fail(message: str, status: int) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
