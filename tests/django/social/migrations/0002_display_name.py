"""A column added, filled from another one and made NOT NULL, as a living project does it."""

from django.db import migrations, models


def fill(apps, schema_editor):
    User = apps.get_model("social", "User")
    changed = []
    for user in User.objects.filter(display_name=None).order_by("pk").iterator(chunk_size=500):
        user.display_name = user.handle.capitalize()
        changed.append(user)
    User.objects.bulk_update(changed, ["display_name"], batch_size=500)


class Migration(migrations.Migration):
    dependencies = [("social", "0001_initial")]
    # As Django advises where a table is filled and altered: each step in a transaction of its own.
    atomic = False

    operations = [
        migrations.AddField("User", "display_name", models.CharField(max_length=80, null=True)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField("User", "display_name", models.CharField(max_length=80, blank=True, default="")),
        migrations.AddIndex("User", models.Index(fields=["display_name"], name="by_display_name")),
    ]
