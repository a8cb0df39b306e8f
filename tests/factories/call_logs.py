"""Call logs, full texts, log policies and data keys."""

from __future__ import annotations

from datetime import timedelta

import factory

from core import clock
from inference.models import CallLog, CallLogText, DataKey, LogPolicy
from tests.factories.base import WalledFactory
from tests.factories.tenants import TenantFactory


class CallLogFactory(WalledFactory):
    """A chat that went well."""

    class Meta:
        model = CallLog

    tenant = factory.SubFactory(TenantFactory)
    request_id = factory.Sequence(lambda n: f"req_{n:032x}")
    model = "chatter"
    route = "/v1/chat/completions"
    address = "192.0.2.7"
    prompt_summary = "user: What is a tenant?"
    response_summary = "One customer of the platform."
    search_text = factory.LazyAttribute(lambda log: f"{log.prompt_summary}\n{log.response_summary}".lower())
    outcome = "completed"
    status = 200
    started_at = factory.LazyFunction(lambda: clock.now() - timedelta(seconds=1))
    finished_at = factory.LazyFunction(clock.now)


class DataKeyFactory(WalledFactory):
    """A key out of use: the active one is made by the service."""

    class Meta:
        model = DataKey

    tenant = factory.SubFactory(TenantFactory)
    wrapped = "bm90IGEga2V5"
    is_active = False


class CallLogTextFactory(WalledFactory):
    """A text that no key opens."""

    class Meta:
        model = CallLogText

    tenant = factory.SubFactory(TenantFactory)
    request_id = factory.Sequence(lambda n: f"req_{n:032x}")
    data_key_id = factory.LazyAttribute(lambda text: DataKeyFactory(tenant=text.tenant).pk)
    content = b"sealed"
    started_at = factory.LazyFunction(clock.now)


class LogPolicyFactory(WalledFactory):
    """Summaries for 30 days."""

    class Meta:
        model = LogPolicy

    tenant = factory.SubFactory(TenantFactory)
