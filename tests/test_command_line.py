"""The command line: what it prints, how it exits, and that errors take one line."""

import errno
import io
import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import jinit
from jinit import __main__ as command_line
from jinit.__main__ import main
from jinit.cli import _show


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """However slow the machine is, nothing is said of what takes long."""
    monkeypatch.setattr("jinit.__main__._PATIENCE", 1000.0)


def run(capsys, *arguments, status=0):
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert not err
    return out


def fails(capsys, *arguments):
    """The one line that a command which cannot run leaves behind."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    (line,) = err.splitlines()
    return line


# list and show


def test_list_has_a_line_for_every_initializer(capsys):
    lines = run(capsys, "list").splitlines()

    for group in _show.families().values():
        for each in group:
            (line,) = [line for line in lines if line.split()[:1] == [each.name]]
            assert line.endswith(each.summary)


def test_list_as_json_has_every_initializer(capsys):
    config = json.loads(run(capsys, "list", "--json"))
    listed = {each["name"]: each for each in config["initializers"]}

    assert list(config) == ["jinit_list", "initializers"]
    assert set(listed["normal"]) == {"name", "summary", "options"}
    assert {"name": "std", "default": 1.0} in listed["normal"]["options"]
    assert "torch.zero_row" in listed


def test_show_prints_a_page_in_ascii_where_there_is_no_terminal(capsys):
    out = run(capsys, "show", "he_normal", "--shape", "20,30")

    assert out.startswith("he_normal()\n")
    assert "#" in out
    assert "█" not in out


def test_show_draws_blocks_on_a_terminal(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    for encoding, character in (("utf-8", "█"), ("ascii", "#"), ("latin-1", "#")):
        terminal = Terminal(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(["show", "he_normal", "--shape", "20,30"]) == 0
        text = terminal.buffer.getvalue().decode(encoding)
        assert {"#", "█"} & set(text) == {character}


def test_show_as_json_is_one_object(capsys):
    arguments = ("--shape", "(20, 30)", "--dtype", "bfloat16", "--seed", "3", "--json")
    shown = json.loads(run(capsys, "show", "stack(normal(std=2))", *arguments))
    drawn = jinit.stack(jinit.normal(std=2.0))(jax.random.key(3), (20, 30), "bfloat16")

    assert shown["jinit_show"] == 1
    assert shown["initializer"] == "stack(normal(std=2.0))"
    assert shown["dtype"] == "bfloat16"
    assert shown["max"] == float(drawn.max())


@pytest.mark.parametrize(
    ("text", "shape"), [("3", [3]), ("3,", [3]), ("()", []), ("", []), ("2,0", [2, 0])]
)
def test_a_shape_is_sizes_between_commas(text, shape, capsys):
    shown = json.loads(run(capsys, "show", "ones", "--shape", text, "--json"))

    assert shown["shape"] == shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nomral", "--shape", "3"],
            "jinit show: there is no initializer 'nomral'; di",
        ),
        (["he_normal", "--shape", "3"], "jinit show: shape (3,) has no axis -2"),
        (["normal(", "--shape", "3"], "jinit show: an initializer must be given as"),
        (["normal", "--shape", "9999,9999"], "jinit show: shape must have at most"),
        (["normal", "--shape", "3", "--dtype", "int8"], "jinit show: normal() draws"),
        (["normal", "--shape", "3", "--dtype", "float6_e2m3fn"], "jinit show: dtype"),
    ],
)
def test_show_refuses_in_one_line(arguments, message, capsys):
    assert fails(capsys, "show", *arguments).startswith(message)


# audit


@pytest.fixture
def checkpoint(tmp_path):
    """A kernel that is He's, with a bias, and the plan that drew them."""
    tree = {
        "kernel": jax.ShapeDtypeStruct((256, 128), "float32"),
        "bias": jax.ShapeDtypeStruct((128,), "float32"),
    }
    plan = jinit.plan(tree, {"kernel": jinit.he_normal(), "bias": jinit.zeros()})
    np.savez(tmp_path / "good.npz", **plan.init(jax.random.key(0)))
    (tmp_path / "plan.json").write_text(plan.to_json())
    np.savez(tmp_path / "bad.npz", kernel=np.zeros((256, 128), "float32"))
    return tmp_path


