import subprocess
from pathlib import Path

import pytest

from simreal.errors import EvaluationError
from simreal.evaluation.provenance import Provenance, collect_provenance, git_commit


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    def git(*words: str) -> None:
        names = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *names, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_the_running_process_is_described() -> None:
    found = collect_provenance([3, 4], command=["simreal", "evaluate", "name=a b"])

    assert found.command == "simreal evaluate 'name=a b'"
    assert found.seeds == (3, 4)
    assert "numpy" in found.versions
    assert found.versions["python"].count(".") == 2
    assert "cores" in found.hardware
    assert found.time.endswith("+00:00")


def test_an_accelerator_is_named() -> None:
    assert collect_provenance([], accelerator="GPU X").hardware.endswith(", GPU X")


def test_dictionaries_round_trip() -> None:
    found = collect_provenance([0])

    assert Provenance.from_dict(found.to_dict()) == found


def test_provenance_must_be_an_object() -> None:
    with pytest.raises(EvaluationError, match="object"):
        Provenance.from_dict([1])


def test_commit_of_a_checkout(checkout: Path) -> None:
    commit = git_commit(checkout)

    assert len(commit) == 40
    (checkout / "untracked").write_text("x")
    assert git_commit(checkout) == commit
    (checkout / "file").write_text("two")
    assert git_commit(checkout) == f"{commit} (modified)"


def test_a_folder_inside_another_checkout_has_no_commit(checkout: Path) -> None:
    inside = checkout / "site-packages"
    inside.mkdir()

    assert git_commit(inside) is None


def test_no_checkout_or_no_git_gives_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None
