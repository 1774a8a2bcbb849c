"""The house: which module imports which, as CONTRIBUTING.md has it."""

import ast
import functools
import inspect
import pathlib
import re

import jax
import pytest

import jinit

ROOT = pathlib.Path(jinit.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path
    for path in ROOT.rglob("*.py")
}


def imported(tree, typing):
    """The modules of jinit that code imports, in functions too."""
    for node in ast.iter_child_nodes(tree):
        guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if guard and not typing:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jinit"):
            for name in node.names:
                yield f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            yield from (n.name for n in node.names if n.name.startswith("jinit"))
        yield from imported(node, typing)


def module_of(name):
    """The module that a dotted name is, or is in."""
    for known in (name, f"{name}.__init__"):
        if known in MODULES:
            return known
    return module_of(name.rpartition(".")[0])


@functools.cache
def imports(module, typing=False):
    tree = ast.parse(MODULES[module].read_text())
    return {module_of(name) for name in imported(tree, typing)} - {module}


def floors():
    """The lines of the guide: the modules and folders of each, from the lowest."""
    guide = (ROOT.parent / "CONTRIBUTING.md").read_text()
    (house,) = re.findall(r"```text\n(_types.*?)```", guide, re.DOTALL)
    return [re.split(r"\s{3,}", line)[0].split() for line in house.splitlines()]


def place(module):
    """The name of a module in the guide: its folder, or itself."""
    name = module.removeprefix("jinit.")
    return name if "." not in name else f"{name.partition('.')[0]}/"


FLOOR = {name: number for number, names in enumerate(floors()) for name in names}


def test_the_guide_names_every_module():
    assert {place(module) for module in MODULES} - {"__init__"} == FLOOR.keys()


@pytest.mark.parametrize("typing", [False, True], ids=["runtime", "types"])
def test_no_import_runs_upward(typing):
    upward = [
        (module, other)
        for module in MODULES.keys() - {"jinit.__init__"}
        for other in imports(module, typing)
        if other != "jinit.__init__"
        and place(module) != place(other)
        and (FLOOR[place(module)] <= FLOOR[place(other)])
    ]
    # A base class is typed by what is made of it.
    assert upward == []


def test_only_the_command_line_imports_the_package_itself():
    whole = {m for m in MODULES if "jinit.__init__" in imports(m)}
    assert whole <= {"jinit.__main__"}


@functools.cache
def chain(module):
    """The longest chain of imports that begins at a module."""
    return [module, *max(map(chain, imports(module)), key=len, default=[])]


def test_the_longest_chain_of_imports_has_eight_modules():
    longest = max(map(chain, MODULES), key=len)
    assert len(longest) <= 8, longest


def test_from_the_call_to_the_bits_a_shape_passes_six_functions(monkeypatch):
    init, seen = jinit.kaiming_normal(nonlinearity="relu"), []

    def bits(*_):
        for frame in inspect.stack():
            home = frame.frame.f_globals.get("__name__", "")
            sizes = [v for v in frame.frame.f_locals.values() if type(v) is tuple]
            if home.startswith("jinit.") and (11, 13) in sizes:
                seen.append(frame.function)
        raise KeyboardInterrupt

    jax.clear_caches()  # another test may have traced this shape
    monkeypatch.setattr("jinit._bits.bits", bits)
    with pytest.raises(KeyboardInterrupt):
        init(jax.random.key(0), (11, 13))
    assert len([*dict.fromkeys(seen)]) + 1 <= 6, seen


def test_the_names_imported_at_first_use_are_those_that_types_name():
    tree = ast.parse(MODULES["jinit.__init__"].read_text())
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    typed = {
        alias.asname: "" if node.module == "jinit" else node.module
        for node in block.body
        for alias in node.names
    }
    assert typed == jinit._AT_FIRST_USE