def test_audit_of_what_is_as_planned_exits_with_zero(checkpoint, capsys):
    plan = f"--plan={checkpoint / 'plan.json'}"
    out = run(capsys, "audit", str(checkpoint / "good.npz"), plan)

    assert "kernel" in out
    assert "no findings" in out


def test_audit_of_what_is_not_exits_with_one(checkpoint, capsys):
    out = run(capsys, "audit", str(checkpoint / "bad.npz"), status=1)

    assert "dead" in out


def test_audit_against_rules_knows_what_was_drawn_by_others(checkpoint, capsys):
    path = str(checkpoint / "good.npz")

    assert "he_normal" not in run(capsys, "audit", path)
    assert "std" in run(capsys, "audit", path, "--rules", "flax", status=1)


def test_audit_as_json_is_the_reports(checkpoint, capsys):
    out = run(capsys, "audit", str(checkpoint / "bad.npz"), "--json", status=1)
    config = json.loads(out)

    assert config["jinit_audit"] == 1
    assert config["findings"][0]["path"] == "kernel"


def test_names_that_a_terminal_would_obey_are_printed_with_question_marks(
    tmp_path, capsys
):
    np.savez(tmp_path / "a.npz", **{"\x1b[31mred\x9b\x07": np.zeros((8, 8))})
    out = run(capsys, "audit", str(tmp_path / "a.npz"), status=1)

    assert "\n- ?[31mred??: dead: " in out


def test_audit_hands_the_arrays_and_the_plan_on(checkpoint, monkeypatch, capsys):
    given = []

    class Report:
        exit_status = 1

        def __str__(self):
            return "the table"

    def audit(params, plan=None, *, subtree=None):
        given.append((jax.tree.map(np.shape, params), plan, subtree))
        return Report()

    monkeypatch.setattr("jinit.audit._audit.audit", audit)
    path, plan = str(checkpoint / "good.npz"), checkpoint / "plan.json"

    assert run(capsys, "audit", path, status=1) == "the table\n"
    run(capsys, "audit", path, "--rules", "torch", status=1)
    run(capsys, "audit", path, "--plan", str(plan), status=1)
    run(capsys, "audit", path, "--subtree", "params", status=1)

    shapes = {"bias": (128,), "kernel": (256, 128)}
    read = jinit.Plan.from_json(plan.read_text())
    plans = [(None, None), ("torch", None), (read, None), (None, "params")]
    assert given == [(shapes, *each) for each in plans]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "jinit audit: path 'nowhere' cannot be opened: "),
        (["."], "jinit audit: path '.' cannot be read as a folder of safetensors or a"),
        (["notes.txt"], "jinit audit: path 'notes.txt' must be an Orbax directory or"),
        (["good.npz", "--plan", "nowhere"], "jinit audit: plan 'nowhere' cannot be re"),
        (["good.npz", "--plan", "good.npz"], "jinit audit: plan 'good.npz' cannot be"),
        (["good.npz", "--plan", "notes.txt"], "jinit audit: plan 'notes.txt' cannot b"),
    ],
)
def test_audit_refuses_in_one_line(arguments, message, checkpoint, monkeypatch, capsys):
    monkeypatch.chdir(checkpoint)
    (checkpoint / "notes.txt").write_text("Notes.\n\nAnd more.")

    assert fails(capsys, "audit", *arguments).startswith(message)


def test_what_takes_long_says_so_on_stderr(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(command_line, "_PATIENCE", 0.0)
    monkeypatch.setattr(command_line.threading, "Timer", Immediate)

    assert main(["audit", str(checkpoint / "good.npz")]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"jinit: reading {checkpoint / 'good.npz'} ...",
        "jinit: measuring ...",
    ]


class Immediate:
    """A timer that does not wait."""

    def __init__(self, seconds, function, args):
        assert seconds == 0.0
        self.start = lambda: function(*args)

    def cancel(self):
        pass


# How it ends


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "normal"], "required: --shape"),
        (["show", "normal", "--shape", "3x4"], "separate its sizes by commas"),
        (["show", "normal", "--shape", "3,,4"], "separate its sizes by commas"),
        (["show", "normal", "--shape", "3", "--seed", "a"], "invalid int value"),
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["audit"], "required: checkpoint"),
        (["audit", "a", "--rules", "keras"], "invalid choice: 'keras'"),
        (["audit", "a", "--rules", "flax", "--plan", "b"], "not allowed with"),
    ],
)
def test_arguments_that_do_not_parse_exit_with_two(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["", "list", "show", "gain", "audit"])
def test_every_command_has_help_that_fits_a_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit:
        main([*command.split(), "--help"])
    out = capsys.readouterr().out

    assert exit.value.code == 0
    assert out.startswith(f"usage: jinit {command}".rstrip())
    assert max(map(len, out.splitlines())) <= 80


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"{jinit.__version__}\n"


