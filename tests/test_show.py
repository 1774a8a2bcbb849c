"""`jinit list` and `jinit show`: text becomes an initializer, and a draw a page."""

import json
import math
from dataclasses import fields

import jax
import numpy as np
import pytest
from catalogue import ROWS
from helpers import check_std

import jinit
from jinit._config import every_initializer
from jinit.cli import _show
from jinit.cli._show import families, parse, show

# What is listed


def test_every_public_initializer_is_listed_once():
    names = [each.name for group in families().values() for each in group]

    assert {name.rpartition(".")[2] for name in names} == {*every_initializer()}
    assert len(names) == len(set(names))
    assert {"xavier_uniform", "torch.triangular"} <= set(names)
    assert "triangular" not in names


def test_a_family_is_what_one_file_holds():
    groups = {family: [e.name for e in group] for family, group in families().items()}

    assert groups["Identity maps"] == ["eye", "dirac"]
    assert groups["torch's defaults"] == ["torch.triangular", "torch.zero_row"]
    of_namespaces = ["." in names[0] for names in groups.values()]
    assert of_namespaces == sorted(of_namespaces)  # they are last


def test_every_initializer_has_a_sentence_and_its_options():
    for group in families().values():
        for each in group:
            init = every_initializer()[each.name.rpartition(".")[2]]
            assert init.__doc__.startswith(f"{each.summary}.")
            options = [option["name"] for option in each.options]
            assert options == [field.name for field in fields(init)]
            json.dumps(each.options)


def test_an_option_that_must_be_given_has_no_default():
    (sparse,) = families()["Sparse initialization"]

    sparsity, std, *_ = sparse.options
    assert sparsity == {"name": "sparsity"}
    assert std == {"name": "std", "default": 0.01}


# What a text means


@pytest.mark.parametrize(
    ("text", "init"),
    [
        ("normal", jinit.normal()),
        (" jinit.normal( std = 2 ) ", jinit.normal(std=2.0)),
        ("zeros()", jinit.zeros()),
        ("constant(-1.5)", jinit.constant(-1.5)),
        ("constant([1, (2, -3)][0])", None),
        ("constant([[1], [-2]])", jinit.constant([[1], [-2]])),
        ("constant(1 + 2j)", jinit.constant(1 + 2j)),
        ("truncated_normal(lower=-inf)", jinit.truncated_normal(lower=-math.inf)),
        ("stack(he_normal(), axis=-1)", jinit.stack(jinit.he_normal(), axis=-1)),
        ("blocks(jinit.stack(ones), 3)", jinit.blocks(jinit.stack(jinit.ones()), 3)),
        (
            "orthogonal(gain=('leaky_relu', -0.2), in_axis=(0, -2))",
            jinit.orthogonal(gain=("leaky_relu", -0.2), in_axis=(0, -2)),
        ),
        ("torch.triangular(0.1)", jinit.torch.triangular(0.1)),
        ("jinit.torch.zero_row(normal, 0)", jinit.torch.zero_row(jinit.normal(), 0)),
        (
            "with_dtype(normal, 'bfloat16')",
            jinit.with_dtype(jinit.normal(), "bfloat16"),
        ),
    ],
)
def test_a_text_is_the_call_that_it_looks_like(text, init):
    if init is None:
        with pytest.raises(ValueError, match="options must be numbers"):
            parse(text)
    else:
        assert parse(text) == init


@pytest.mark.parametrize("init", [jinit.he_normal(gain="gelu"), jinit.eye()], ids=repr)
def test_what_an_initializer_prints_as_is_parsed_to_it(init):
    assert parse(repr(init)) == init


@pytest.mark.parametrize(
    "text",
    [
        "normal(std=print('ran'))",
        "normal(std=[print('ran')])",
        "normal(std=(lambda: print('ran'))())",
        "print('ran') or normal()",
        "__import__('builtins').print('ran')",
        "normal(std=f'{print(1)}')",
        "[normal for _ in [print('ran')]][0]",
        "normal().__class__.__init__(print('ran'))",
        "(x := print('ran'))",
    ],
)
def test_nothing_is_evaluated(text, capsys):
    with pytest.raises(ValueError, match=r"must be|there is no initializer"):
        parse(text)

    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be given as the call that makes it"),
        ("normal(", "must be given as the call"),
        ("normal()()", "must be given as the call"),
        ("1 + 1", "must be given as the call"),
        ("a\0b", "must be given as the call|null"),
        ("normal(std=" + "-" * 50_000 + "1)", "must be given as the call"),
        ("stack(" * 500 + "normal" + ")" * 500, "must be given as the call"),
        ("xavier_unifrom", r"no initializer 'xavier_unifrom'; did you mean xavier_un"),
        ("Initializer()", "no initializer 'Initializer'"),
        ("os.system", r"no initializer 'os\.system'"),
        ("lecun_normal(gain=silu)", "'silu'.* An option that is a name needs quotes"),
        ("normal(std=1, std=2)", "must each have a name of their own"),
        ("normal(**{'std': 1})", "must each have a name of their own"),
        ("normal(*[1])", "options must be numbers"),
        ("constant", "needs its option value"),
        ("sparse(std=1)", "needs its option sparsity"),
        ("normal(std=-1)", "std must be at least 0"),
        (r"normal(std='\d')", "std must be a real number"),
        ("zeros(1, (2,))", "zeros has no options"),
        ("ones(dtype='int8')", "ones has no options"),
        ("xavier_uniform(1.0)", "takes its options by keyword"),
        ("normal(sdt=1)", "has no option 'sdt'"),
    ],
)
def test_a_text_that_is_no_call_is_refused(text, message):
    with pytest.raises((ValueError, TypeError), match=message):
        parse(text)


