"""`manage.py simulate_sharing`: plays a trace through the queue's own scripts and through what they replace."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from core.valkey import sync_client
from inference.simulation import report, traces
from inference.simulation.comparison import SCHEDULERS, compare
from inference.simulation.machine import Machine

MOST_TENANTS, MOST_REPLICAS = 10_000, 1_000


class Command(BaseCommand):
    """Compare schedulers on a virtual clock. Needs Valkey, in which it works on keys of its own and leaves none."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.description = _(
            "Compare fair sharing with other schedulers on a synthetic or a recorded trace."
        )
        parser.add_argument(
            "--trace", choices=sorted(traces.KINDS), default="flood", help=_("A synthetic trace.")
        )
        parser.add_argument(
            "--recorded",
            type=Path,
            help=_("A recorded trace: JSON Lines with at_ms, tenant, prompt_tokens, completion_tokens."),
        )
        parser.add_argument("--tenants", type=int, default=20, help=_("At most %d.") % MOST_TENANTS)
        parser.add_argument("--replicas", type=int, default=1, help=_("At most %d.") % MOST_REPLICAS)
        parser.add_argument("--seconds", type=float, default=300.0, help=_("Length of a synthetic trace."))
        parser.add_argument(
            "--load", type=float, default=1.5, help=_("Asked for, against what can be served.")
        )
        parser.add_argument("--prompt", type=int, default=512, help=_("Mean prompt tokens."))
        parser.add_argument("--completion", type=int, default=256, help=_("Mean answer tokens."))
        parser.add_argument("--seed", type=int, default=1, help=_("The same seed gives the same trace."))
        parser.add_argument(
            "--weight",
            action="append",
            default=[],
            metavar="TENANT=WEIGHT",
            help=_("Of a tenant; others have 1."),
        )
        parser.add_argument("--slots", type=int, default=32, help=_("Requests at once in one replica."))
        parser.add_argument("--prefill", type=float, default=20_000.0, help=_("Prompt tokens per second."))
        parser.add_argument(
            "--step-ms", type=float, default=25.0, help=_("Time for one token of every answer.")
        )
        parser.add_argument(
            "--per-minute",
            type=float,
            default=0.0,
            help=_("Of the rate limit; 0: an equal part of what can be served."),
        )
        parser.add_argument(
            "--scheduler", action="append", choices=SCHEDULERS, help=_("Only these; repeatable.")
        )
        parser.add_argument("--json", action="store_true", help=_("Print JSON and not a table."))
        parser.add_argument(
            "--plot", type=Path, metavar="FILE.svg", help=_("Draw the difference in service.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Play, and print."""
        if not 1 <= options["tenants"] <= MOST_TENANTS or not 1 <= options["replicas"] <= MOST_REPLICAS:
            raise CommandError(
                _("Tenants must be 1 to %(tenants)d, replicas 1 to %(replicas)d.")
                % {"tenants": MOST_TENANTS, "replicas": MOST_REPLICAS}
            )
        for name in ("seconds", "load", "prompt", "completion", "slots", "prefill", "step_ms"):
            if options[name] <= 0:
                raise CommandError(_("--%s must be above 0.") % name.replace("_", "-"))
        machine = Machine(
            replicas=options["replicas"],
            slots=options["slots"],
            prefill_tokens_per_s=options["prefill"],
            step_ms=options["step_ms"],
        )
        trace = self._trace(machine, options)
        if not trace.arrivals:
            raise CommandError(_("The trace has no request."))
        per_minute = options["per_minute"] or self._equal_part(machine, trace)
        try:
            found = compare(
                sync_client(),
                machine,
                trace,
                options["scheduler"] or SCHEDULERS,
                per_minute=per_minute,
                tell=lambda name: self.stderr.write(f"{name} …") if options["verbosity"] > 1 else None,
            )
        except RedisError as error:
            raise CommandError(_("Valkey does not answer: %s") % error) from error
        self.stdout.write(report.as_json(found) if options["json"] else report.table(found))
        if options["plot"]:
            options["plot"].write_text(report.drawing(found), encoding="utf-8")

    def _trace(self, machine: Machine, options: dict[str, Any]) -> traces.Trace:
        weights: dict[str, float] = {}
        for pair in options["weight"]:
            tenant, _separator, value = pair.rpartition("=")
            try:
                weights[tenant] = float(value)
            except ValueError:
                weights[tenant] = 0.0
            if not tenant or not 0.001 <= weights[tenant] <= 1e6:
                raise CommandError(
                    _("A weight is TENANT=NUMBER, the number from 0.001 to 1,000,000: %s") % pair
                )
        if options["recorded"]:
            try:
                return traces.recorded(options["recorded"], weights)
            except (OSError, ValueError) as error:
                raise CommandError(str(error)) from error
        prompt, completion = options["prompt"], options["completion"]
        shape = traces.Shape(
            tenants=options["tenants"],
            seconds=options["seconds"],
            rate=options["load"] * machine.requests_per_s(prompt, completion),
            prompt=prompt,
            completion=completion,
            seed=options["seed"],
        )
        made = traces.KINDS[options["trace"]](shape)
        return traces.Trace(made.arrivals, made.seconds, weights)

    @staticmethod
    def _equal_part(machine: Machine, trace: traces.Trace) -> float:
        count = len(trace.arrivals)
        served = machine.requests_per_s(
            sum(one.prompt_tokens for one in trace.arrivals) / count,
            sum(one.completion_tokens for one in trace.arrivals) / count,
        )
        return max(1.0, 60 * served / len(trace.tenants))
