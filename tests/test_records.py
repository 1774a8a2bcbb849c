"""What README and docs say of time, memory and speed stands in a record."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RESULTS = ROOT / "benchmarks" / "results"
MADE_BY = re.compile(r"python\s+benchmarks/(\w+)\.py")
QUANTITY = re.compile(r"(?<![\w.])\d[\d.]*(?: (?:m|µ)?s(?![\w-])|x(?!\w))")


def sections(text):
    """The text under each heading."""
    return re.split(r"^#+ .*$", text, flags=re.MULTILINE)


def not_recorded(section, records):
    """The quantities of a section that no record of its benchmarks has."""
    made_by = MADE_BY.findall(section)
    known = {q for name in made_by for q in QUANTITY.findall(records.get(name, ""))}
    said = QUANTITY.findall(section) if made_by else []
    return [quantity for quantity in said if quantity not in known]


@pytest.fixture(scope="module")
def records():
    """The text of all records of each benchmark."""
    found = {}
    for path in sorted(RESULTS.iterdir()):
        name = path.name.partition("-")[0]
        found[name] = found.get(name, "") + path.read_text()
    return found


def test_each_benchmark_that_is_named_has_a_record(records):
    named = {name for page in PAGES for name in MADE_BY.findall(page.read_text())}
    assert named <= records.keys(), named - records.keys()


def test_what_is_said_of_speed_stands_in_a_record(records):
    for page in PAGES:
        for section in sections(page.read_text()):
            assert not_recorded(section, records) == [], page.name


def test_a_number_of_another_day_is_noticed():
    records = {"models": "| GPT-2 | 3.4 s, 1.5x |", "other": "7.8 s"}
    section = "It takes {} (`python benchmarks/models.py`)."
    assert not_recorded(section.format("3.4 s and 1.5x"), records) == []
    assert not_recorded(section.format("7.8 s"), records) == ["7.8 s"]
    assert not_recorded(section.format("13.4 s, 0.7x"), records) == ["13.4 s", "0.7x"]


def test_rows_beside_the_peers_are_those_of_the_record(records):
    table = re.search(r"Beside the peers\n(.*?)\n#", PAGES[0].read_text(), re.DOTALL)
    rows = [line for line in table[1].splitlines() if line.startswith("|")][2:]
    assert len(rows) > 5
    assert [row for row in rows if row not in records["peers"].splitlines()] == []
