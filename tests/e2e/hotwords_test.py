"""Hot words of a Contextual Paraformer from where a user gives them; the weights are random, so what is looked at
is that each list has its own effect, and the same each time."""

import json

import pytest

import seeded
import tool
from rest import RestServer
from text_test import CLIP

LISTS = ["", "\u4e10\u4e11, \u4e12", "\u4e80\u4e81\u4e82\n\u4e90"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model in 8 bits."""
    folder = tmp_path_factory.mktemp("seeded")
    seeded.paraformer(folder / "source.gguf", contextual=True)
    tool.good("models", "convert", folder / "source.gguf", folder / "contextual.gguf")
    return str(folder / "contextual.gguf")


def heard(made, tmp_path, words):
    (tmp_path / "words").write_text(words)
    return tool.good("transcribe", "-m", made, "-f", "json", "--hotwords", tmp_path / "words", CLIP)


def test_each_list_is_heard_everywhere(made, models, tmp_path):
    plain = json.loads(tool.good("transcribe", "-m", made, "-f", "json", CLIP).out)
    texts = [json.loads(heard(made, tmp_path, words).out)["text"] for words in LISTS]
    assert texts[0] == plain["text"] and len(set(texts)) == len(LISTS)
    unknown = heard(made, tmp_path, "\u3042")
    assert json.loads(unknown.out)["text"] == plain["text"] and "no effect" in unknown.err
    with RestServer(tmp_path / "data", model=made) as s:
        for i in (1, 0, 2, 1):
            status, reply = s.submit(CLIP, hotwords=LISTS[i])
            assert status == 200, reply
            result = s.wait_for_result(reply["task_id"])
            assert result["status"] == "done" and result["text"] == texts[i], result


def test_parts_of_it_are_no_model(tmp_path):
    seeded.paraformer(tmp_path / "source.gguf", contextual=True)
    whole = (tmp_path / "source.gguf").read_bytes()
    (tmp_path / "short.gguf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.gguf").write_bytes(whole.replace(b"bias_decoder.norm3.bias", b"bias_decoder.norm4.bias"))
    for name, said in (("short", "short.gguf"), ("other", "decoder.bias_decoder.norm3.bias is missing")):
        result = tool.run("models", "convert", tmp_path / f"{name}.gguf", tmp_path / "out.gguf")
        assert result.status != 0 and said in result.err, result.err
        assert not (tmp_path / "out.gguf").exists()
