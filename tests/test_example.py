"""The example: what it trains, prints and draws, on a network that is shallow."""

import math
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "deep_network.py"
for name in ("optax", "sklearn", "matplotlib"):
    pytest.importorskip(name)

import deep_network  # noqa: E402

# So shallow that He's initialization learns in a moment.
study = partial(deep_network.study, depth=3, width=64, steps=150)


@pytest.fixture(scope="module")
def results():
    return {result.name: result for result in study()}


def result(**changes):
    plain = deep_network.Result("He", 0.1, 0.1, [1.0, 1.0], [0.02, 0.01], 0.3, 0.9)
    return replace(plain, **changes)


def test_every_initializer_has_a_result_in_order(results):
    assert list(results) == list(deep_network.CASES)


def test_the_sample_has_the_std_of_the_formula(results):
    # 64² draws: a standard error of at most 1.1 %, and five of them allowed.
    for result in results.values():
        assert result.measured_std == pytest.approx(result.expected_std, rel=0.055)
    he = results["He with gain"]
    assert he.expected_std == pytest.approx(math.sqrt(2 / 64))


def test_a_shallow_network_learns_from_he(results):
    he = results["He with gain"]

    assert he.outcome == "learned"
    assert len(he.activations) == len(he.gradients) == 3


def test_the_study_compiles_once():
    deep_network._run.clear_cache()
    list(study(steps=1))

    assert deep_network._run._cache_size() == 1


def test_the_tables_columns_stay_aligned_whatever_the_scale():
    wide = result(name="orthogonal with gain", activations=[1.3e-27] * 2, loss=2.5e27)
    lines = deep_network.table([wide, result(loss=math.nan)]).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split()[-2:] == ["nan", "diverged"]


def test_the_conclusion_follows_the_results():
    he = result()
    others = [result(name="A", accuracy=0.1), result(name="B", loss=math.inf)]
    sentence = deep_network.conclusion([he, *others])

    assert "He learned (0.02); A did not learn (0.02); B diverged (0.02)" in sentence
    assert "A and He learned (0.02 to 3)" in deep_network.conclusion(
        [result(name="A", gradients=[3.0, 1.0]), he]
    )


def test_it_prints_the_table_and_where_the_picture_is(
    results, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deep_network, "study", results.values)
    deep_network.main([])
    deep_network.main(["--plot", "by depth.svg"])
    out, err = capsys.readouterr()

    assert all(name in out and name in err for name in deep_network.CASES)
    assert out.endswith("by depth.svg\n")
    assert Path("deep_network.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path("by depth.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["picture.txt", "nowhere/picture.png"])
def test_a_picture_that_cannot_be_written_is_refused_before_the_work(
    path, monkeypatch, capsys
):
    monkeypatch.setattr(deep_network, "study", None)
    with pytest.raises(SystemExit):
        deep_network.main(["--plot", path])

    assert f"in a folder that exists, got {path}" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["sklearn", "optax", "matplotlib"])
def test_a_missing_package_is_named_with_its_remedy(missing):
    code = (
        f"import sys, runpy; sys.modules[{missing!r}] = None;"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert run.returncode == 1
    assert run.stderr == (
        f"deep_network.py needs {missing}: pip install -e '.[examples]'\n"
    )
