"""Settings for every surrounding. Values come from the environment (12-factor); each may also come from a file that
`<NAME>_FILE` points to. Units are in the names: `_S` seconds, `_BYTES`, `_MS`."""

from __future__ import annotations

import os
from pathlib import Path

import environ
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

ROOT = Path(__file__).resolve().parents[3]
env = environ.FileAwareEnv()

ATRIUM_HOME = Path(env.str("ATRIUM_HOME", default=str(ROOT / ".atrium"))).resolve()

# --- Secrets: one per purpose; `prepare` and `doctor` refuse weak ones
SECRET_KEY = env.str("SECRET_KEY", default="")
KEY_PEPPER = env.str("ATRIUM_KEY_PEPPER", default="")
# Newest first; older ones still decrypt. Comma-separated.
ENCRYPTION_KEYS = env.list("ATRIUM_ENCRYPTION_KEY", default=[])
# Of these come the Ed25519 keys that sign the audit trail's checkpoints: the newest first, the one before it behind it
# until the new one has signed (docs/adr/0020). Comma-separated.
AUDIT_KEYS = env.list("ATRIUM_AUDIT_KEY", default=[])
# Public keys (base64) that are trusted beside it, for checkpoints whose key was lost. Comma-separated.
AUDIT_TRUSTED_KEYS = env.list("ATRIUM_AUDIT_TRUSTED_KEYS", default=[])

DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
PUBLIC_BASE_URL = env.str("PUBLIC_BASE_URL", default="")
PORT = env.int("PORT", default=8000)

# --- Applications
# Ours, in the order of the layers (design: dependencies run one way).
OWN_APPS = [
    "core",
    "observability",
    "accounts",
    "access",
    "audit",
    "safety",
    "api",
    "console",
    "tenants",
    "models_registry",
    "billing",
    "inference",
]
INSTALLED_APPS = [
    "daphne",
    "unfold.apps.BasicAppConfig",  # its default one would put its own site in place of ours
    "unfold.contrib.guardian",
    "config.apps.SupportAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "guardian",
    "django_cotton",
    "django_htmx",
    *OWN_APPS,
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "observability.middleware.RequestLogMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "tenants.middleware.TenantMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.context_processors.shell",
            ]
        },
    }
]

# --- Database
# DATABASE_URL connects as the runtime role, which row-level security binds. DATABASE_OWNER_URL (migrations only)
# connects as the owner of the tables and is never given to a server process.
DATABASE_RUNTIME_ROLE = env.str("DATABASE_RUNTIME_ROLE", default="atrium_app")
DATABASE_PLATFORM_ROLE = env.str("DATABASE_PLATFORM_ROLE", default="atrium_platform")
DATABASE_POOL_SIZE = env.int("DATABASE_POOL_SIZE", default=10)


def database(variable: str, *, pool: bool) -> dict[str, object]:
    """One DATABASES entry out of a URL. The pool caps connections; persistent ones leak under ASGI."""
    options: dict[str, object] = {"connect_timeout": 5}
    if pool:
        options["pool"] = {"min_size": 0, "max_size": DATABASE_POOL_SIZE, "timeout": 10, "max_idle": 60}
    settings = env.db_url(variable, default="postgresql:///atrium", engine="django.db.backends.postgresql")
    # The check makes the pool drop connections that a restart of PostgreSQL has ended.
    return {
        **settings,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**settings.get("OPTIONS", {}), **options},
    }


DATABASES = {"default": database("DATABASE_URL", pool=True)}
if os.environ.get("DATABASE_OWNER_URL") or os.environ.get("DATABASE_OWNER_URL_FILE"):
    DATABASES["owner"] = database("DATABASE_OWNER_URL", pool=False)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Valkey, Celery
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "atrium:cache",
    }
}
# How long a web process may trust a policy snapshot that no event has touched.
POLICY_CACHE_S = env.float("ATRIUM_POLICY_CACHE_S", default=15.0)
# Compiled rule sets of tenants that one process keeps, by estimate; the platform's own comes on top.
SAFETY_CACHE_BYTES = env.int("ATRIUM_SAFETY_CACHE_MB", default=256) * 1024 * 1024

