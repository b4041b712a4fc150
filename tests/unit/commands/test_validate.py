"""`cascadia validate`: what it finds in a file without importing SGLang."""

import subprocess
import sys
from pathlib import Path

import pytest

from cascadia_sglang.cli import main
from tests.repo.source import ROOT

CASCADE = ROOT / "tests" / "system" / "cascade.yaml"


def validate(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["validate", str(path)])
    told = capsys.readouterr()
    return code, told.out + told.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_total_tokens", "max_total_tokens", "is valid: small, large"),
        ("max_total_tokens: 65536", "max-total-tokens: 9", "did you mean max_total_tokens?"),
        ("name: large", "name: large\n    draft_calibration: README.md", "calibration README.md: "),
        (
            "max_total_tokens: 65536",
            "encoder_only: true",
            "tiers[0].server_args.encoder_only is Tru",
        ),
        (
            "name: large",
            "name: large\n    name: huge",
            "tiers[1].name is given twice (line 9, first",
        ),
    ],
)
def test_a_tiers_flags_are_checked_and_the_file_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    said: str,
) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "cascade.yaml"
    path.write_text(CASCADE.read_text().replace(old, new))
    code, told = validate(path, capsys)
    assert said in told
    assert str(path) in told or "README.md" in told
    assert code == (0 if "is valid" in said else 2)
    assert told.count("\n") == 1


def test_nothing_of_sglang_is_imported() -> None:
    script = (
        "import sys; from cascadia_sglang.cli import main; "
        f"code = main(['validate', {str(CASCADE)!r}]); "
        "sys.exit(code or 'sglang' in sys.modules or 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120, check=False)
    assert run.returncode == 0
