"""Queries of Django that no shard can answer alone, and constraints that hold over all."""

from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.db.models import Avg, Case, Count, Exists, F, OuterRef, Prefetch, Q, Subquery, Value, When, Window
from django.db.models.functions import Coalesce, Lower, RowNumber, TruncDay
from django.test import TestCase

from social.models import Comment, Follow, Like, Post, Tag, Tagging, User

PEOPLE = 24


class Queries(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.users = User.objects.bulk_create(
            User(handle=f"user-{number:02}", email=f"user-{number}@example.com", display_name=f"Name {number % 5}")
            for number in range(PEOPLE)
        )
        cls.posts = Post.objects.bulk_create(
            Post(author=user, body=f"{user} {number}", likes_count=number * place)
            for place, user in enumerate(cls.users)
            for number in range(2)
        )
        cls.tags = Tag.objects.bulk_create(Tag(name=name) for name in ("a", "b", "c"))
        Tagging.objects.bulk_create(
            Tagging(post=post, author=post.author, tag=cls.tags[place % 3]) for place, post in enumerate(cls.posts)
        )
        Follow.objects.bulk_create(Follow(follower=cls.users[0], followee=user) for user in cls.users[1:11])
        Like.objects.bulk_create(Like(user=user, post=cls.posts[0]) for user in cls.users[:7])
        Comment.objects.bulk_create(Comment(author=user, post=cls.posts[3], body="yes") for user in cls.users[:4])

    def test_annotations_over_several_tables(self):
        users = User.objects.annotate(
            written=Count("posts", distinct=True), followed=Count("following", distinct=True)
        ).order_by("-followed", "handle")
        self.assertEqual([(u.written, u.followed) for u in users[:2]], [(2, 10), (2, 0)])

    def test_group_by_another_column(self):
        groups = User.objects.values("display_name").annotate(people=Count("id")).order_by("display_name")
        expected = [{"display_name": f"Name {n}", "people": 5 if n < 4 else 4} for n in range(5)]
        self.assertEqual(list(groups), expected)
        average = Post.objects.aggregate(average=Avg("likes_count"))["average"]
        self.assertEqual(average, sum(range(PEOPLE)) / (2 * PEOPLE))

    def test_exists_and_subquery(self):
        liked = Like.objects.filter(post=OuterRef("pk"))
        self.assertEqual([post.pk for post in Post.objects.filter(Exists(liked))], [self.posts[0].pk])
        newest = Post.objects.filter(author=OuterRef("pk")).order_by("-likes_count", "-id").values("body")[:1]
        users = User.objects.annotate(best=Subquery(newest)).order_by("id")
        self.assertEqual([user.best for user in users], [f"{user} 1" for user in self.users])
        self.assertEqual(User.objects.filter(~Exists(Follow.objects.filter(followee=OuterRef("pk")))).count(), 14)

    def test_joins_off_the_key(self):
        liked_by = User.objects.filter(likes__post__author=self.users[0]).order_by("handle")
        self.assertEqual([user.pk for user in liked_by], [user.pk for user in self.users[:7]])
        feed = Post.objects.filter(author__followers__follower=self.users[0]).order_by("-id")[:5]
        self.assertEqual([post.pk for post in feed], sorted((p.pk for p in self.posts[2:22]), reverse=True)[:5])
        self.assertEqual(Comment.objects.filter(post__author__handle="user-01").count(), 4)
        self.assertEqual(Post.objects.exclude(comments__author=self.users[2]).count(), 47)

    def test_many_to_many(self):
        tagged = Post.objects.filter(tags__name="b").order_by("id")
        self.assertEqual([post.pk for post in tagged], [post.pk for post in self.posts[1::3]])
        counts = Tag.objects.annotate(used=Count("posts")).order_by("name")
        self.assertEqual([tag.used for tag in counts], [16, 16, 16])
        self.posts[0].tags.add(self.tags[1], through_defaults={"author": self.posts[0].author})
        self.assertEqual(sorted(tag.name for tag in self.posts[0].tags.all()), ["a", "b"])
        self.posts[0].tags.clear()
        self.assertEqual(self.posts[0].tags.count(), 0)

    def test_prefetch_filtered_and_nested(self):
        best = Prefetch("posts", Post.objects.filter(likes_count__gt=5).order_by("-likes_count"), to_attr="best")
        with self.assertNumQueries(4):
            users = list(User.objects.prefetch_related(best, "posts__tags").order_by("id"))
            self.assertEqual([len(user.best) for user in users], [0] * 6 + [1] * 18)
            self.assertEqual({tag.name for user in users for post in user.posts.all() for tag in post.tags.all()}, set("abc"))

    def test_windows_case_and_expressions(self):
        ranked = Post.objects.annotate(
            place=Window(RowNumber(), partition_by=F("author"), order_by=F("likes_count").desc())
        )
        self.assertEqual(ranked.filter(place=1).count(), PEOPLE)
        running = Post.objects.annotate(place=Window(RowNumber(), order_by=F("id").asc())).order_by("id")
        self.assertEqual([post.place for post in running], list(range(1, 49)))
        weight = Case(When(likes_count__gte=10, then=Value("high")), default=Value("low"))
        groups = Post.objects.annotate(weight=weight).values("weight").annotate(n=Count("*")).order_by("weight")
        self.assertEqual(list(groups), [{"weight": "high", "n": 14}, {"weight": "low", "n": 34}])
        days = Post.objects.annotate(day=TruncDay("created_at")).values("day").annotate(n=Count("id"))
        self.assertEqual(sum(day["n"] for day in days), 48)
        names = User.objects.annotate(name=Lower(Coalesce("display_name", "handle"))).values_list("name", flat=True)
        self.assertEqual(sorted(set(names)), [f"name {number}" for number in range(5)])

    def test_union_difference_and_distinct(self):
        few, many = User.objects.filter(pk__in=[u.pk for u in self.users[:3]]), User.objects.filter(handle__lt="user-10")
        self.assertEqual(len(few.union(many)), 10)
        self.assertEqual(len(many.difference(few)), 7)
        self.assertEqual(len(few.intersection(many)), 3)
        names = User.objects.order_by("display_name").distinct("display_name")
        self.assertEqual([user.display_name for user in names], [f"Name {number}" for number in range(5)])
        self.assertEqual(User.objects.values("display_name").distinct().count(), 5)

    def test_conditions_by_text(self):
        self.assertEqual(User.objects.filter(handle__icontains="SER-1").count(), 10)
        self.assertEqual(User.objects.filter(Q(handle__startswith="user-0") | Q(email__endswith="-11@example.com")).count(), 11)
        self.assertEqual(User.objects.filter(handle__regex=r"-\d[05]$").count(), 5)
        self.assertEqual(User.objects.filter(settings__theme=None).count(), 0)

    def test_updates_and_deletes_through_other_tables(self):
        mine = Post.objects.filter(author__handle="user-05")
        self.assertEqual(mine.update(likes_count=77), 2)
        followed = Follow.objects.filter(follower=self.users[0]).values("followee")
        self.assertEqual(User.objects.filter(pk__in=followed).update(followers_count=1), 10)
        self.assertEqual(User.objects.filter(followers_count=1).count(), 10)
        deleted, _ = Like.objects.filter(user__handle__lt="user-03").delete()
        self.assertEqual((deleted, Like.objects.count()), (3, 4))

    def test_iterator_over_all(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM social_post")
            self.assertEqual(cursor.fetchone(), (48,))
        ids = [post.pk for post in Post.objects.order_by("id").iterator(chunk_size=7)]
        self.assertEqual(ids, [post.pk for post in self.posts])


class Constraints(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.users = User.objects.bulk_create(
            User(handle=f"user-{number}", email=f"user-{number}@example.com") for number in range(8)
        )

    def refused(self, action, constraint):
        with self.assertRaises(IntegrityError) as caught, transaction.atomic():
            action()
        self.assertIn(constraint, str(caught.exception))

    def test_unique_fields_over_all_shards(self):
        for number in range(8):
            self.refused(
                lambda: User.objects.create(handle=f"user-{number}", email=f"new-{number}@example.com"), "handle"
            )
            self.refused(lambda: User.objects.create(handle=f"new-{number}", email=f"user-{number}@example.com"), "email")
        self.refused(lambda: User.objects.filter(pk=self.users[0].pk).update(handle="user-5"), "handle")
        self.assertEqual(User.objects.count(), 8)

    def test_conflicts_on_a_field_that_is_unique_over_all_shards(self):
        again = [User(handle=f"user-{number}", email=f"again-{number}@example.com", bio="again") for number in range(3, 11)]
        User.objects.bulk_create(again, ignore_conflicts=True)
        self.assertEqual(User.objects.count(), 11)
        User.objects.bulk_create(again, update_conflicts=True, unique_fields=["handle"], update_fields=["bio"])
        self.assertEqual((User.objects.count(), User.objects.filter(bio="again").count()), (11, 8))

    def test_groups_are_given_once(self):
        group = Group.objects.create(name="birds")
        for _ in range(2):
            for user in self.users:
                user.groups.add(group)
        self.assertEqual(group.user_set.count(), 8)

    def test_upsert_by_the_key(self):
        for user in self.users:
            user.bio = "changed"
        User.objects.bulk_create(self.users, update_conflicts=True, unique_fields=["id"], update_fields=["bio"])
        self.assertEqual(User.objects.filter(bio="changed").count(), 8)

    def test_check(self):
        me = self.users[0]
        self.refused(lambda: Follow.objects.create(follower=me, followee=me), "not_oneself")

    def test_primary_key_over_all_shards(self):
        post = Post.objects.create(author=self.users[0], body="one")
        for user in self.users[1:]:
            self.refused(lambda: Post.objects.create(pk=post.pk, author=user, body="two"), "social_post_pkey")

    def test_foreign_key_on_the_shard(self):
        def write():
            Post.objects.create(author_id=10**12, body="nobody's")
            connection.check_constraints()

        self.refused(write, "foreign key")
