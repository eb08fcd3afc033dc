#!/usr/bin/env python3
"""Folders as FunASR publishes them: its own classes with seeded weights, saved by torch.save.

Usage: tests/reference/funasr_folders.py DIR     writes DIR/paraformer, DIR/contextual, DIR/sensevoice,
                                                DIR/punctuation, DIR/realtime; 77: no funasr here

With onnx and onnxruntime also FAMILY-onnx and FAMILY-quant, of the graph that FunASR exports, and
FAMILY-dequantised, a checkpoint of the matrices that the latter stands for.

Weights, vocabulary and statistics are those of tests/unit/models/seeded.h, so that a folder must pack to the
bytes that the seeded GGUF file packs to. Needs torch and funasr.
"""
import json
import pathlib
import sys
import types

sys.modules.setdefault("librosa", types.ModuleType("librosa"))  # imported by funasr, used by none of this
try:
    import numpy as np
    import torch
    import funasr.models.contextual_paraformer.decoder
    import funasr.models.ct_transformer_streaming.encoder
    import funasr.models.paraformer.cif_predictor
    import funasr.models.paraformer.decoder
    import funasr.models.sanm.encoder
    from funasr.models.contextual_paraformer.model import ContextualParaformer
    from funasr.models.ct_transformer.model import CTTransformer
    from funasr.models.ct_transformer_streaming.model import CTTransformerStreaming
    from funasr.models.paraformer.model import Paraformer
    from funasr.models.sense_voice.model import SenseVoiceSmall
except ImportError as e:
    print(e, file=sys.stderr)
    sys.exit(77)

VOCABULARY = 50
BLOCK = dict(attention_heads=4, linear_units=2048, kernel_size=11)


def values(name, shape):
    """seeded_values(): an LCG seeded with the FNV-1a hash of the name."""
    x = 2166136261
    for b in name.encode():
        x = (x ^ b) * 16777619 & 0xFFFFFFFF
    n = int(np.prod(shape))
    powers = np.cumprod(np.full(n, 1664525, np.uint32), dtype=np.uint32)
    sums = np.concatenate([[np.uint32(1)], powers[:-1]]).cumsum(dtype=np.uint32)
    u = ((powers * np.uint32(x) + sums * np.uint32(1013904223)) >> np.uint32(8)) / 8388608 - 1
    if len(shape) < 2:
        u = 0.1 * u + (1 if name.endswith("weight") else 0)
    elif "embed" not in name:
        u = u * np.sqrt(3 / np.prod(shape[1:]))
    return torch.from_numpy(u.reshape(shape).astype(np.float32))


def pieces():
    first = ["<blank>", "<s>", "</s>"]
    return first + [chr(0x4E00 + i) if i % 10 else "word" if i % 20 else "go@@" for i in range(3, VOCABULARY)]


def statistics(n=560):
    lines = [f"<Nnet> ", f"<Splice> {n} {n}", "[ 0 ]"]
    for tag, v in ("AddShift", "-12"), ("Rescale", "0.15"):
        lines += [f"<{tag}> {n} {n} ", f"<LearnRateCoef> 0 [ {' '.join([v] * n)} ]"]
    return "\n".join(lines + ["</Nnet> "]) + "\n"


def write(folder, state, config):
    folder.mkdir(parents=True, exist_ok=True)
    if state is not None:
        torch.save(state, folder / "model.pt")
    (folder / "am.mvn").write_text(statistics())
    (folder / "tokens.json").write_text(json.dumps(pieces(), indent=0))
    (folder / "config.yaml").write_text(config)


def write_all(folder, family, model, config):
    state = {k: v.copy_(values(k, tuple(v.shape))).clone() for k, v in model.state_dict().items()}
    write(folder, state, config)
    try:
        import funasr_onnx
        import onnxruntime  # noqa: F401
    except ImportError:
        return
    plain, eight, again = (folder.with_name(folder.name + x) for x in ("-onnx", "-quant", "-dequantised"))
    write(plain, None, config)
    write(eight, None, config)
    funasr_onnx.export(family, model, plain / "model.onnx")
    funasr_onnx.quantise(plain / "model.onnx", eight / "model_quant.onnx")
    if (plain / "model_eb.onnx").exists():
        funasr_onnx.quantise(plain / "model_eb.onnx", eight / "model_eb_quant.onnx")
    write(again, funasr_onnx.dequantised(state, plain / "model.onnx", eight / "model_quant.onnx"), config)


