"""The tests on every version that is supported: `nox`, or one: `nox -s tests-3.12`.

Each Python that is installed runs them with the oldest and the newest jax and flax.
"""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False


@nox.session(python=["3.11", "3.12", "3.13"])
@nox.parametrize("versions", ["oldest", "newest"])
def tests(session: nox.Session, versions: str) -> None:
    """The tests, without torch: `-- -k orthogonal` runs some of them."""
    constraints = ["-c", ".ci/oldest.txt"] if versions == "oldest" else []
    session.install("-q", "-e", ".[test]", *constraints)
    for cases in (["--all"], ["--all", "-m", "bits"]):
        session.run("pytest", "-q", "-n", "2", *cases, "tests", *session.posargs)
