"""What a Django project does with its database, on models that know nothing of shards."""

import threading

from django.contrib.auth.models import Group, Permission
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, F, Max, Min, Sum
from django.test import TestCase, TransactionTestCase

from social.models import Follow, Like, Post, User

USERS = 40


def make_users(count=USERS):
    return User.objects.bulk_create(User(handle=f"user-{number}", email=f"user-{number}@example.com") for number in range(count))


class Reading(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.users = make_users()
        cls.posts = Post.objects.bulk_create(
            Post(author=user, body=f"{user} {number}", likes_count=number) for user in cls.users for number in range(3)
        )

    def test_bulk_create_gives_ids_in_order(self):
        ids = [user.pk for user in self.users]
        self.assertEqual(len(set(ids)), USERS)
        for user in self.users:
            self.assertEqual(User.objects.get(pk=user.pk).handle, user.handle)

    def test_get_by_other_column(self):
        self.assertEqual(User.objects.get(handle="user-7"), self.users[7])
        with self.assertRaises(User.DoesNotExist):
            User.objects.get(handle="nobody")

    def test_rows_of_one_user(self):
        posts = Post.objects.filter(author=self.users[3]).order_by("id")
        self.assertEqual([post.body for post in posts], [f"user-3 {number}" for number in range(3)])
        self.assertTrue(Post.objects.filter(author=self.users[3], likes_count=2).exists())
        self.assertFalse(Post.objects.filter(author=self.users[3], likes_count=9).exists())

    def test_list_of_keys(self):
        wanted = self.users[5:15]
        self.assertEqual(User.objects.filter(pk__in=[user.pk for user in wanted]).count(), 10)
        self.assertEqual(set(User.objects.in_bulk([user.pk for user in wanted])), {user.pk for user in wanted})
        posts = Post.objects.filter(author__in=wanted).order_by("-id")[:5]
        self.assertEqual([post.pk for post in posts], sorted((p.pk for p in self.posts[15:45]), reverse=True)[:5])

    def test_slices_in_order(self):
        ids = sorted(user.pk for user in self.users)
        self.assertEqual(list(User.objects.order_by("id").values_list("id", flat=True)[10:20]), ids[10:20])
        self.assertEqual(User.objects.order_by("id").first().pk, ids[0])
        self.assertEqual(User.objects.order_by("id").last().pk, ids[-1])
        newest = Post.objects.order_by("-created_at", "-id")[0]
        self.assertEqual(newest.pk, max(post.pk for post in self.posts))

    def test_aggregates_over_all_rows(self):
        numbers = Post.objects.aggregate(Count("id"), Sum("likes_count"), Min("likes_count"), Max("likes_count"))
        self.assertEqual(
            numbers,
            {
                "id__count": USERS * 3,
                "likes_count__sum": USERS * 3,
                "likes_count__min": 0,
                "likes_count__max": 2,
            },
        )

    def test_annotation_of_one_user(self):
        user = User.objects.annotate(written=Count("posts")).get(pk=self.users[0].pk)
        self.assertEqual(user.written, 3)

    def test_select_related(self):
        with self.assertNumQueries(1):
            posts = list(Post.objects.select_related("author"))
            self.assertEqual(len(posts), USERS * 3)
            for post in posts:
                self.assertTrue(post.body.startswith(f"{post.author.handle} "))

    def test_prefetch_related(self):
        with self.assertNumQueries(2):
            users = list(User.objects.prefetch_related("posts").order_by("id"))
            self.assertEqual([len(user.posts.all()) for user in users], [3] * USERS)

    def test_prefetch_over_several_tables(self):
        reader = self.users[0]
        Follow.objects.bulk_create(Follow(follower=reader, followee=user) for user in self.users[1:6])
        follows = reader.following.prefetch_related("followee__posts").order_by("id")
        self.assertEqual([follow.followee_id for follow in follows], [user.pk for user in self.users[1:6]])
        self.assertEqual(sum(len(follow.followee.posts.all()) for follow in follows), 15)

    def test_iterator_over_one_users_rows(self):
        bodies = [post.body for post in self.users[9].posts.order_by("id").iterator(chunk_size=2)]
        self.assertEqual(bodies, [f"user-9 {number}" for number in range(3)])

    def test_raw_sql(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT body FROM social_post WHERE author_id = %s ORDER BY id", [self.users[1].pk])
            self.assertEqual(cursor.fetchall(), [(f"user-1 {number}",) for number in range(3)])
        raw = User.objects.raw("SELECT * FROM social_user WHERE id = %s", [self.users[2].pk])
        self.assertEqual([user.handle for user in raw], ["user-2"])

    def test_local_tables(self):
        editors = Group.objects.create(name="editors")
        editors.permissions.add(*Permission.objects.filter(content_type__app_label="social"))
        self.assertEqual(editors.permissions.count(), 4 * 8)
        self.assertEqual(Permission.objects.filter(content_type__model="post", group=editors).count(), 4)


class Writing(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.users = make_users(12)

    def test_create_and_save(self):
        user = User.objects.create(handle="new", email="new@example.com", settings={"theme": "dark", "tags": [1, None]})
        self.assertIsNotNone(user.pk)
        user.bio = "Žluťoučký kůň"
        user.save()
        user.refresh_from_db()
        self.assertEqual((user.bio, user.settings), ("Žluťoučký kůň", {"theme": "dark", "tags": [1, None]}))
        post = user.posts.create(body="first")
        post.body = "edited"
        post.save(update_fields=["body"])
        self.assertEqual(Post.objects.get(pk=post.pk).body, "edited")

    def test_update_of_expression(self):
        user = self.users[0]
        self.assertEqual(User.objects.filter(pk=user.pk).update(followers_count=F("followers_count") + 5), 1)
        self.assertEqual(User.objects.update(followers_count=F("followers_count") + 1), 12)
        self.assertEqual(User.objects.get(pk=user.pk).followers_count, 6)
        self.assertEqual(User.objects.aggregate(total=Sum("followers_count"))["total"], 17)

    def test_bulk_update(self):
        for number, user in enumerate(self.users):
            user.followers_count = number
        self.assertEqual(User.objects.bulk_update(self.users, ["followers_count"]), 12)
        counts = User.objects.order_by("id").values_list("followers_count", flat=True)
        self.assertEqual(list(counts), list(range(12)))

    def test_get_or_create_and_update_or_create(self):
        user, other = self.users[:2]
        first, created = Follow.objects.get_or_create(follower=user, followee=other)
        second, created_again = Follow.objects.get_or_create(follower=user, followee=other)
        self.assertEqual((created, created_again, first), (True, False, second))
        for bio in ("one", "two"):
            changed, _ = User.objects.update_or_create(pk=user.pk, defaults={"bio": bio})
        self.assertEqual(changed.bio, "two")

    def test_conflicts_ignored_and_updated(self):
        user, other = self.users[:2]
        pair = [Follow(follower=user, followee=other)]
        Follow.objects.bulk_create(pair)
        Follow.objects.bulk_create([Follow(follower=user, followee=other)], ignore_conflicts=True)
        self.assertEqual(Follow.objects.filter(follower=user).count(), 1)

    def test_unique_error_leaves_the_transaction_usable(self):
        user, author = self.users[:2]
        post = author.posts.create(body="liked")
        Like.objects.create(user=user, post=post)
        with self.assertRaises(IntegrityError), transaction.atomic():
            Like.objects.create(user=user, post=post)
        self.assertEqual(Like.objects.filter(user=user).count(), 1)

    def test_check_error(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            User.objects.filter(pk=self.users[0].pk).update(followers_count=-1)
        self.assertEqual(User.objects.get(pk=self.users[0].pk).followers_count, 0)

    def test_savepoints_inside_one_another(self):
        user = self.users[0]
        with transaction.atomic():
            user.posts.create(body="kept")
            try:
                with transaction.atomic():
                    for other in self.users[1:6]:
                        other.posts.create(body="undone")
                    raise ValueError
            except ValueError:
                pass
            user.posts.create(body="kept too")
        self.assertEqual(Post.objects.count(), 2)

    def test_delete_takes_what_belongs_to_a_user(self):
        user, other = self.users[:2]
        post = user.posts.create(body="mine")
        Like.objects.create(user=other, post=post)
        Follow.objects.create(follower=other, followee=user)
        Follow.objects.create(follower=user, followee=other)
        total, by_model = user.delete()
        self.assertEqual(total, 5)
        self.assertEqual(by_model["social.Follow"], 2)
        self.assertEqual((Post.objects.count(), Like.objects.count(), Follow.objects.count()), (0, 0, 0))

    def test_delete_of_many(self):
        Post.objects.bulk_create(Post(author=user, body="old") for user in self.users)
        deleted, _ = Post.objects.filter(body="old").delete()
        self.assertEqual((deleted, Post.objects.count()), (12, 0))


class Transactions(TransactionTestCase):
    """With real commits."""

    def setUp(self):
        self.users = make_users(8)

    def test_atomic_commits_and_rolls_back_over_all_users(self):
        with transaction.atomic():
            for user in self.users:
                user.posts.create(body="kept")
        with self.assertRaises(ValueError), transaction.atomic():
            for user in self.users:
                user.posts.create(body="undone")
            self.assertEqual(Post.objects.count(), 16)
            raise ValueError
        self.assertEqual(Post.objects.count(), 8)

    def test_on_commit(self):
        calls = []
        with transaction.atomic():
            transaction.on_commit(lambda: calls.append("committed"))
            self.users[0].posts.create(body="now")
            self.assertEqual(calls, [])
        self.assertEqual(calls, ["committed"])

    def test_errors_end_a_transaction_and_not_the_connection(self):
        user, author = self.users[:2]
        post = author.posts.create(body="liked")
        Like.objects.create(user=user, post=post)
        with self.assertRaises(IntegrityError):
            Like.objects.create(user=user, post=post)
        self.assertEqual(Like.objects.count(), 1)

    def test_select_for_update_serializes_writers(self):
        key = self.users[0].pk
        self.in_threads(4, lambda: [self.increment(key) for _ in range(10)])
        self.assertEqual(User.objects.get(pk=key).followers_count, 40)

    def test_expressions_lose_no_update(self):
        key = self.users[1].pk
        add_one = F("followers_count") + 1
        self.in_threads(4, lambda: [User.objects.filter(pk=key).update(followers_count=add_one) for _ in range(10)])
        self.assertEqual(User.objects.get(pk=key).followers_count, 40)

    def test_select_for_update_without_waiting(self):
        key = self.users[2].pk
        skipped = []

        def look():
            with transaction.atomic():
                skipped.extend(User.objects.select_for_update(skip_locked=True).filter(pk=key))

        with transaction.atomic():
            User.objects.select_for_update().get(pk=key)
            self.in_threads(1, look)
        self.assertEqual(skipped, [])

    def increment(self, key):
        with transaction.atomic():
            user = User.objects.select_for_update().get(pk=key)
            user.followers_count += 1
            user.save()

    def in_threads(self, count, action):
        errors = []

        def run():
            try:
                action()
            except Exception as error:
                errors.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=run) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
