"""What all end-to-end tests share: the program under test, its models, the recordings."""

import os

import pytest

import tool


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
