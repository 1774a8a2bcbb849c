"""Fresh processes, as those are of a person who has used what is measured before."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

BYTECODE = pathlib.Path(tempfile.gettempdir()) / "jinit-benchmarks-bytecode"


def python(*arguments: str) -> str:
    """What a process prints that has the bytecode of earlier ones, and no programs.

    Without bytecode, as where an environment forbids to write it, Python compiles the
    sources anew: most of an import. Of three processes or more, the first writes it,
    and the median of all has it.
    """
    environment = {
        **os.environ,
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "PYTHONPYCACHEPREFIX": str(BYTECODE),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *arguments]
    return subprocess.check_output(command, env=environment, text=True)
