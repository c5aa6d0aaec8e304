"""What the constraints of Django's own migrations promise."""

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.db import IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase

Membership = User.groups.through


def make_users(count=16):
    return [User.objects.create_user(f"user-{number}") for number in range(count)]


class Unique(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.users = make_users()

    def test_no_name_is_given_twice(self):
        for user in self.users:
            with self.assertRaises(IntegrityError) as raised, transaction.atomic():
                User.objects.create_user(user.username)
            self.assertIn("auth_user_username_key", str(raised.exception))
            self.assertIn(f"Key (username)=({user.username}) already exists.", str(raised.exception))
        self.assertEqual(User.objects.count(), len(self.users))

    def test_a_name_longer_than_once_allowed(self):
        name = "x" * 149
        User.objects.create_user(name + "1")
        User.objects.create_user(name + "2")
        self.assertEqual(User.objects.get(username=name + "2").username, name + "2")

    def test_renaming(self):
        first, second = self.users[:2]
        with self.assertRaises(IntegrityError), transaction.atomic():
            User.objects.filter(pk=first.pk).update(username=second.username)
        User.objects.filter(pk=first.pk).update(username="free")
        self.assertEqual(User.objects.create_user("user-0").username, "user-0")

    def test_look_up_and_create(self):
        found, created = User.objects.get_or_create(username="user-3")
        self.assertEqual((found, created), (self.users[3], False))
        changed, created = User.objects.update_or_create(username="user-4", defaults={"email": "four@example.org"})
        self.assertEqual((changed.pk, created, changed.email), (self.users[4].pk, False, "four@example.org"))

    def test_conflicts(self):
        User.objects.bulk_create(
            [User(username="user-5"), User(username="new"), User(username="new")], ignore_conflicts=True
        )
        self.assertEqual(User.objects.count(), len(self.users) + 1)
        changed = [User(username="user-6", email="six@example.org"), User(username="newer", email="n@example.org")]
        User.objects.bulk_create(
            changed, update_conflicts=True, unique_fields=["username"], update_fields=["email"]
        )
        self.assertEqual(User.objects.get(pk=self.users[6].pk).email, "six@example.org")
        self.assertEqual(User.objects.get(username="newer").email, "n@example.org")


class References(TransactionTestCase):
    def setUp(self):
        self.users = make_users()
        self.group = Group.objects.create(name="editors")

    def test_a_membership_needs_its_group(self):
        for user in self.users:
            with self.assertRaises(IntegrityError) as raised, transaction.atomic():
                Membership.objects.create(user_id=user.pk, group_id=99999)
            self.assertIn('is not present in table "auth_group"', str(raised.exception))
        self.assertEqual(Membership.objects.count(), 0)

    def test_a_membership_needs_its_user(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            Membership.objects.create(user_id=99999, group_id=self.group.pk)

    def test_a_group_with_members_stays(self):
        self.users[1].groups.add(self.group)
        with self.assertRaises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM auth_group WHERE id = %s", [self.group.pk])
        self.assertTrue(Group.objects.filter(pk=self.group.pk).exists())

    def test_what_is_missing_may_come_before_the_end(self):
        with transaction.atomic():
            Membership.objects.create(user_id=self.users[2].pk, group_id=4321)
            Group.objects.create(pk=4321, name="late")
        self.assertEqual(self.users[2].groups.get().name, "late")

    def test_groups_and_users_go_with_their_memberships(self):
        for user in self.users:
            user.groups.add(self.group)
        self.assertEqual(self.group.user_set.count(), len(self.users))
        self.users[0].delete()
        self.assertEqual(Membership.objects.count(), len(self.users) - 1)
        self.group.delete()
        self.assertEqual(Membership.objects.count(), 0)

    def test_the_log_refers_to_content_types_and_users(self):
        kind = ContentType.objects.get_for_model(Group)
        for user in self.users:
            LogEntry.objects.create(user=user, content_type=kind, object_id="1", object_repr="g", action_flag=ADDITION)
        with self.assertRaises(IntegrityError), transaction.atomic():
            LogEntry.objects.create(
                user=self.users[0], content_type_id=99999, object_id="1", object_repr="g", action_flag=ADDITION
            )
        with self.assertRaises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_content_type WHERE id = %s", [kind.pk])
        self.assertEqual(LogEntry.objects.filter(content_type=kind).count(), len(self.users))

    def test_permissions_and_sessions(self):
        permission = Permission.objects.get(codename="add_group")
        user = self.users[7]
        user.user_permissions.add(permission)
        self.assertTrue(User.objects.get(pk=user.pk).has_perm("auth.add_group"))
        session = SessionStore()
        session["user"] = user.pk
        session.save()
        self.assertEqual(SessionStore(session_key=session.session_key)["user"], user.pk)