# --- Accounts
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "accounts.backends.ThrottledModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
GUARDIAN_RAISE_403 = False
ANONYMOUS_USER_NAME = None
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "console:sign-in"
LOGIN_REDIRECT_URL = "console:home"
LOGOUT_REDIRECT_URL = "console:sign-in"
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_USE_SESSIONS = False

# --- Language, time
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
# The second holds what the admin theme says: it ships no translations, and `makemessages` does not see its templates.
LOCALE_PATHS = [ROOT / "locale", ROOT / "locale" / "unfold"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- Static files
STATIC_URL = "/static/"
STATIC_ROOT = ATRIUM_HOME / "static"
STATICFILES_DIRS = [ROOT / "static"]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_MAX_AGE = 3600

# --- Browser security
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    }
}

# --- REST
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["api.authentication.ScopedAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["api.permissions.DeclaredPermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["api.parsers.BoundedJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "api.pagination.CursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["api.filters.StrictFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "api.openapi.ScopedSchema",
    "EXCEPTION_HANDLER": "api.problems.exception_handler",
    "PAGE_SIZE": 50,
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Atrium",
    "DESCRIPTION": "Management API of the Atrium platform.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "KeyState": "access.models.KeyState",
        "OutcomeEnum": "billing.models.Outcome",
        "CallOutcome": "inference.call_logs.models.LogOutcome",
        "LogLevel": "inference.call_logs.models.LogLevel",
        "WorkState": "tenants.models.WorkState",
        "ErasureKind": "tenants.models.ErasureKind",
        "VersionState": "models_registry.models.VersionState",
        "ModelPermission": "models_registry.api.serializers.PERMISSION_CHOICES",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.openapi.describe_data_plane",
    ],
}

# --- Admin
UNFOLD = {
    "SITE_TITLE": "Atrium",
    "SITE_HEADER": "Atrium",
    "SITE_SYMBOL": "hub",
    "SITE_URL": reverse_lazy("console:home"),
    "SHOW_LANGUAGES": True,
    "SHOW_VIEW_ON_SITE": False,
    # In place of Unfold's link to a page for passwords, which are changed in the console.
    "ACCOUNT": {"navigation": [{"title": _("Console"), "link": reverse_lazy("console:home")}]},
}

# --- Registry
# Folders from which model files may be loaded; anything outside is refused. Colon-separated.
MODEL_ROOTS = [
    Path(folder).resolve() for folder in env.str("ATRIUM_MODEL_ROOTS", default="").split(":") if folder
] or [ROOT / "starter_model", ATRIUM_HOME / "models"]
# False where the platform was started without vLLM (ENGINE=none): the demo's models then wait, stopped.
ENGINE_INSTALLED = env.str("ATRIUM_ENGINE", default="") != "none"
ALLOW_SIMULATED_ENGINE = env.bool("ATRIUM_ALLOW_SIMULATED_ENGINE", default=False)
# Remote engines may speak to these private networks (CIDR); public https addresses are always allowed.
REMOTE_ENGINE_NETWORKS = env.list("ATRIUM_REMOTE_ENGINE_NETWORKS", default=[])
# Whether tenants may let the platform speak to servers that they name; off, because it is a way into networks.
TENANT_REMOTE_ENGINES = env.bool("ATRIUM_TENANT_REMOTE_ENGINES", default=False)
# Replicas that one tenant's own deployments may have together; operators may go beyond.
TENANT_MAX_REPLICAS = env.int("ATRIUM_TENANT_MAX_REPLICAS", default=4)

# --- Data plane
NODE_NAME = env.str("ATRIUM_NODE", default=os.uname().nodename.split(".")[0])
NODE_SLOTS = env.int("ATRIUM_NODE_SLOTS", default=4)
NODE_POOL = env.str("ATRIUM_NODE_POOL", default="default")
MAX_BODY_BYTES = env.int("ATRIUM_MAX_BODY_BYTES", default=4 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES  # Django's own bound would be below ours
MAX_JSON_DEPTH = 64
BODY_TIMEOUT_S = env.float("ATRIUM_BODY_TIMEOUT_S", default=15.0)
SLOW_READER_TIMEOUT_S = env.float("ATRIUM_SLOW_READER_TIMEOUT_S", default=20.0)
REQUEST_TIMEOUT_S = env.float("ATRIUM_REQUEST_TIMEOUT_S", default=600.0)
KEEP_ALIVE_COMMENT_S = env.float("ATRIUM_KEEP_ALIVE_COMMENT_S", default=10.0)
# How long a stream waits for another replica after its own has died, before it ends with one error event.
RESUME_TIMEOUT_S = env.float("ATRIUM_RESUME_TIMEOUT_S", default=27.0)
# Where each process keeps its usage records until PostgreSQL has them: on the node's own disk, never shared memory.
USAGE_JOURNAL_DIR = Path(env.str("ATRIUM_USAGE_JOURNAL_DIR", default=str(ATRIUM_HOME / "journal"))).resolve()
# The answer's bound where neither the client nor the model says one: something must be held for it.
UNBOUNDED_MAX_TOKENS = env.int("ATRIUM_UNBOUNDED_MAX_TOKENS", default=16_384)
QUEUE_LIMIT_PER_TENANT = env.int("ATRIUM_QUEUE_LIMIT_PER_TENANT", default=2_000)
# How long after a restart of Valkey money that was set aside for its earlier memory returns to the wallets. Shorter
# than it takes processes to bring back their requests, and these are charged to the wallet instead, if it covers them.
EPOCH_SETTLING_S = env.float("ATRIUM_EPOCH_SETTLING_S", default=60.0)

# --- Audit
# Where checkpoints are written: outside of the database, best on another machine's disk.
AUDIT_DIR = Path(env.str("ATRIUM_AUDIT_DIR", default=str(ATRIUM_HOME / "audit"))).resolve()
# How long at most links stand without a signature; the first after a rest is signed at once.
AUDIT_CHECKPOINT_S = env.float("ATRIUM_AUDIT_CHECKPOINT_S", default=10.0)
# An event that is not sealed after this long is reported.
AUDIT_UNSEALED_S = env.float("ATRIUM_AUDIT_UNSEALED_S", default=60.0)

# --- Billing
# Who writes the invoices, as printed on them.
INVOICE_ISSUER = env.str("ATRIUM_INVOICE_ISSUER", default="Atrium")
INVOICE_NUMBER_PREFIX = env.str("ATRIUM_INVOICE_NUMBER_PREFIX", default="INV-")
# Hours after a month's end until its invoices are closed by themselves: what is late by more is on the next one.
INVOICE_GRACE_H = env.int("ATRIUM_INVOICE_GRACE_H", default=24)

# --- E-mail: smtp://user:password@host:port, smtp+tls://…; without one it goes to the log of the jobs worker
vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
DEFAULT_FROM_EMAIL = env.str("ATRIUM_MAIL_FROM", default="atrium@localhost")
EMAIL_TIMEOUT = 20

# --- Data governance
# Where exports of tenants' data lie; one folder that web and jobs processes see.
EXPORTS_DIR = Path(env.str("ATRIUM_EXPORTS_DIR", default=str(ATRIUM_HOME / "exports"))).resolve()
EXPORT_DAYS = env.int("ATRIUM_EXPORT_DAYS", default=7)
# Days from closing a tenant to the erasure of everything that it owns.
CLOSING_GRACE_DAYS = env.int("ATRIUM_CLOSING_GRACE_DAYS", default=30)

# --- Logs
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
# One line per request to a model on standard output, with ids, times and codes.
LOG_CALLS = env.bool("ATRIUM_LOG_CALLS", default=True)
LOGGING_CONFIG = None  # observability.logs configures structlog and the standard library together