# What is shown


def test_the_draw_is_the_initializers_own(key):
    shown = show(jinit.he_normal(), (40, 30), "bfloat16")
    drawn = np.asarray(jinit.he_normal()(key, (40, 30), "bfloat16"), np.float64)

    assert shown.dtype == "bfloat16"
    assert shown.measured.mean == pytest.approx(drawn.mean(), rel=1e-9)
    assert shown.measured.std == pytest.approx(drawn.std(ddof=1), rel=1e-9)
    assert shown.measured.minimum == drawn.min()
    assert shown.measured.maximum == drawn.max()
    counts, edges = np.histogram(drawn, 15)
    assert list(shown.counts) == list(counts)
    np.testing.assert_allclose(shown.edges, edges)


def test_another_seed_is_another_draw():
    seeds = [show(jinit.normal(), (5,), seed=seed).measured.mean for seed in (0, 0, 1)]

    assert seeds[0] == seeds[1] != seeds[2]


def test_64_bits_are_drawn_as_64_bits():
    assert show(jinit.normal(), (3,), "float64").dtype == "float64"
    assert show(jinit.with_dtype(jinit.normal(), "float64"), (3,)).dtype == "float64"
    assert not jax.config.jax_enable_x64


def test_integers_can_be_shown():
    shown = show(jinit.ones(), (3, 4), "int8")

    assert (shown.dtype, shown.measured.mean, shown.counts) == ("int8", 1.0, ())


@pytest.mark.parametrize(
    ("init", "shape", "fans"),
    [
        (jinit.normal(), (3, 4), None),
        (jinit.he_normal(), (3, 3, 8, 16), (72, 144)),
        (jinit.stack(jinit.he_normal()), (5, 8, 16), (8, 16)),
        (jinit.lecun_normal(fan_in=7), (16,), (7, None)),
        (jinit.xavier_normal(in_axis=1, out_axis=0), (3, 4), (4, 3)),
    ],
    ids=str,
)
def test_the_fans_are_those_that_it_scales_by(init, shape, fans):
    assert show(init, shape).fans == fans


BOUNDED = {
    jinit.uniform(a=-1.0, b=3.0): (-1.0, 3.0),
    jinit.trunc_normal(std=2.0, a=-1.0, b=0.5): (-1.0, 0.5),
    jinit.truncated_normal(mean=1.0, std=2.0, lower=-1.0): (-1.0, 5.0),
    jinit.torch.triangular(0.3): (-0.3, 0.3),
    jinit.xavier_uniform(): (-math.sqrt(6 / 700), math.sqrt(6 / 700)),
    jinit.kaiming_uniform(): (-math.sqrt(6 / 300), math.sqrt(6 / 300)),
    jinit.lecun_uniform(): (-math.sqrt(3 / 300), math.sqrt(3 / 300)),
    jinit.stack(jinit.uniform(), axis=1): (0.0, 1.0),
}


@pytest.mark.parametrize("init", BOUNDED, ids=repr)
def test_the_bounds_are_those_of_the_formula(init):
    shown = show(init, (300, 400))

    assert shown.law.bounds == pytest.approx(BOUNDED[init], rel=1e-12)


@pytest.mark.parametrize(
    "init",
    [*BOUNDED, jinit.he_normal(), jinit.truncated_normal(corrected=True)],
    ids=repr,
)
def test_the_draw_fills_the_bounds_and_no_more(init):
    shown = show(init, (300, 400))
    low, high = shown.law.bounds
    slack = 1e-6 * max(abs(low), abs(high))

    # Of 120 000 draws, one is in the last 5% but with a probability under 1e-6.
    assert low - slack <= shown.measured.minimum < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < shown.measured.maximum <= high + slack


@pytest.mark.parametrize(
    ("init", "dtype"),
    [
        (jinit.normal(), None),
        (jinit.xavier_normal(), None),
        (jinit.orthogonal(), None),
        (jinit.normal(), "complex64"),
    ],
    ids=repr,
)
def test_there_are_no_bounds_where_none_are_known(init, dtype):
    assert "bounds" not in show(init, (6, 4), dtype).text()


