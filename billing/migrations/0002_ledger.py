"""The fields of usage records that the ledger fills in."""

from django.db import migrations, models


def field(name, kind):
    return migrations.AddField(model_name="usagerecord", name=name, field=kind)


class Migration(migrations.Migration):

    dependencies = [("billing", "0001_initial")]

    operations = [
        field("gpu_prefill_ns", models.BigIntegerField(default=0, verbose_name="GPU time, prompt")),
        field("gpu_decode_ns", models.BigIntegerField(default=0, verbose_name="GPU time, answer")),
        field("tags", models.JSONField(blank=True, default=dict, verbose_name="tags")),
        field("price_id", models.UUIDField(blank=True, null=True, verbose_name="price")),
        field("hold_nano", models.BigIntegerField(default=0, verbose_name="held")),
        field("epoch", models.CharField(blank=True, max_length=64, verbose_name="escrow epoch")),
        field("charge_nano", models.BigIntegerField(default=0, verbose_name="charge")),
        field("currency", models.CharField(blank=True, max_length=3, verbose_name="currency")),
        field("ledger_transaction_id", models.UUIDField(blank=True, null=True, verbose_name="ledger transaction")),
        migrations.RunSQL(
            "ALTER TABLE billing_usagerecord ALTER gpu_prefill_ns SET DEFAULT 0, ALTER gpu_decode_ns SET DEFAULT 0,"
            " ALTER tags SET DEFAULT '{}', ALTER hold_nano SET DEFAULT 0, ALTER epoch SET DEFAULT '',"
            " ALTER charge_nano SET DEFAULT 0, ALTER currency SET DEFAULT ''",
            migrations.RunSQL.noop,
        ),
    ]
