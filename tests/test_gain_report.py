"""`jinit gain`: what it prints, and what it refuses."""

import json
import math
import re

import pytest

import jinit
from jinit.__main__ import main
from jinit.cli import _gains
from jinit.gains._names import FUNCTIONS, GATES


def run(capsys, *arguments):
    assert main(["gain", *arguments]) == 0
    return capsys.readouterr().out


def numbers(out, label):
    (line,) = [line for line in out.splitlines() if line.startswith(label)]
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line)]


def column(out, heading):
    """A column of the table of variances, by layer."""
    names, *rows = re.split(r"\n(?= +layer)", out)[1].splitlines()
    place = re.split(r"\s{2,}", names.strip()).index(heading)
    return {int(row.split()[0]): float(row.split()[place]) for row in rows}


def test_the_three_gains_and_the_critical_point_are_printed(capsys):
    out = run(capsys, "gelu")
    assert numbers(out, "gain, forward") == [1.533530441196]
    assert numbers(out, "gain, centered") == [1.700926243363]
    assert numbers(out, "gain, backward") == [1.481114412708]
    assert numbers(out, "chi_1") == [1.072032]
    assert numbers(out, "critical point") == [1.983058, 0.172922]
    assert re.search(r"gain of torch +none", out)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("gelu", "unstable"), ("tanh", "stable"), ("relu", "marginal")],
)
def test_what_depth_does_is_said(name, verdict, capsys):
    assert re.search(rf"slope +\d\.\d+  {verdict}: ", run(capsys, name))


def test_the_variance_by_depth_is_that_of_the_map(capsys):
    by_layer = column(run(capsys, "gelu"), "1.1")
    q, step = 1.1, jinit.variance_map("gelu")
    for layer in range(101):
        if layer in by_layer:
            assert by_layer[layer] == pytest.approx(q, rel=1e-3)
        q = step(q)
    assert set(by_layer) == {0, 1, 2, 5, 10, 20, 40, 60, 100}


def test_torchs_gain_is_shown_with_what_it_does_where_it_is_another(capsys):
    out = run(capsys, "tanh")
    assert numbers(out, "gain of torch") == [1.666666666667]
    assert column(out, "1, torch")[100] == pytest.approx(1.178, abs=1e-3)
    out = run(capsys, "relu")
    assert numbers(out, "gain of torch") == [1.414213562373]
    assert "1, torch" not in out


def test_a_parameter_follows_the_name(capsys):
    out = run(capsys, "leaky_relu", "-0.2")
    assert numbers(out, "gain, forward") == [1.386750490563]
    assert numbers(out, "gain of torch") == [1.386750490563]


def test_a_variance_without_bound_is_printed_as_one(capsys):
    assert "> 1e+12" in run(capsys, "bilinear")


def test_no_critical_point_is_printed_as_none(capsys):
    assert re.search(r"critical point +none", run(capsys, "sigmoid"))


def test_the_table_has_a_line_for_every_name(monkeypatch, capsys):
    few = {name: FUNCTIONS[name] for name in ("relu", "selu")}
    monkeypatch.setattr(_gains, "FUNCTIONS", few)
    monkeypatch.setattr(_gains, "GATES", ["swiglu"])
    heading, relu, selu, swiglu = run(capsys, "--table").splitlines()
    assert heading.split()[:3] == ["forward", "centered", "backward"]
    assert relu.split() == [
        *("relu", "1.414214", "1.712859", "1.414214"),
        *("1.0000", "1.0000", "1.414214", "marginal"),
    ]
    assert selu.split()[-2:] == ["0.750000", "stable"]
    assert swiglu.split()[-2:] == ["-", "unstable"]
    assert len({line.index("  ", 14) for line in (relu, selu, swiglu)}) == 1


@pytest.mark.parametrize("name", [*FUNCTIONS, *GATES])
def test_every_name_has_three_gains(name):
    for mode in ("forward", "centered", "backward"):
        assert 0 < jinit.gain(name, mode) < math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["geluu"], "jinit gain: activation must be .*'geluu'; did you mean gelu"),
        (["relu", "3"], "jinit gain: activation: relu has no parameter"),
        (["elu", "nan"], "jinit gain: alpha must be finite"),
        (["elu", "0"], None),
    ],
)
def test_a_mistake_is_an_error_of_one_line(arguments, message, capsys):
    status = main(["gain", *arguments])
    out, err = capsys.readouterr()
    assert status == (0 if message is None else 2)
    if message:
        assert not out
        assert len(err.splitlines()) == 1
        assert re.match(message, err)


@pytest.mark.parametrize("arguments", [[], ["gelu", "--table"], ["elu", "x"]], ids=str)
def test_arguments_that_do_not_parse_exit_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["gain", *arguments])
    assert exit.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jinit gain: ")
    assert line.endswith("; see jinit gain --help")


def test_json_has_the_numbers_of_the_report(capsys):
    assert main(["gain", "tanh", "--json"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert config["jinit_gain"] == 1
    assert config["activation"] == "tanh"
    assert config["backward"] == jinit.gain("tanh", "backward")
    assert config["torch"] == jinit.calculate_gain("tanh")
    assert config["critical_point"] == jinit.critical_point("tanh")._asdict()


def test_json_of_the_table_has_an_object_for_every_name(monkeypatch, capsys):
    monkeypatch.setattr(_gains, "FUNCTIONS", {"relu": FUNCTIONS["relu"]})
    monkeypatch.setattr(_gains, "GATES", [])
    assert main(["gain", "--table", "--json"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert list(config) == ["jinit_gain", "activations"]
    (relu,) = config["activations"]
    assert (relu["activation"], relu["forward"]) == ("relu", jinit.gain("relu"))
