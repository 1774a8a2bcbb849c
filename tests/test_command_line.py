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
from jinit import _bench, _show, diagnostics
from jinit.__main__ import main
from jinit._bench import Case, Ratio, Timing

RNG = np.random.default_rng(0)


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


def test_list_as_json_is_one_list(capsys):
    listed = {each["name"]: each for each in json.loads(run(capsys, "list", "--json"))}

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

    assert json.loads(out)["findings"][0]["path"] == "kernel"


def test_audit_hands_the_arrays_and_the_plan_on(checkpoint, monkeypatch, capsys):
    given = []

    class Report:
        exit_status = 1

        def __str__(self):
            return "the table"

    def audit(params, plan=None):
        given.append((jax.tree.map(np.shape, params), plan))
        return Report()

    monkeypatch.setattr(diagnostics, "audit", audit)
    path, plan = str(checkpoint / "good.npz"), checkpoint / "plan.json"

    assert run(capsys, "audit", path, status=1) == "the table\n"
    run(capsys, "audit", path, "--rules", "torch", status=1)
    run(capsys, "audit", path, "--plan", str(plan), status=1)

    shapes = {"bias": (128,), "kernel": (256, 128)}
    read = jinit.Plan.from_json(plan.read_text())
    assert given == [(shapes, None), (shapes, "torch"), (shapes, read)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "jinit audit: path 'nowhere' cannot be opened: "),
        (["."], "jinit audit: path '.' cannot be read as an Orbax checkpoint: it has"),
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


# bench


def test_bench_has_a_row_for_six_initializers(capsys):
    assert main(["bench", "--size", "8", "--json"]) == 0
    out, err = capsys.readouterr()
    config = json.loads(out)

    assert config["shape"] == [8, 8]
    timings = {timing["name"]: timing for timing in config["timings"]}
    assert list(timings) == [
        *("uniform", "normal", "trunc_normal", "lecun_normal", "he_normal"),
        "orthogonal",
    ]
    assert timings["he_normal"]["dtype"] == "bfloat16"
    for name, timing in timings.items():
        ratio = timing["jax"]
        assert timing["milliseconds"] > 0
        assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
        assert name in err


def test_the_table_of_bench_lines_up(monkeypatch, capsys):
    timings = [
        Timing("normal", "float32", 1.234, Ratio(2.9, 3.0, 3.2), None, 11),
        Timing("trunc_normal", "bfloat16", 123.4, None, Ratio(12.9, 13.0, 13.2), 3),
    ]
    monkeypatch.setattr(_bench, "bench", lambda side: iter(timings))
    assert main(["bench", "--size", "64"]) == 0
    out, err = capsys.readouterr()
    *_, heading, normal, truncated = out.splitlines()

    assert err.splitlines()[1:] == ["  normal, float32", "  trunc_normal, bfloat16"]
    assert normal.split() == ["normal", "float32", "1.23", "3.0x", "(2.9-3.2)", "-"]
    assert normal.index("3.0x") == truncated.index("-") == heading.index("jax")
    assert normal.index("1.23") + 4 == truncated.index("123.40") + 6


def test_draws_take_turns_and_one_that_refuses_drops_out():
    turns = []

    def refuse():
        raise NotImplementedError

    draws = {
        "ours": lambda: turns.append("ours"),
        "torch": refuse,
        "jax": lambda: turns.append("jax"),
    }
    seconds = _bench.interleave(draws, rounds=3)

    assert turns == ["ours", "jax"] * 4  # the first time it compiles
    assert list(seconds) == ["ours", "jax"]
    assert list(map(len, seconds.values())) == [3, 3]


def test_three_rounds_are_made_whatever_they_take():
    seconds = _bench.interleave({"ours": dict}, rounds=9, budget=0.0)

    assert len(seconds["ours"]) == 3


def test_a_ratio_is_that_of_the_times_of_one_round():
    ours, theirs = RNG.uniform(1, 2, (2, 9))
    ratio = _bench.ratio({"ours": list(ours), "jax": list(theirs)}, "jax")

    expected = np.quantile(theirs / ours, [0.25, 0.5, 0.75], method="weibull")
    assert [ratio.low, ratio.median, ratio.high] == pytest.approx(expected)
    assert _bench.ratio({"ours": list(ours)}, "torch") is None


def test_torch_fills_a_tensor_of_its_own_where_it_is_installed():
    torch = pytest.importorskip("torch")
    case = Case(jinit.sparse(0.5), None, "sparse_", {"sparsity": 0.5})
    draws = _bench.contenders(case, 8, "float32")

    assert list(draws) == ["ours", "zeros", "torch"]
    assert ((draws["torch"]() == 0).sum(dim=0) == torch.full((8,), 4)).all()
    assert draws["zeros"]().shape == (8, 8)


def test_without_torch_its_column_is_empty(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    assert _bench.peer_torch() is None
    assert next(_bench.bench(8)).torch is None
    assert json.loads(_bench.to_json([], 8))["torch"] is None


# How it ends


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "normal"], "required: --shape"),
        (["show", "normal", "--shape", "3x4"], "separate its sizes by commas"),
        (["show", "normal", "--shape", "3,,4"], "separate its sizes by commas"),
        (["show", "normal", "--shape", "3", "--seed", "a"], "invalid int value"),
        (["bench", "--size", "0"], "a whole number from 1 to 8192"),
        (["bench", "--size", "8193"], "a whole number from 1 to 8192"),
        (["bench", "--size", "-1"], "a whole number from 1 to 8192"),
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


@pytest.mark.parametrize(
    "command", ["", "list", "show", "gain", "audit", "bench", "demo"]
)
def test_every_command_has_help_that_fits_a_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit:
        main([*command.split(), "--help"])
    out = capsys.readouterr().out

    assert exit.value.code == 0
    assert out.startswith(f"usage: jinit {command}".rstrip())
    assert max(map(len, out.splitlines())) <= 80


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


def test_a_signal_while_it_works_leaves_no_traceback():
    with process("bench", stdout=subprocess.PIPE) as run:
        assert "compiling" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        out, error = run.communicate()
    assert run.returncode == 130
    assert "Traceback" not in error
    assert not out


def test_an_output_that_lacks_a_character_gets_a_question_mark():
    arguments = ("show", "normal", "--shape", "3")
    environment = {"PYTHONIOENCODING": "ascii"}
    with process(*arguments, stdout=subprocess.PIPE, env=environment) as run:
        out, error = run.communicate()
    assert "W ~ N(mean, std?)" in out
    assert (run.returncode, error) == (0, "")
