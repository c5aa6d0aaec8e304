"""What the pages do to the database, each in one transaction."""

from django.db import IntegrityError, transaction
from django.db.models import F

from .models import Follow, Like, Notification, Post, User


@transaction.atomic
def follow(follower, followee):
    """True: from now on; False: it was so."""
    _, created = Follow.objects.get_or_create(follower=follower, followee=followee)
    if created:
        User.objects.filter(pk=followee.pk).update(followers_count=F("followers_count") + 1)
        Notification.objects.create(user=followee, actor=follower, kind=Notification.Kind.FOLLOW)
    return created


@transaction.atomic
def like(user, post):
    """The number of likes after it."""
    try:
        with transaction.atomic():
            Like.objects.create(user=user, post=post)
    except IntegrityError:
        return Post.objects.get(pk=post.pk).likes_count
    locked = Post.objects.select_for_update().get(pk=post.pk)
    locked.likes_count += 1
    locked.save(update_fields=["likes_count"])
    if locked.author_id != user.pk:
        Notification.objects.create(user_id=locked.author_id, actor=user, post=locked, kind=Notification.Kind.LIKE)
    return locked.likes_count


def feed(user):
    """Posts of those whom `user` follows."""
    followees = Follow.objects.filter(follower=user).values("followee")
    return Post.objects.filter(author__in=followees).select_related("author").prefetch_related("tags")
