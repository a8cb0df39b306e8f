"""The chain over the audit trail: seals, what waits for them, heads; and the erasure of a closed tenant's events."""

import core.ids
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.manager
from django.conf import settings
from django.db import migrations, models

from core.rls import TENANT, AppendOnly, EnableRowLevelSecurity, Policy

RUNTIME, PLATFORM = settings.DATABASE_RUNTIME_ROLE, settings.DATABASE_PLATFORM_ROLE
OWN_TO_READ = Policy("tenant_reads", f"tenant_id = {TENANT}", command="SELECT")

# An event and the note that it waits for its seal commit together. The note is the owner's: whoever may write
# events can neither make notes of events that are none nor take notes away.
NOTES = f"""
CREATE POLICY owner_notes ON audit_auditpending FOR INSERT TO CURRENT_USER WITH CHECK (true);
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON audit_auditpending FROM "{RUNTIME}";
REVOKE INSERT, UPDATE, TRUNCATE ON audit_auditpending FROM "{PLATFORM}";
REVOKE INSERT ON audit_auditseal FROM "{RUNTIME}";
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON audit_auditchain FROM "{RUNTIME}";
REVOKE DELETE, TRUNCATE ON audit_auditchain FROM "{PLATFORM}";
CREATE FUNCTION public.audit_note_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    INSERT INTO public.audit_auditpending (id, tenant_id) VALUES (NEW.id, NEW.tenant_id);
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION public.audit_note_event() FROM PUBLIC;
CREATE TRIGGER note_event AFTER INSERT ON audit_auditevent
    FOR EACH ROW EXECUTE FUNCTION public.audit_note_event();
ALTER TABLE audit_auditevent NO FORCE ROW LEVEL SECURITY;
INSERT INTO audit_auditpending (id, tenant_id) SELECT id, tenant_id FROM audit_auditevent;
ALTER TABLE audit_auditevent FORCE ROW LEVEL SECURITY;
"""
NO_NOTES = """
DROP TRIGGER note_event ON audit_auditevent;
DROP FUNCTION public.audit_note_event();
DROP POLICY owner_notes ON audit_auditpending;
"""

# The one way in which events go: a tenant's, sealed, up to the link that its chain says was erased with a signed
# record. Keeps everybody out of the trail for as long as it takes.
ERASE = f"""
CREATE FUNCTION public.audit_erase_events(which uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    gone bigint;
BEGIN
    IF which IS NULL THEN
        RAISE EXCEPTION 'the trail of the platform is not erased' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE public.audit_auditevent, public.audit_auditseal, public.audit_auditchain IN ACCESS EXCLUSIVE MODE;
    -- Forced row-level security binds the owner too.
    ALTER TABLE public.audit_auditevent NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE public.audit_auditseal NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE public.audit_auditchain NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE public.audit_auditevent DISABLE TRIGGER append_only;
    DELETE FROM public.audit_auditevent event USING public.audit_auditseal seal, public.audit_auditchain chain
        WHERE event.tenant_id = which AND seal.event_id = event.id AND seal.tenant_id = which
        AND chain.tenant_id = which AND seal.sequence <= chain.erased_through;
    GET DIAGNOSTICS gone = ROW_COUNT;
    ALTER TABLE public.audit_auditevent ENABLE TRIGGER append_only;
    ALTER TABLE public.audit_auditevent FORCE ROW LEVEL SECURITY;
    ALTER TABLE public.audit_auditseal FORCE ROW LEVEL SECURITY;
    ALTER TABLE public.audit_auditchain FORCE ROW LEVEL SECURITY;
    RETURN gone;
END
$function$;
REVOKE ALL ON FUNCTION public.audit_erase_events(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.audit_erase_events(uuid) TO "{PLATFORM}";
"""
NO_ERASE = "DROP FUNCTION public.audit_erase_events(uuid);"


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0001_initial'),
        ('tenants', '0003_auditor'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditChain',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('sequence', models.PositiveBigIntegerField(default=0, verbose_name='last number')),
                ('hash', models.CharField(max_length=64, verbose_name='last hash')),
                ('sealed_at', models.DateTimeField(null=True, verbose_name='last sealed')),
                ('checkpoint_sequence', models.PositiveBigIntegerField(default=0, verbose_name='last signed number')),
                ('checkpoint_at', models.DateTimeField(null=True, verbose_name='last signed')),
                ('erased_through', models.PositiveBigIntegerField(default=0, verbose_name='erased through')),
                ('tenant', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'audit chain',
                'verbose_name_plural': 'audit chains',
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(condition=models.Q(('sequence__gt', models.F('checkpoint_sequence'))), fields=['checkpoint_at'], name='audit_chain_unsigned')],
                'constraints': [models.UniqueConstraint(fields=('tenant',), name='audit_chain_one_each', nulls_distinct=False)],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='AuditPending',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('noted_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='written')),
                ('tenant', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'event that waits for its seal',
                'verbose_name_plural': 'events that wait for their seals',
                'base_manager_name': 'unscoped',
                'indexes': [models.Index(fields=['tenant', 'id'], name='audit_pending_by_tenant')],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name='AuditSeal',
            fields=[
                ('id', models.UUIDField(default=core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('sequence', models.PositiveBigIntegerField(verbose_name='number')),
                ('event_id', models.UUIDField(unique=True, verbose_name='event')),
                ('event_digest', models.CharField(max_length=64, verbose_name="event's digest")),
                ('hash', models.CharField(max_length=64, verbose_name='hash')),
                ('sealed_at', models.DateTimeField(verbose_name='sealed')),
                ('form', models.PositiveSmallIntegerField(default=1, verbose_name='form')),
                ('tenant', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'audit seal',
                'verbose_name_plural': 'audit seals',
                'base_manager_name': 'unscoped',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'sequence'), name='audit_seal_sequence', nulls_distinct=False)],
            },
            managers=[
                ('objects', django.db.models.manager.Manager()),
                ('unscoped', django.db.models.manager.Manager()),
            ],
        ),
        EnableRowLevelSecurity("auditchain", policies=(OWN_TO_READ,)),
        EnableRowLevelSecurity("auditpending", policies=(OWN_TO_READ,)),
        EnableRowLevelSecurity("auditseal", policies=(OWN_TO_READ,)),
        AppendOnly("auditseal"),
        migrations.RunSQL(NOTES, NO_NOTES),
        migrations.RunSQL(ERASE, NO_ERASE),
    ]
