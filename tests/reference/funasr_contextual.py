#!/usr/bin/env python3
"""Holds otolith's Contextual Paraformer to FunASR's own class on real recordings, stage by stage.

    funasr_contextual.py FUNASR_DUMP [--size small|full] [--recordings 3] [--data build/testdata] [--scratch FOLDER]

The weights are those of funasr_peer.py's Paraformer, shaped on other recordings (funasr_models.py), in FunASR's
contextual class: the last layer merges nearly all of what it hears of sound with what it hears of words, which is
random, of the size of WORDS of the tokens' rows. otolith reads the folder as FunASR publishes one. In float32 are
compared, without hot words, with one, some and many: the encoder's last layer, CIF's weights and frames, the words'
rows, what the last layer hears of sound and of words, logits, tokens. Then int8 against otolith's own float32.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile

import funasr_models as fm
import funasr_peer as peer
import numpy as np
import torch

LISTS = {"none": 0, "one": 1, "some": 20, "many": 300}  # so many words
WORDS = 0.5


def contextual(layers, decoder_layers, vocabulary):
    import funasr.models.contextual_paraformer.decoder  # noqa: F401 (registers its class)
    from funasr.models.contextual_paraformer.model import ContextualParaformer

    return ContextualParaformer(
        encoder="SANMEncoder",
        encoder_conf=dict(output_size=512, num_blocks=layers, input_layer="pe", **fm.SANM),
        decoder="ContextualParaformerDecoder",
        decoder_conf=dict(num_blocks=decoder_layers, att_layer_num=decoder_layers, **fm.SANM),
        predictor="CifPredictorV2",
        predictor_conf=dict(idim=512, l_order=1, r_order=1, tail_threshold=0.45),
        inner_dim=512,
        ctc_weight=0.0,
        input_size=560,
        vocab_size=vocabulary,
    )


def fill(model, plain, sizes):
    """Of the plain model all but what only the contextual one has."""
    g = torch.Generator().manual_seed(11)

    def normal(*shape):
        return torch.randn(*shape, generator=g) / shape[-1] ** 0.5

    last = f"decoder.decoders.{sizes[1] - 1}."
    state = {k.replace(last, "decoder.last_decoder."): v for k, v in plain.state_dict().items()}
    missing, extra = model.load_state_dict(state, strict=False)
    assert not extra and all(k.startswith(("bias_", "decoder.bias_")) for k in missing), (missing, extra)
    d = model.decoder
    model.bias_embed.weight.copy_(torch.randn(model.bias_embed.weight.shape, generator=g))
    for w in model.bias_encoder.parameters():
        w.copy_(2 * normal(*w.shape) if w.dim() > 1 else 0.1 * torch.randn(w.shape, generator=g))
    a = d.bias_decoder.src_attn
    for layer, by in ((a.linear_q, 2), (a.linear_k_v, 4), (a.linear_out, 1)):
        layer.weight.copy_(by * normal(*layer.weight.shape))
        layer.bias.copy_(0.1 * torch.randn(layer.bias.shape, generator=g))
    d.bias_decoder.norm3.load_state_dict(d.last_decoder.norm3.state_dict())
    d.bias_output.weight[:, :512, 0] = torch.eye(512) + 0.1 * normal(512, 512)
    d.bias_output.weight[:, 512:, 0] = normal(512, 512)


def run(model, rows, words, depth):
    """rows: what the network hears, otolith's own."""
    kept, d = {}, model.decoder
    hooks = [
        d.last_decoder.register_forward_hook(lambda _m, _i, out: kept.update(x=out[2], of_sound=out[3])),
        d.bias_decoder.register_forward_hook(lambda _m, i, out: kept.update(list=i[2], of_words=out[0])),
        d.output_layer.register_forward_hook(lambda _m, _i, out: kept.update(logits=out)),
    ]
    n = torch.tensor([len(rows)])
    h, hl = model.encode(torch.from_numpy(rows.copy())[None], n)
    e, count, alpha, peak = model.calc_predictor(h, hl)[:4]
    count = count.round().long()
    model.cal_decoder_with_predictor(h, hl, e, count, hw_list=[[*w] for w in words] + [[1]] if words else None)
    for hook in hooks:
        hook.remove()
    tokens = int(count[0])
    out = {f"layer{depth}": h[0], "alpha": alpha[0][:, None], "fire": (peak[0] >= 1).nonzero()[:tokens].float()}
    out["embed"] = e[0, :tokens]
    out.update({k: kept[k][0] for k in ("list", "of_sound", "of_words", "logits")})
    out["ids"] = kept["logits"][0].argmax(-1).float()[:, None]
    return {k: v.numpy() for k, v in out.items()}, kept["x"][0].numpy()


