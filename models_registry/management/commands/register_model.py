"""`manage.py register_model`: puts a model into the registry and lets it run, in one command."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from core.actors import system
from core.errors import DomainError
from core.scoping import platform_scope
from models_registry import artifacts, engine_arguments, selectors
from models_registry.models import (
    Deployment,
    EngineKind,
    ModelVersion,
    Source,
    Task,
    VersionState,
    Visibility,
)
from models_registry.services import aliases, deployments, grants, models, versions
from tenants import selectors as tenants
from tenants.models import Tenant

ACTOR = system("manage.py register_model")
SIMULATED = "simulated"


class Command(BaseCommand):
    """Register a folder of model files, or a model behind an OpenAI-compatible server, and deploy it.

    The default is a public model of the platform with one replica. A name that exists already gets a new
    version, unless its files are the newest version's. Everything is done, or nothing.
    """

    help = "Register a model folder or a remote model, put it online and deploy it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument(
            "source", metavar="PATH_OR_URL", help="a model folder, a server's base URL, or “simulated”"
        )
        parser.add_argument("--name", required=True, help="the public name of the model")
        parser.add_argument("--task", choices=Task.values, default=Task.CHAT)
        parser.add_argument("--tenant", metavar="SLUG", help="the owner; default: the platform")
        shown = parser.add_mutually_exclusive_group()
        shown.add_argument("--public", action="store_true", help="every tenant may invoke it")
        shown.add_argument(
            "--grant", metavar="SLUG", action="append", help="only these tenants may invoke it"
        )
        parser.add_argument("--engine-arg", metavar="K=V", action="append", default=[], dest="engine_args")
        parser.add_argument(
            "--remote-model", metavar="NAME", default="", help="its name on the remote server"
        )
        parser.add_argument(
            "--credential-env", metavar="VAR", help="environment variable that holds the API key"
        )
        parser.add_argument("--context-length", type=int, metavar="TOKENS")
        parser.add_argument("--replicas", type=int, default=1)
        parser.add_argument("--alias", metavar="NAME", help="a further public name")
        parser.add_argument("--no-deploy", action="store_true", help="register only")
        parser.add_argument(
            "--manifest", metavar="FILE", type=Path, help="JSON or sha256sum file to hold it to"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and say what was done."""
        try:
            credential = _credential(options["credential_env"])
            with platform_scope(reason="manage.py register_model"):
                lines = _register(options, credential)
        except DomainError as error:
            raise CommandError(error.message) from None
        for line in lines:
            self.stdout.write(line)


def _register(options: dict[str, Any], credential: str) -> list[str]:
    owner = tenants.tenant_by_slug(slug=options["tenant"]) if options["tenant"] else None
    engine = _engine(options["source"])
    engine_args = engine_arguments.from_text(engine, options["engine_args"])
    version, lines = _version(options, engine, owner)
    for slug in options["grant"] or ():
        grants.grant(model=version.model, to=tenants.tenant_by_slug(slug=slug), actor=ACTOR)
        lines.append(_("Tenant %(slug)s may invoke it.") % {"slug": slug})
    if version.state == VersionState.STAGING:
        versions.set_state(version=version, state=VersionState.ONLINE, actor=ACTOR)
        lines.append(_("The version is online."))
    if not options["no_deploy"]:
        lines.append(_deployed(options, engine, engine_args, version, owner, credential))
    name = version.model.name
    if options["alias"]:
        alias = aliases.set_alias(name=options["alias"], version=version, actor=ACTOR, tenant=owner)
        lines.append(_("The name %(alias)s leads to it.") % {"alias": alias.name})
        name = alias.name
    return [*lines, *_how_to_call(name, options["task"])]


def _engine(source: str) -> str:
    if source.startswith(("http://", "https://")):
        return EngineKind.OPENAI
    return EngineKind.SIMULATED if source == SIMULATED else EngineKind.VLLM