def ct_pieces():
    """seeded_ct_piece()."""
    n = VOCABULARY
    return ["<unk>" if i == n - 1 else chr(0x9000 - i) if i % 2 else f"w{i}" for i in range(n)]


def write_punctuation(folder, kind, encoder, shift):
    """As the published folders: nothing but these three files is read, and the configuration is in their order."""
    marks = ["<unk>", "_", "，", "。", "？", "、"]
    conf = dict(input_size=256, output_size=256, attention_heads=8, linear_units=1024, num_blocks=3, input_layer="pe",
                kernel_size=11, sanm_shfit=shift)
    model = kind(encoder=encoder, encoder_conf=conf, vocab_size=VOCABULARY, punc_list=marks, embed_unit=256, att_unit=256)
    state = {k: v.copy_(values(k, tuple(v.shape))).clone() for k, v in model.state_dict().items()}
    lines = [f"model: {kind.__name__}", "model_conf:", "    ignore_id: 0", "    punc_list:"]
    lines += [f"        - {m}" for m in marks] + ["    sentence_end_id: 3", f"encoder: {encoder}", "encoder_conf:"]
    lines += [f"    {k}: {v}" for k, v in conf.items()] + ["tokenizer: CharTokenizer"]
    for place in folder, folder.with_name(folder.name + "-onnx"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "tokens.json").write_text(json.dumps(ct_pieces(), ensure_ascii=False, indent=0))
        (place / "config.yaml").write_text("\n".join(lines) + "\n")
    torch.save(state, folder / "model.pt")
    try:
        import funasr_onnx
        import onnxruntime  # noqa: F401
    except ImportError:
        return
    family = "ct_transformer_streaming" if shift else "ct_transformer"
    funasr_onnx.export(family, model.eval(), folder.with_name(folder.name + "-onnx") / "model.onnx")


def main(out):
    write_punctuation(out / "punctuation", CTTransformer, "SANMEncoder", 0)
    write_punctuation(out / "realtime", CTTransformerStreaming, "SANMVadEncoder", 5)
    shape = dict(output_size=512, num_blocks=2, **BLOCK)
    config = "encoder_conf:\n    output_size: 512\n    attention_heads: 4\n    kernel_size: 11\n"
    network = dict(
        encoder="SANMEncoder",
        encoder_conf=dict(input_layer="pe", **shape),
        predictor="CifPredictorV2",
        predictor_conf=dict(idim=512, l_order=1, r_order=1, tail_threshold=0.45),
        ctc_weight=0.0,
        input_size=560,
        vocab_size=VOCABULARY,
    )
    write_all(
        out / "paraformer",
        "paraformer",
        Paraformer(
            decoder="ParaformerSANMDecoder",
            decoder_conf=dict(num_blocks=1, att_layer_num=1, **BLOCK),
            **network,
        ),
        config + "predictor_conf:\n    tail_threshold: 0.45\n",
    )
    write_all(
        out / "contextual",
        "contextual_paraformer",
        ContextualParaformer(
            decoder="ContextualParaformerDecoder",
            decoder_conf=dict(num_blocks=2, att_layer_num=2, **BLOCK),
            inner_dim=512,
            **network,
        ),
        config + "predictor_conf:\n    tail_threshold: 0.45\n",
    )
    write_all(
        out / "sensevoice",
        "sense_voice",
        SenseVoiceSmall(
            encoder="SenseVoiceEncoderSmall", encoder_conf=dict(tp_blocks=1, **shape), input_size=560, vocab_size=VOCABULARY
        ),
        config,
    )


if __name__ == "__main__":
    with torch.no_grad():
        main(pathlib.Path(sys.argv[1]))
