"""What all end-to-end tests share: the program under test, its models, the recordings."""

import os

import pytest

import tool
from server import Server


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: cheap enough for an instrumented program")


@pytest.fixture(scope="session")
def data():
    if not os.path.exists(os.path.join(tool.DATA, ".made")):
        pytest.skip(f"no recordings in {tool.DATA}: scripts/test_data.sh")
    return tool.DATA


@pytest.fixture(scope="session")
def models():
    for name in ("whisper-tiny.en", "whisper-base", "fsmn-vad"):
        if not os.path.isdir(os.path.join(tool.MODELS, name)):
            pytest.skip(f"no {name} in {tool.MODELS}: make models")
    # Packing happens on first use; no test should count it as its own.
    for name in ("whisper-tiny.en", "whisper-base"):
        tool.run("transcribe", "-m", name, "-q", os.path.join(tool.ROOT, "tests/data/zh/sample.wav"))
    return tool.MODELS


@pytest.fixture(scope="session")
def server(models, tmp_path_factory):
    """One server for all tests that leave it as they find it."""
    with Server(tmp_path_factory.mktemp("server"), "--beam", "1") as s:
        yield s
        assert s.process.poll() is None, "the server has ended:\n" + s.text()
        assert not [line for line in s.log if "AddressSanitizer" in line or "runtime error" in line]