def lists(n_vocab):
    """ids and text of each list: one to eight characters a word."""
    rng = np.random.default_rng(5)
    pieces = fm.vocabulary("paraformer", n_vocab)
    known = [i for i in range(3, n_vocab) if i % 10]
    for name, n in LISTS.items():
        words = [rng.choice(known, 1 + i % 8).tolist() for i in range(n)]
        yield name, words, ", ".join("".join(pieces[i] for i in w) for w in words) or "auto"


def write(model, mvn, folder):
    os.makedirs(folder, exist_ok=True)
    shutil.copy(mvn, folder)
    fm.write_checkpoint("paraformer", model, folder)
    with open(os.path.join(folder, "config.yaml"), "w", encoding="utf-8") as f:
        f.write("model: ContextualParaformer\nmodel_conf:\n    inner_dim: 512\n    ctc_weight: 0.0\n")
        f.write("encoder_conf:\n    attention_heads: 4\n    kernel_size: 11\npredictor_conf:\n    tail_threshold: 0.45\n")


def balance(model, rows, words):
    """Words add WORDS of what is there, in the channels that are no outliers."""
    kept, there = run(model, rows, words, 0)
    w = model.decoder.bias_output.weight[:, 512:, 0]
    added = torch.from_numpy(kept["of_words"]) @ w.T
    w *= WORDS * fm.Shaper.ordinary(torch.from_numpy(there)) / fm.Shaper.ordinary(added)


def compare(ours, theirs):
    """Prints the worst of each stage; whether all is well."""
    good = True
    for stage in theirs[0]:
        of = peer.by_row if stage == "logits" else peer.relative
        error = max(of(a[stage], b[stage]) for a, b in zip(ours, theirs))
        ok = error <= (0 if stage in ("fire", "ids") else 1e-3)
        good &= ok
        print(f"    {stage:9} worst {error:.1e}{'' if ok else '  FAILED'}", flush=True)
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("dump")
    p.add_argument("--size", default="full", choices=["small", "full"])
    p.add_argument("--data", default=os.path.join(fm.ROOT, "build/testdata"))
    p.add_argument("--scratch")
    p.add_argument("--recordings", type=int, default=3)
    args = p.parse_args()
    args.exporters = None
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as temporary:
        args.scratch = args.scratch or temporary
        os.makedirs(args.scratch, exist_ok=True)
        compared, shaping, fitting = peer.prompts(args.data)
        compared = [compared[i] for i in np.linspace(2, len(compared) - 1, args.recordings).round().astype(int)]
        paths = [os.path.join(args.scratch, f"contextual-{i}.f32") for i in range(len(compared))]
        for pcm, path in zip(compared, paths):
            pcm.tofile(path)
        sizes = fm.SIZES["paraformer"][args.size]
        plain, mvn, _ = peer.make(args, "paraformer", shaping, fitting)
        model = contextual(*sizes).eval().requires_grad_(False)
        fill(model, plain, sizes)
        balance(model, fm.features(fitting[0], mvn).numpy(), list(lists(sizes[2]))[2][1])
        folder = os.path.join(args.scratch, f"contextual-{args.size}")
        write(model, mvn, folder)
        print(f"{sizes[0]} + {sizes[1]} layers, {len(paths)} recordings, {sum(map(len, compared)) / 16000:.0f} s")
        good, plain_ids = True, None
        for name, words, text in lists(sizes[2]):
            ours = peer.dump(args, folder, "f32", str(sizes[0]), paths, text)
            theirs = [run(model, o["rows"], words, sizes[0])[0] for o in ours]
            ids = np.concatenate([t["ids"] for t in theirs])
            plain_ids = ids if plain_ids is None else plain_ids
            print(f"  {name}: {len(words)} words, {len(ids)} tokens, of which they change {(ids != plain_ids).sum()}")
            good &= compare(ours, theirs)
            eight = peer.dump(args, folder, "int8", "-", paths, text)
            wrong = sum(peer.edits(list(a["ids"][:, 0]), list(b["ids"][:, 0])) for a, b in zip(eight, ours))
            print(f"    int8 keeps {100 * (1 - wrong / len(ids)):.1f} % of the tokens", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
