"""Train the tokenizer and the starter model from the sources in ``data/``: ``python starter_model/train.py``.

The same seed, machine and thread count give the same weights. The result replaces ``weights/`` in one rename.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from build_data import build_round
from muon import Muon
from network import Shape, StarterModel
from phrasing import Entry, check_entries, load_entries
from render import END, IM_END, IM_START, SPECIAL_TOKENS, TEMPLATE_PATH, Sample
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

HERE = Path(__file__).resolve().parent
#: Chinese characters one by one, words with the space before them, digits and marks one by one.
SPLIT = r"\p{Han}| ?[^\s\p{N}\p{P}\p{S}\p{Han}]+|\p{N}| ?[\p{P}\p{S}]|\s+(?!\S)|\s+"

#: The longest conversation that is learnt, in tokens.
LONGEST = 768
#: Token ids and targets of one conversation.
Row = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train: sizes in tokens, rates per step."""

    tokens: int
    batch: int
    seed: int
    muon_rate: float
    adam_rate: float
    vocabulary: int
    flat: float


@dataclass(slots=True)
class Batch:
    """Token ids and targets (-100 = not learnt), both (rows, length)."""

    tokens: Tensor
    targets: Tensor


def train_tokenizer(entries: list[Entry], plan: Plan) -> Tokenizer:
    """A byte-level BPE tokenizer over one round of texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=t in (END, IM_START, IM_END), normalized=False) for t in SPECIAL_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=plan.vocabulary,
        min_frequency=2,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    texts = ["".join(text for text, _ in sample) for sample in build_round(entries, plan.seed)]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(samples: list[Sample], tokenizer: Tokenizer) -> list[Row]:
    """Token ids and targets of each sample; a token is learnt when its first character is."""
    encoded = tokenizer.encode_batch(["".join(text for text, _ in s) for s in samples])
    result = []
    for sample, item in zip(samples, encoded, strict=True):
        learnt = [flag for text, flag in sample for _ in text]
        ids = item.ids
        targets = [i if learnt[start] else -100 for i, (start, _) in zip(ids, item.offsets, strict=True)]
        result.append((ids, targets))
    return result


def grouped(rows: list[Row], plan: Plan) -> list[list[Row]]:
    """The rows in full batches of equal shape: each length is rounded up to a multiple of 16.

    Few shapes keep the matrix library's cache of prepared kernels small and warm. Rows that do not fill a
    batch move on to the next longer one.
    """
    groups: list[list[Row]] = []
    waiting: list[Row] = []
    rows = sorted(rows, key=lambda row: len(row[0]))
    for length in range(16, LONGEST + 1, 16):
        fits = [row for row in rows if length - 16 < len(row[0]) <= length]
        waiting += fits
        size = max(1, plan.batch // length)
        while len(waiting) >= size:
            groups.append(waiting[:size])
            waiting = waiting[size:]
    return groups


def batches(entries: list[Entry], tokenizer: Tokenizer, plan: Plan) -> Iterator[Batch]:
    """Endless batches of about ``plan.batch`` tokens; rows of one batch have similar lengths."""
    number = 0
    while True:
        number += 1
        rng = random.Random(plan.seed + number)
        groups = grouped(encode(build_round(entries, plan.seed + number), tokenizer), plan)
        rng.shuffle(groups)
        for group in groups:
            length = -(-max(len(ids) for ids, _ in group) // 16) * 16
            tokens = torch.zeros(len(group), length, dtype=torch.long)
            targets = torch.full((len(group), length), -100)
            for i, (ids, wanted) in enumerate(group):
                tokens[i, : len(ids)] = torch.tensor(ids)
                targets[i, : len(ids) - 1] = torch.tensor(wanted[1:])
            yield Batch(tokens, targets)


def fast_precision() -> torch.dtype:
    """bfloat16 where the processor has instructions for it, float32 where they would be emulated."""
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has else torch.float32


def optimizers(model: StarterModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    return [
        Muon(matrices, lr=plan.muon_rate, weight_decay=0.01, momentum=0.95, precision=model.precision),
        torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate_at(progress: float, flat: float) -> float:
    """The share of the full learning rate at a progress from 0 to 1.

    A short warm-up, then full until the progress ``flat``, then a cosine down.
    """
    if progress < 0.02:
        return 0.05 + 0.95 * progress / 0.02
    if progress < flat:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - flat) / (1 - flat)))


def fit(model: StarterModel, stream: Iterator[Batch], plan: Plan, keep: Callable[[], None]) -> float:
    """Train until the planned number of tokens is seen; returns the wall time in seconds.

    ``keep`` is called every 150 steps, so that a long run leaves usable weights behind.
    """
    opts = optimizers(model, plan)
    rates = [group["lr"] for opt in opts for group in opt.param_groups]
    seen, step, mean, begin = 0, 0, 0.0, time.monotonic()
    while seen < plan.tokens:
        batch = next(stream)
        scale = rate_at(seen / plan.tokens, plan.flat)
        for opt, rate in zip(opts, rates, strict=True):
            opt.param_groups[0]["lr"] = rate * scale
        with torch.autocast("cpu", torch.bfloat16, enabled=model.precision == torch.bfloat16):
            loss, entropy = model.loss(model(batch.tokens), batch.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        seen += batch.tokens.numel()
        step += 1
        mean += (entropy.item() - mean) * max(0.02, 1 / step)
        if step % 50 == 0:
            spent = time.monotonic() - begin
            print(
                f"step {step} tokens {seen} loss {mean:.4f} {seen / spent:.0f} tokens/s {spent:.0f} s",
                flush=True,
            )
        if step % 150 == 0:
            keep()
    return time.monotonic() - begin


def configs(shape: Shape, tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """The JSON files that make a folder of weights a Hugging Face model, by file name."""
    end, pad = tokenizer.token_to_id(IM_END), tokenizer.token_to_id(END)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_width,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.theta,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
    }
    special = {"eos_token": IM_END, "pad_token": END, "additional_special_tokens": [IM_START]}
    added = {
        str(tokenizer.token_to_id(t)): {
            "content": t,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "single_word": False,
            "special": t in (END, IM_START, IM_END),
        }
        for t in SPECIAL_TOKENS
    }
    return {
        "config.json": config,
        "generation_config.json": {"eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": False},
        "special_tokens_map.json": special,
        "tokenizer_config.json": {
            **special,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.positions,
            "clean_up_tokenization_spaces": False,
            "added_tokens_decoder": added,
            "chat_template": TEMPLATE_PATH.read_text(encoding="utf-8"),
        },
    }


def save(model: StarterModel, shape: Shape, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model folder beside its place, then put it there in one rename."""
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    fresh.mkdir(parents=True)
    weights = {n: p.detach().to(torch.bfloat16).contiguous() for n, p in model.named_parameters()}
    save_file(weights, fresh / "model.safetensors", metadata={"format": "pt"})
    (fresh / "model.safetensors").chmod(0o644)
    tokenizer.save(str(fresh / "tokenizer.json"))
    for name, content in configs(shape, tokenizer).items():
        (fresh / name).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=float, default=6.0e6, help="training length in tokens")
    parser.add_argument("--batch", type=int, default=4096, help="tokens per step")
    parser.add_argument("--vocabulary", type=int, default=5120)
    parser.add_argument("--muon-rate", type=float, default=4e-3)
    parser.add_argument("--adam-rate", type=float, default=3e-3)
    parser.add_argument("--flat", type=float, default=0.35, help="share of the training at the full rate")
    parser.add_argument("--start", type=Path, help="go on from this folder's weights and tokenizer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=20260)
    parser.add_argument("--out", type=Path, default=HERE / "weights", help="folder to write")
    return parser.parse_args()


def main() -> int:
    """Train and save; returns 1 when the sources have faults."""
    args = arguments()
    plan = Plan(
        int(args.tokens), args.batch, args.seed, args.muon_rate, args.adam_rate, args.vocabulary, args.flat
    )
    torch.set_num_threads(args.threads)
    torch.manual_seed(plan.seed)
    entries = load_entries()
    faults = check_entries(entries)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    begun = args.start
    tokenizer = (
        Tokenizer.from_file(str(begun / "tokenizer.json")) if begun else train_tokenizer(entries, plan)
    )
    shape = Shape(vocabulary=tokenizer.get_vocab_size())
    model = StarterModel(shape, fast_precision())
    if begun:
        model.load_state_dict(load_file(begun / "model.safetensors"))
    print(
        f"{len(entries)} facts, {shape.vocabulary} tokens, {sum(p.numel() for p in model.parameters())} parameters"
    )

    def keep() -> None:
        save(model, shape, tokenizer, args.out)

    seconds = fit(model, batches(entries, tokenizer, plan), plan, keep)
    keep()
    print(f"trained in {seconds / 60:.1f} minutes, written to {args.out.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