@pytest.mark.slow
def test_the_package_runs_as_a_module_without_the_extras():
    code = (
        "import sys; sys.modules.update(optax=None, sklearn=None, matplotlib=None);"
        "from jinit.__main__ import main; main(['--version'])"
    )
    for command in (["-m", "jinit", "--version"], ["-c", code]):
        run = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=True
        )
        assert run.stdout == f"{jinit.__version__}\n"


def interrupt(*args):
    raise KeyboardInterrupt


def test_an_interrupt_exits_with_130_and_says_nothing(monkeypatch, capsys):
    monkeypatch.setattr(_show, "families", interrupt)

    assert main(["list"]) == 130
    assert capsys.readouterr() == ("", "")


def test_an_error_of_several_lines_is_printed_as_one(monkeypatch, capsys):
    def refuse():
        raise ValueError("first\n  second")

    monkeypatch.setattr(_show, "families", refuse)

    assert fails(capsys, "list") == "jinit list: first second"


def test_another_error_is_not_hidden(monkeypatch):
    monkeypatch.setattr(_show, "families", lambda: {}["bug"])
    with pytest.raises(KeyError, match="bug"):
        main(["list"])


def process(*arguments, **options):
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "jinit", *arguments],
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        **options,
    )


def test_a_closed_pipe_ends_it_without_a_word():
    reading, writing = os.pipe()
    os.close(reading)
    with process("list", stdout=writing) as run:
        os.close(writing)
        assert run.communicate()[1] == ""
    assert run.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
def test_a_full_disk_is_an_error_of_one_line():
    with open("/dev/full", "w") as full, process("list", stdout=full) as run:
        error = run.communicate()[1]
    assert error == f"jinit list: [Errno {errno.ENOSPC}] No space left on device\n"
    assert run.returncode == 1


@pytest.fixture
def interruptible():
    """What runs in the background of a shell ignores the signal, as do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_while_it_works_leaves_no_traceback():
    with process("gain", "--table", stdout=subprocess.PIPE) as run:
        assert "forward" in run.stdout.readline()  # the heading: it has begun
        run.send_signal(signal.SIGINT)
        error = run.communicate()[1]
    assert run.returncode == 130
    assert "Traceback" not in error


def test_an_output_that_lacks_a_character_gets_a_question_mark(tmp_path):
    np.savez(tmp_path / "saved.npz", β=np.zeros(3, "float32"))
    arguments = ("audit", str(tmp_path / "saved.npz"))
    environment = {"PYTHONIOENCODING": "ascii"}
    with process(*arguments, stdout=subprocess.PIPE, env=environment) as run:
        out, error = run.communicate()
    assert out.splitlines()[1].startswith("? ")
    assert (run.returncode, error) == (0, "")


# roles


MODELS = """
import jax

def small():
    params = {"w": jax.ShapeDtypeStruct((8, 4), "float32")}
    return lambda p, x: x @ p["w"], params, jax.ShapeDtypeStruct((2, 8), "float32")

def fails():
    raise KeyError("no such file")

def less():
    return 1
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "models_of_a_user.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    yield "models_of_a_user"
    sys.modules.pop("models_of_a_user", None)


def test_roles_prints_the_table_of_a_model(models, capsys):
    assert run(capsys, "roles", f"{models}:small").split()[-7:] == [
        *("4)", "contraction", "in", "out", "8,", "4", "1"),
    ]
    config = json.loads(run(capsys, "roles", f"{models}:small", "--json"))
    assert config["roles"][0]["path"] == "w"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small", "given as module:function, got 'small'"),
        ("no_such_module:small", "raised ModuleNotFoundError"),
        ("models_of_a_user:fails", "raised KeyError: 'no such file'"),
        ("models_of_a_user:less", "must return a model, its parameters"),
    ],
)
def test_a_model_that_cannot_be_built_is_told_so(models, name, message, capsys):
    assert message in fails(capsys, "roles", name)
