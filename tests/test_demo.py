import math
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import jinit
from jinit import _demo
from jinit.__main__ import main

NAMES = [case.name for case in _demo.CASES]


# A network so shallow that He's initialization learns in a moment.
study = partial(_demo.study, depth=3, width=64)


@pytest.fixture(scope="module")
def results():
    return list(study(steps=150))


@pytest.fixture
def in_tmp(results, monkeypatch, tmp_path):
    """The command without its work, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_demo, "study", lambda: iter(results))
    return tmp_path


def result(**changes):
    plain = _demo.Result("He", 0.1, 0.1, [1.0, 1.0], [0.02, 0.01], 0.3, 0.9)
    return replace(plain, **changes)


def test_every_initializer_has_a_result_in_order(results):
    assert [result.name for result in results] == NAMES


def test_the_sample_has_the_std_of_the_formula(results):
    # 64² draws: a standard error of at most 1.1 %, and five of them allowed.
    for result in results:
        assert result.measured_std == pytest.approx(result.expected_std, rel=0.055)


def test_he_is_expected_at_the_square_root_of_two_over_the_width(results):
    by_name = {result.name: result for result in results}
    assert by_name["He with gain"].expected_std == math.sqrt(2 / 64)


def test_every_layer_is_measured(results):
    for result in results:
        assert len(result.activations) == len(result.gradients) == 3


def test_a_shallow_network_learns_from_he(results):
    by_name = {result.name: result for result in results}
    assert by_name["He with gain"].outcome == "learned"


def test_the_study_compiles_once_and_a_seed_repeats_it():
    _demo._train.clear_cache()
    first, again, other = (list(study(steps=1, seed=seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert _demo._train._cache_size() == 1


def test_torchs_default_has_biases_and_the_others_have_none():
    torchs, *others = _demo.CASES
    assert torchs.bias_init(64) == jinit.kaiming_uniform(a=math.sqrt(5), fan_in=64)
    assert all(case.bias_init(64) == jinit.zeros() for case in others)


def test_rms_holds_numbers_that_have_no_float32_square():
    assert _demo._rms(np.full(3, 1e30, np.float32)) == pytest.approx(1e30)
    assert _demo._rms(np.full(3, 1e-30, np.float32)) == pytest.approx(1e-30)


def test_the_table_has_a_line_for_every_initializer(results):
    lines = _demo.table(results).splitlines()[2:]
    assert len(lines) == len(NAMES)
    assert all(map(str.startswith, lines, NAMES))


def test_the_tables_columns_stay_aligned_whatever_the_scale():
    wide = result(name="orthogonal with gain", activations=[1.3e-27] * 2, loss=2.5e27)
    lines = _demo.table([wide, result(loss=math.nan)]).splitlines()
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_shown_as_it_is(loss):
    line = _demo.table([result(loss=loss)]).splitlines()[-1]
    assert line.split()[-2:] == [str(loss), "diverged"]


def test_the_conclusion_follows_the_results():
    he = result()
    others = [result(name="A", accuracy=0.1), result(name="B", loss=math.nan)]
    sentence = _demo.conclusion([he, *others])
    assert "He learned (0.02); A did not learn (0.02); B diverged (0.02)" in sentence
    assert "A and He learned (0.02 to 3)" in _demo.conclusion(
        [result(name="A", gradients=[3.0, 1.0]), he]
    )


def test_the_command_prints_the_table_and_where_the_picture_is(in_tmp, capsys):
    pytest.importorskip("matplotlib")
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert all(name in out and name in err for name in NAMES)
    assert out.endswith("jinit-demo.png\n")
    assert (in_tmp / "jinit-demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_goes_where_it_is_asked_to(in_tmp):
    pytest.importorskip("matplotlib")
    assert main(["demo", "--plot", "by depth.svg"]) == 0
    assert "<svg" in (in_tmp / "by depth.svg").read_text(encoding="utf-8")


def test_without_matplotlib_the_command_says_what_would_draw(
    in_tmp, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["demo"]) == 0
    assert "pip install 'jinit[plots]'" in capsys.readouterr().out
    assert not list(in_tmp.iterdir())


def test_a_picture_that_cannot_be_written_is_an_error_of_one_line(in_tmp, capsys):
    pytest.importorskip("matplotlib")
    (in_tmp / "taken.png").mkdir()
    assert main(["demo", "--plot", "taken.png"]) == 1
    out, err = capsys.readouterr()
    assert NAMES[-1] in out
    assert "could not write the picture" in err.splitlines()[-1]


@pytest.mark.parametrize("extra", ["sklearn.datasets", "optax"])
def test_a_missing_extra_is_named_with_its_remedy(extra, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "jinit._demo")
    monkeypatch.setitem(sys.modules, extra, None)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == (
        "jinit demo needs scikit-learn and optax: pip install 'jinit[demo]'\n"
    )


def test_another_missing_module_is_not_hidden(monkeypatch):
    monkeypatch.delitem(sys.modules, "jinit._demo")
    monkeypatch.setitem(sys.modules, "flax.linen", None)
    with pytest.raises(ModuleNotFoundError, match=r"flax\.linen"):
        main(["demo"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["demo", "--plot", "picture.txt"], "end it in .png, .svg or .pdf"),
        (["demo", "--plot", "nowhere/picture.png"], "no directory 'nowhere'"),
    ],
)
def test_arguments_that_do_not_parse_exit_with_two(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"{jinit.__version__}\n"


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
