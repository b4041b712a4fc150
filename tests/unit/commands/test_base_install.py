"""Every command in an installation without extras: no traceback, and the extra is named in time."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec

from cascadia_sglang.cli import COMMANDS
from tests.repo.source import ROOT
from tests.unit.commands.recorded import write_records, write_sample
from tests.unit.planner.samples import routing_problem

# What the extras bring, and nothing of it a base installation has.
EXTRAS = ("sklearn", "matplotlib", "anthropic", "hypothesis", "ollama", "openai", "pytest")
HINT = "install it with: pip install 'cascadia-sglang[{}]'"


def base_install(*lines: list[str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run commands one after the other in a process that lacks the extras; the last code counts."""
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"
        "from cascadia_sglang.cli import main\n"
        f"for words in {list(lines)!r}:\n"
        "    try:\n"
        "        code = main(words)\n"
        "    except SystemExit as ended:\n"
        "        code = ended.code\n"
        "    print('code', code, flush=True)\n"
        "sys.exit(code)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_of_everything_is_shown() -> None:
    ended = base_install(["--help"], ["--version"], *([name, "--help"] for name in COMMANDS))
    assert ended.stderr == ""
    assert ended.stdout.count("code 0") == 2 + len(COMMANDS)
    for name in COMMANDS:
        assert f"    cascadia {name} " in ended.stdout


def test_the_list_of_commands_needs_none_of_them() -> None:
    script = (
        "import sys\nfrom cascadia_sglang.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(any(name.startswith('cascadia_sglang.commands.') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_commands_that_need_no_extra_do_their_work(tmp_path: Path) -> None:
    problem, out = tmp_path / "problem.json", tmp_path / "profile.json"
    problem.write_bytes(msgspec.json.encode(routing_problem(quality_floor=0.7)))
    cascade = str(ROOT / "demo/cascade.yaml")
    ended = base_install(
        ["validate", cascade],
        ["plan", "--problem", str(problem)],
        ["schema", "plan"],
        ["profile", cascade, "--out", str(out), "--gpu", "H100"],
    )
    assert "Traceback" not in ended.stderr
    assert ended.stdout.count("code 0") == 4, ended.stderr
    assert json.loads(out.read_text())["source"] == "roofline"


def test_calibrate_fits_all_but_the_entry_model_and_says_so(tmp_path: Path) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    cascade = ROOT / "tests/system/cascade.yaml"
    write_records(cascade, data, out, prompt_ids=True)
    words = ["calibrate", str(cascade), "--data", str(data), "--out", str(out)]
    ended = base_install([*words, "--escalation-rate", "0.5"])
    assert "Traceback" not in ended.stderr
    hint = HINT.format("calibrate")
    assert f"no entry model: scikit-learn is missing; {hint}\n" in ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert "entry" not in ended.stdout
    assert not (out / "entry.json").exists()
    assert (out / "calibrated.yaml").is_file()


def test_a_plot_names_the_extra_before_anything_is_solved(tmp_path: Path) -> None:
    picture = tmp_path / "front.svg"
    # The problem would not even be read.
    ended = base_install(["plan", "--problem", "nowhere.json", "--plot", str(picture)])
    assert ended.stderr == f"cascadia plan: matplotlib is missing; {HINT.format('plot')}\n"
    assert ended.returncode == 2


def test_a_calibration_without_a_picture_says_so_first(tmp_path: Path) -> None:
    data, out = write_sample(tmp_path, 600), tmp_path / "out"
    cascade = ROOT / "tests/system/cascade.yaml"
    write_records(cascade, data, out)
    script = (
        "import sys; sys.modules['matplotlib'] = None; from cascadia_sglang.cli import main; "
        f"sys.exit(main(['calibrate', {str(cascade)!r}, '--data', {str(data)!r}, '--out', "
        f"{str(out)!r}, '--escalation-rate', '0.5']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"no picture: matplotlib is missing; {HINT.format('plot')}" in ended.stderr
    assert (out / "report.md").is_file()
    assert not (out / "report.svg").exists()