def _version(options: dict[str, Any], engine: str, owner: Tenant | None) -> tuple[ModelVersion, list[str]]:
    """The version to deploy, registered or found, and what was done."""
    sources = {EngineKind.OPENAI: Source.REMOTE, EngineKind.SIMULATED: Source.SIMULATED}
    content: dict[str, Any] = {
        "source": sources.get(EngineKind(engine), Source.FOLDER),
        "path": Path(options["source"]).absolute() if engine == EngineKind.VLLM else None,
        "context_length": options["context_length"],
        "expected": artifacts.read_manifest(options["manifest"]) if options["manifest"] else None,
    }
    model = selectors.models().filter(tenant=owner, name=options["name"]).first()
    if model is None:
        version = models.register(
            actor=ACTOR,
            name=options["name"],
            tenant=owner,
            task=options["task"],
            visibility=_visibility(options),
            **content,
        )
        said = _("Model %(name)s is registered, owned by %(owner)s, visibility %(visibility)s.") % {
            "name": version.model.name,
            "owner": owner.slug if owner else _("the platform"),
            "visibility": version.model.visibility,
        }
        return version, [said, *_what_was_found(version)]
    newest = selectors.versions(model=model).exclude(state=VersionState.RETIRED).first()
    if newest is not None and _is_same(newest, options, content):
        return newest, [_("Version %(number)d of %(name)s is the same already.") % _words(newest)]
    version = versions.register(model=model, actor=ACTOR, **content)
    lines = [_("Version %(number)d of %(name)s is registered.") % _words(version), *_what_was_found(version)]
    if newest is not None:
        lines.append(
            _(
                "Version %(number)d goes on running; end it with: manage.py retire_model %(name)s --number %(number)d"
            )
            % {"number": newest.number, "name": model.qualified_name}
        )
    return version, lines


def _is_same(newest: ModelVersion, options: dict[str, Any], content: dict[str, Any]) -> bool:
    """True when the newest version is already what is to be registered: the same files, or the same server."""
    if newest.source != content["source"]:
        return False
    if content["path"] is not None:
        return artifacts.verify(content["path"], expected=content["expected"]).digest == newest.digest
    if newest.source == Source.SIMULATED:
        return True
    return Deployment.objects.filter(version=newest, remote_base_url=options["source"].rstrip("/")).exists()


def _visibility(options: dict[str, Any]) -> str:
    if options["grant"]:
        return Visibility.GRANTED
    return Visibility.PUBLIC if options["public"] or not options["tenant"] else Visibility.PRIVATE


def _what_was_found(version: ModelVersion) -> list[str]:
    if version.source != Source.FOLDER:
        return []
    return [
        _(
            "%(files)d files verified: %(architecture)s, %(parameters)s parameters, context %(context)s tokens."
        )
        % {
            "files": len(version.manifest),
            "architecture": version.architecture,
            "parameters": f"{version.parameters or 0:,}",
            "context": version.context_length or "?",
        },
        _("Digest %(digest)s") % {"digest": version.digest},
    ]


def _deployed(
    options: dict[str, Any],
    engine: str,
    engine_args: dict[str, Any],
    version: ModelVersion,
    owner: Tenant | None,
    credential: str,
) -> str:
    existing = Deployment.objects.filter(version=version, tenant=owner, engine_args=engine_args).first()
    if existing is not None:
        deployments.scale(deployment=existing, replicas=options["replicas"], actor=ACTOR)
        deployments.start(deployment=existing, actor=ACTOR)
        return _("Deployment %(name)s runs with %(replicas)d replicas.") % {
            "name": existing.name,
            "replicas": options["replicas"],
        }
    is_remote = engine == EngineKind.OPENAI
    deployment = deployments.create(
        version=version,
        actor=ACTOR,
        tenant=owner,
        engine=engine,
        replicas=options["replicas"],
        engine_args=engine_args,
        remote_base_url=options["source"] if is_remote else "",
        remote_model=(options["remote_model"] or options["name"]) if is_remote else "",
        credential=credential if is_remote else "",
    )
    return _("Deployment %(name)s: engine %(engine)s, %(replicas)d replicas wanted.") % {
        "name": deployment.name,
        "engine": deployment.engine,
        "replicas": deployment.desired_replicas,
    }


def _how_to_call(name: str, task: str) -> list[str]:
    bodies = {
        Task.CHAT: ("chat/completions", '"messages": [{"role": "user", "content": "Hello"}]'),
        Task.COMPLETION: ("completions", '"prompt": "Once"'),
        Task.EMBEDDING: ("embeddings", '"input": "Hello"'),
    }
    path, body = bodies[Task(task)]
    return [
        _("Call it, with a tenant's key, once a replica is ready:"),
        f"  curl $ATRIUM_URL/v1/{path} -H 'Authorization: Bearer atr-…' -H 'Content-Type: application/json'"
        f""" -d '{{"model": "{name}", {body}}}'""",
    ]


def _words(version: ModelVersion) -> dict[str, Any]:
    return {"number": version.number, "name": version.model.name}


def _credential(variable: str | None) -> str:
    """SECURITY: from the environment, never from the command line, which every process on the machine can read."""
    if variable is None:
        return ""
    if not os.environ.get(variable):
        raise CommandError(_("The environment variable %(name)s is not set.") % {"name": variable})
    return os.environ[variable]
