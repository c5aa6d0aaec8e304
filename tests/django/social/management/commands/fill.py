"""Fills the database with users who post, follow and like."""

from django.core.management.base import BaseCommand
from django.db import transaction

from social.models import Follow, Like, Post, User


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--users", type=int, default=200)

    @transaction.atomic
    def handle(self, *args, users, **options):
        people = User.objects.bulk_create(
            User(handle=f"filled-{number}", email=f"filled-{number}@example.com") for number in range(users)
        )
        posts = Post.objects.bulk_create(
            Post(author=author, body=f"{author} says {number}") for author in people for number in range(3)
        )
        neighbours = list(zip(people, people[1:] + people[:1]))
        Follow.objects.bulk_create(Follow(follower=one, followee=other) for one, other in neighbours)
        Like.objects.bulk_create(Like(user=user, post=post) for user, post in zip(people, reversed(posts)))
        self.stdout.write(f"{len(people)} users, {len(posts)} posts, {users} follows, {users} likes")
