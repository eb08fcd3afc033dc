#!/usr/bin/env python3
"""FunASR's models as its runtime has them: exported to ONNX by FunASR's own code, and quantised as it does it.

Usage: tests/reference/funasr_onnx.py [DIR]     writes tests/data/onnx (or DIR)

The committed graphs are of tiny models with seeded weights (funasr_folders.py), a Paraformer and a quantised
SenseVoice, less the nodes, shapes and attributes that say nothing of weights. FAMILY.txt lists the checkpoint's
tensors: name, dimensions. Needs torch,
funasr, onnx, onnxruntime.
"""
import contextlib
import importlib
import io
import logging
import pathlib
import sys

import onnx
import torch
from onnx import numpy_helper

PARTS = dict(encoder="SANMEncoder", decoder="ParaformerSANMDecoder")


def export(family, model, path, width=560, predictor="CifPredictorV2"):
    """family: paraformer, bicif_paraformer, contextual_paraformer, sense_voice, ct_transformer or
    ct_transformer_streaming. The model is of no use afterwards.
    Beside the contextual one's graph goes that of its hot words."""
    conf = {} if family == "sense_voice" else dict(PARTS, predictor=predictor)
    if family == "contextual_paraformer":
        conf["decoder"] = "ContextualParaformerDecoder"
    rebuild = importlib.import_module(f"funasr.models.{family}.export_meta").export_rebuild_model
    if family.startswith("ct_transformer"):
        conf = dict(encoder=type(model.encoder).__name__)
    model = rebuild(model, max_seq_len=512, device="cpu", type="onnx", **conf)
    if isinstance(model, tuple):
        model, words = model
        export_graph(words.eval(), (words.export_dummy_inputs().clamp(max=5),), path.with_name("model_eb.onnx"))
    inputs = list(model.export_dummy_inputs())
    if inputs[0].dim() == 3:
        inputs[0] = inputs[0][:, :, :width]
    export_graph(model.eval(), tuple(inputs), path)


def export_graph(model, inputs, path):
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            model,
            inputs,
            str(path),
            opset_version=14,
            do_constant_folding=True,
            input_names=model.export_input_names(),
            output_names=model.export_output_names(),
            dynamic_axes=model.export_dynamic_axes(),
            dynamo=False,
        )


def quantise(plain, path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)
    quantize_dynamic(
        model_input=str(plain),
        model_output=str(path),
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=False,
        weight_type=QuantType.QUInt8,
        nodes_to_exclude=[
            n.name
            for n in onnx.load(str(plain)).graph.node
            if "output" in n.name or "bias_encoder" in n.name or "bias_decoder" in n.name
        ],
    )


def dequantised(state, plain, quantised):
    """The state with the matrices that the quantised graph stands for."""
    was = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(plain)).graph.initializer}
    now = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(quantised)).graph.initializer}
    names = {v.numpy().tobytes(): k for k, v in state.items()}
    out = dict(state)
    for name, q in now.items():
        if name.endswith("_quantized"):
            base = name.removesuffix("_quantized")
            w = (q.astype("f4") - now[base + "_zero_point"].astype("f4")) * now[base + "_scale"]
            out[names[was[base].T.tobytes()]] = torch.from_numpy(w.T.copy())
    return out


# ---- what is committed ----


def strip(path):
    """Leaves of a graph what its weights are known by: they, and nodes that take one or stand behind a product."""
    m = onnx.load(str(path))
    g = m.graph
    weights = [t for t in g.initializer if t.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8)]
    known, products, nodes = {t.name for t in weights}, set(), []
    for n in g.node:
        behind = n.op_type in ("Cast", "Mul") and n.input[0] in products
        if behind or known.intersection(n.input):
            nodes.append(n)
            if n.op_type in ("MatMulInteger", "Cast"):
                products.add(n.output[0])
        del n.attribute[:]
    for field, values in (("node", nodes), ("initializer", weights), ("input", ()), ("output", ()), ("value_info", ())):
        values = list(values)
        del getattr(g, field)[:]
        getattr(g, field).extend(values)
    path.write_bytes(m.SerializeToString())


def tiny(family):
    import funasr_folders as ff

    block = dict(attention_heads=2, linear_units=12, kernel_size=11)
    shape = dict(output_size=8, num_blocks=2, **block)
    if family == "sense_voice":
        return ff.SenseVoiceSmall(
            encoder="SenseVoiceEncoderSmall", encoder_conf=dict(tp_blocks=1, **shape), input_size=16, vocab_size=6
        )
    import funasr.models.bicif_paraformer.cif_predictor  # noqa: F401 (registers its class)
    from funasr.models.bicif_paraformer.model import BiCifParaformer

    return BiCifParaformer(
        encoder="SANMEncoder",
        encoder_conf=dict(input_layer="pe", **shape),
        decoder="ParaformerSANMDecoder",
        decoder_conf=dict(num_blocks=1, att_layer_num=1, **block),
        predictor="CifPredictorV3",
        predictor_conf=dict(idim=8, l_order=1, r_order=1, upsample_times=3, use_cif1_cnn=False, upsample_type="cnn_blstm"),
        ctc_weight=0.0,
        input_size=16,
        vocab_size=6,
    )


def main(out):
    import funasr_folders as ff

    out.mkdir(parents=True, exist_ok=True)
    for family in "sense_voice", "bicif_paraformer":
        model = tiny(family)
        state = model.state_dict()
        for name, v in state.items():
            v.copy_(ff.values(name, tuple(v.shape)))
        lines = [" ".join([k, *map(str, v.shape)]) for k, v in state.items() if k != "decoder.embed.0.weight"]
        (out / f"{family}.txt").write_text("\n".join(lines) + "\n")
        graph = out / f"{family}.onnx"
        export(family, model, graph, width=16, predictor="CifPredictorV3")
        if family == "sense_voice":
            plain = graph.rename(out / "plain")
            quantise(plain, graph)
            plain.unlink()
        strip(graph)


if __name__ == "__main__":
    with torch.no_grad():
        main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "data/onnx"))
