"""Measure the starter model's greedy answers; prints a table and writes nothing.

``python starter_model/evaluate.py`` needs torch and transformers. An answer counts only when it is, character
for character, the one in ``data/``; a tool call only when name and every argument are right.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from build_data import refusal_question
from json_data import json_sample
from phrasing import Entry, held_out_templates, load_entries
from render import IM_END, IM_START, Sample
from tool_data import call_sample, no_call_sample
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


@dataclass(slots=True)
class Case:
    """One prompt, already rendered, and the answer that is wanted."""

    prompt: str
    wanted: str


@dataclass(slots=True)
class Group:
    """Cases of one kind, and how an answer is judged."""

    name: str
    cases: list[Case]
    right: Callable[[str, str], bool]


class Model:
    """The trained folder, loaded for greedy generation."""

    def __init__(self, folder: Path, batch: int) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.batch = batch

    def answers(self, prompts: list[str], limit: int) -> list[str]:
        """Greedy answers of at most ``limit`` tokens, in the order of the prompts."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        result = [""] * len(prompts)
        end = self.tokenizer.convert_tokens_to_ids([IM_END, "<|endoftext|>"])
        for begin in range(0, len(order), self.batch):
            chosen = order[begin : begin + self.batch]
            inputs = self.tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True)
            with torch.inference_mode():
                output = self.model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    max_new_tokens=limit,
                    do_sample=False,
                    eos_token_id=end,
                    pad_token_id=end[1],
                )
            for i, row in zip(chosen, output[:, inputs["input_ids"].shape[1] :], strict=True):
                text = self.tokenizer.decode(row, skip_special_tokens=False)
                result[i] = text.split(IM_END)[0].split("<|endoftext|>")[0].strip()
        return result


def same(answer: str, wanted: str) -> bool:
    """The answer is the wanted one."""
    return answer == wanted.strip()


def same_calls(answer: str, wanted: str) -> bool:
    """The same tools are called with the same arguments."""
    try:
        found = [json.loads(text) for text in CALL.findall(answer)]
    except ValueError:
        return False
    return found == [json.loads(text) for text in CALL.findall(wanted)]


def valid_json(answer: str, wanted: str) -> bool:
    """The answer is a JSON object with the keys of the wanted one."""
    try:
        return list(json.loads(answer)) == list(json.loads(wanted))
    except ValueError:
        return False


def ask(question: str) -> str:
    """The prompt of a single question."""
    return f"{IM_START}user\n{question}{IM_END}\n{IM_START}assistant\n"


def question_groups(entries: list[Entry], count: int, rng: random.Random) -> list[Group]:
    """Questions of the training data, held-out wordings and held-out templates, per language."""
    groups = []
    for language in ("en", "zh"):
        kinds = {
            "training questions": [(q, e) for e in entries for q in e.questions[language]],
            "held-out wordings": [(q, e) for e in entries for q in e.held_out[language]],
            "held-out templates": [(q, e) for e in entries for q in held_out_templates(e, language)],
        }
        for name, pairs in kinds.items():
            chosen = rng.sample(pairs, min(count, len(pairs)))
            cases = [Case(ask(question), entry.answer[language]) for question, entry in chosen]
            groups.append(Group(f"{name}, {language}", cases, same))
        refusal = next(e for e in entries if e.id == "out_of_scope").answer[language]
        cases = [Case(ask(refusal_question(language, rng)), refusal) for _ in range(count // 3)]
        groups.append(Group(f"out of scope, {language}", cases, same))
    return groups


def _case(sample: Sample, first: bool) -> Case | None:
    """The sample cut at its first or its last answer; None when that answer has a forced beginning."""
    places = [i for i, (text, learnt) in enumerate(sample) if learnt and text != IM_END]
    place = places[0] if first else places[-1]
    before = "".join(text for text, _ in sample[:place])
    if not before.endswith(f"{IM_START}assistant\n"):
        return None
    return Case(before, sample[place][0])


def made_up_groups(entries: list[Entry], count: int, rng: random.Random) -> list[Group]:
    """Fresh tool and JSON conversations of the kinds seen in training, with new values."""
    calls: list[Case] = []
    results: list[Case] = []
    plain: list[Case] = []
    objects: list[Case] = []
    while min(len(calls), len(results), len(plain), len(objects)) < count:
        sample = call_sample(entries, rng)
        case, last = _case(sample, True), _case(sample, False)
        if case and case.wanted.startswith("<tool_call>"):
            calls.append(case)
        if last and "<tool_response>" in last.prompt:
            results.append(last)
        case = _case(no_call_sample(entries, rng), True)
        if case:
            plain.append(case)
        case = _case(json_sample(entries, rng), True)
        if case and case.wanted.startswith("{"):
            objects.append(case)
    return [
        Group("tool calls, all arguments right", calls[:count], same_calls),
        Group("sentence after a tool result", results[:count], same),
        Group("no call for a platform question", plain[:count], same),
        Group("free JSON with the asked keys", objects[:count], valid_json),
    ]


def main() -> None:
    """Evaluate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=HERE / "weights")
    parser.add_argument("--count", type=int, default=400, help="cases of each kind at most")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print of each kind")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    entries, rng = load_entries(), random.Random(7)
    model = Model(args.model, args.batch)
    for group in question_groups(entries, args.count, rng) + made_up_groups(entries, args.count // 2, rng):
        begin = time.monotonic()
        given = model.answers([case.prompt for case in group.cases], 160)
        judged = [group.right(a, c.wanted) for a, c in zip(given, group.cases, strict=True)]
        spent = time.monotonic() - begin
        print(
            f"{group.name:36} {sum(judged):4} of {len(judged):4} = {sum(judged) / len(judged):6.1%}  {spent:4.0f} s",
            flush=True,
        )
        wrong = [(c, a) for c, a, ok in zip(group.cases, given, judged, strict=True) if not ok]
        for case, answer in wrong[: args.show]:
            print(
                f"   {case.prompt.split('user')[-1]!r}\n     got    {answer!r}\n     wanted {case.wanted!r}"
            )


if __name__ == "__main__":
    main()