def test_complex_weights_are_measured_about_their_mean_and_binned_by_parts():
    shown = show(jinit.normal(std=2.0), (100, 100), "complex64")

    # E|w|² of 20 000 parts, each of half the variance.
    check_std([shown.measured.std], 2.0, kurtosis=1 + 2 / 10_000)
    assert sum(shown.counts) == 20_000


@pytest.mark.parametrize("shape", [(0, 3), (), (1,)])
def test_an_empty_shape_and_a_scalar_can_be_shown(shape):
    shown = show(jinit.normal(), shape)

    assert shown.counts == ()
    assert f"{shape}, {math.prod(shape)} weights" in shown.text()
    assert ("mean" in shown.text().split("dtype")[1]) == bool(math.prod(shape))
    json.loads(shown.to_json())


@pytest.mark.slow
def test_every_initializer_can_be_shown_with_its_law():
    arguments = {
        **{"constant": "(1.0)", "sparse": "(0.5)", "triangular": "(1.0)"},
        **{"blocks": "(normal, 2)", "stack": "(normal)", "zero_row": "(normal, 0)"},
        **{"with_dtype": "(normal, 'float16')"},
        "variance_scaling": "(1.0, 'fan_in', 'normal')",
    }
    topical = {type(parse(call)).__name__: (call, shape) for call, shape in ROWS}
    for name in every_initializer():
        conv = name in ("dirac", "delta_orthogonal", "convolution_orthogonal")
        plain = name + arguments.get(name, "()"), (3, 4, 4) if conv else (4, 6)
        call, shape = topical.get(name, plain)
        shown = show(parse(call), shape)
        assert repr(shown.law) in shown.text(), name


def test_the_page_has_the_call_the_law_and_the_numbers():
    lines = show(jinit.xavier_uniform(gain="relu"), (512, 256)).text().splitlines()
    rows = dict(line.split(maxsplit=1) for line in lines[1:-15] if line)

    assert lines[0] == "xavier_uniform(gain='relu')"
    assert rows["law"] == repr(jinit.xavier_uniform(gain="relu").law((512, 256)))
    assert rows["shape"] == "(512, 256), 131072 weights"
    assert rows["fans"] == "512 in, 256 out"
    assert rows["bounds"] == "-0.125 to 0.125"
    assert rows["expected"].split() == ["std", f"{0.125 / math.sqrt(3):.6g}"]


@pytest.mark.parametrize("blocks", [False, True])
def test_the_bars_are_as_long_as_the_bins_are_high(blocks):
    shown = show(jinit.normal(), (200, 200))
    bars = shown.text(blocks=blocks).splitlines()[-15:]

    for line, low, high, count in zip(
        bars, shown.edges, shown.edges[1:], shown.counts, strict=False
    ):
        middle, *bar = line.split()
        length = len(bar[0]) if bar else 0
        assert float(middle) == pytest.approx((low + high) / 2, abs=0.02)
        assert abs(length - 48 * count / max(shown.counts)) <= 1
    assert set("".join(bars)) & set("#█") == {"█" if blocks else "#"}


def test_the_json_says_what_the_page_says():
    shown = show(jinit.truncated_normal(lower=-math.inf), (50, 40))
    config = json.loads(shown.to_json(), parse_constant=pytest.fail)

    assert parse(config["initializer"]) == shown.init
    assert (config["shape"], config["dtype"]) == ([50, 40], "float32")
    assert config["bounds"] == ["-inf", 2.0]
    assert config["fans"] is None
    assert config["std"] == shown.measured.std
    assert len(config["histogram"]["edges"]) == 16
    assert sum(config["histogram"]["counts"]) == 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4097, 4096)}, "at most 16777216 weights, got .4097, 4096. with"),
        ({"shape": (10**10, 10**10)}, "at most 16777216 weights"),
        ({"shape": (-1, 2)}, "must not have negative sizes"),
        ({"shape": 3.0}, "shape must be a sequence of integers"),
        ({"shape": (3,), "dtype": "float23"}, "dtype must be a numeric dtype"),
        ({"shape": (3,), "dtype": "int32"}, "draws floating-point"),
        ({"shape": (3,), "seed": -1}, "seed must be between 0"),
        ({"shape": (3,), "seed": 2**32}, "seed must be between 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        show(jinit.normal(), **arguments)


def test_the_largest_draw_is_a_number_that_is_stated():
    assert _show.MOST_WEIGHTS == 16_777_216


def test_the_law_is_of_these_options_and_not_of_others():
    text = show(jinit.kaiming_normal(nonlinearity="gelu"), (64, 64)).text()

    assert "a²" not in text
    assert f"std={jinit.gain('gelu') / 8:.6g}"[:10] in text


def test_a_user_initializer_without_a_law_can_be_shown():
    class doubled(jinit.Initializer):
        def _draw(self, key, shape, dtype):
            return 2 * jax.random.normal(key, shape, dtype)

    assert "law" not in show(doubled(), (4, 4)).text()
