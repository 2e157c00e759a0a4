from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App

from tissuegraph.cli import app as command_line
from tissuegraph.cli import main
from tissuegraph.cli.failures import explain
from tissuegraph.errors import InputError, OutputError


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command that does nothing but fail; return its status and what it said on stderr."""

    def run(error: BaseException, *tokens: str) -> tuple[int, str]:
        def work(out: Path | None = None) -> None:
            raise error

        fake = App(name="tissuegraph")
        fake.command(work)
        monkeypatch.setattr(command_line, "app", fake)
        status = main(["work", *tokens])
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize("error", [InputError("no such folder: a; give b"), OutputError("a exists; type b")])
def test_what_the_user_can_mend_is_one_sentence_and_status_2(run, error):
    assert run(error) == (2, f"tissuegraph: error: {error}\n")


def test_a_fault_of_ours_is_status_1_with_the_traceback_in_a_log(run):
    status, said = run(KeyError("lost"))
    assert status == 1
    assert said.count("\n") == 1
    assert "Traceback" not in said
    log = Path(re.search(r"\S+\.log", said)[0])
    text = log.read_text()
    log.unlink()
    assert "Traceback" in text
    assert "KeyError: 'lost'" in text
    assert "command: tissuegraph work" in text


def test_without_a_place_for_the_log_the_traceback_goes_to_stderr(run, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    status, said = run(ValueError("odd"))
    assert status == 1
    assert "ValueError: odd" in said


def full(path: str | None = None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_full_disk_names_the_folder_of_the_file(run):
    status, said = run(full("/data/out/tiles/7.parquet"), "--out", "elsewhere")
    assert status == 2
    assert "no space left in /data/out/tiles;" in said


def test_a_full_disk_names_the_output_where_the_error_names_nothing(run):
    status, said = run(full(), "--out", "/data/out")
    assert status == 2
    assert "no space left in /data/out;" in said
    assert "Traceback" not in said


def test_a_full_disk_is_seen_through_what_libraries_raise_instead():
    wrapped = RuntimeError("cannot write")
    wrapped.__cause__ = full("/data/a")
    assert "no space left in /data;" in (explain(wrapped, None) or "")
    assert explain(ValueError("No space left on device (os error 28)"), Path("/b")) is not None
    assert explain(ValueError("no place left"), Path("/b")) is None


def test_a_missing_permission_names_the_path(run):
    status, said = run(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/slide"))
    assert status == 2
    assert "no permission for /data/slide" in said


def test_an_interrupt_is_quiet(run):
    assert run(KeyboardInterrupt()) == (130, "")


def test_an_interrupt_is_one_when_a_library_turns_it_into_an_exit(run):
    exit_of_lightning = SystemExit(1)
    exit_of_lightning.__context__ = KeyboardInterrupt()
    assert run(exit_of_lightning) == (130, "")
    with pytest.raises(SystemExit):
        run(SystemExit(3))


def test_a_reader_that_has_gone_is_no_failure_to_report():
    code = "import sys; from tissuegraph.cli import main; sys.exit(main(['--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert said == ""
