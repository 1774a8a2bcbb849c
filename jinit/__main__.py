"""The command line: it parses, calls the library and prints.

A subcommand is a function that takes the parsed options and returns the exit status,
and a paragraph of `_parser` that names it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jinit
from jinit._activations import check_activation


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      arguments: The arguments after the program's name; by default the process's.

    Returns:
      The exit status: 0, 1 where the result could not be written, 2 where the command
      cannot run. Arguments that do not parse exit with 2.
    """
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jinit", description="Initializers for JAX.")
    parser.add_argument("--version", action="version", version=jinit.__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo", help="train one deep network from six initializations, and compare"
    )
    demo.add_argument(
        "--plot",
        type=_picture,
        default=Path("jinit-demo.png"),
        metavar="PATH",
        help="where to write the picture (%(default)s); .png, .svg or .pdf",
    )
    demo.set_defaults(run=_demo)

    gain = commands.add_parser(
        "gain", help="print the gains of an activation, and what they do in depth"
    )
    which = gain.add_mutually_exclusive_group(required=True)
    which.add_argument("activation", nargs="?", help="its name, such as gelu")
    which.add_argument(
        "--table", action="store_true", help="print all that have a name"
    )
    gain.add_argument(
        "parameter", nargs="?", type=float, help="such as the slope of leaky_relu"
    )
    gain.set_defaults(run=_gain)

    return parser


def _demo(options: argparse.Namespace) -> int:
    try:
        from jinit._demo import conclusion, draw, study, table
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in ("sklearn", "optax"):
            raise
        return _fail(
            "jinit demo needs scikit-learn and optax: pip install 'jinit[demo]'", 2
        )
    _progress("jinit demo: compiling, then training on scikit-learn's digits ...")
    results = []
    for result in study():
        _progress(f"  {result.name}: {result.outcome}")
        results.append(result)
    print(table(results), conclusion(results), sep="\n\n")
    try:
        draw(results, options.plot)
    except ImportError:
        print("To see it drawn as well: pip install 'jinit[plots]'")
    except OSError as error:
        return _fail(f"jinit demo could not write the picture: {error}", 1)
    else:
        print(f"The picture: {options.plot}")
    return 0


def _gain(options: argparse.Namespace) -> int:
    from jinit._gain_report import report, table

    if options.table:
        for line in table():
            print(line, flush=True)
        return 0
    named = [options.activation]
    if options.parameter is not None:
        named.append(options.parameter)
    try:
        print(report(check_activation("activation", named)))
    except ValueError as error:
        return _fail(f"jinit gain: {error}", 2)
    return 0


def _picture(text: str) -> Path:
    """Checks where a picture is to go, before the work that it takes to draw it."""
    path = Path(text)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a picture; end it in .png, .svg or .pdf"
        )
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {str(path.parent)!r}")
    return path


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
