"""The admin site, as a browser uses it."""

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import TestCase

from social.models import Comment, Follow, Post, Tag, User


class Admin(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.boss = User.objects.create_superuser("boss", "boss@example.com", "password of boss")
        cls.users = User.objects.bulk_create(
            User(handle=f"user-{number}", email=f"user-{number}@example.com") for number in range(30)
        )
        cls.posts = Post.objects.bulk_create(Post(author=user, body=f"by {user}") for user in cls.users)

    def setUp(self):
        page = self.client.post("/admin/login/?next=/admin/", {"username": "boss", "password": "password of boss"})
        self.assertRedirects(page, "/admin/")

    def get(self, url, **parameters):
        page = self.client.get(url, parameters)
        self.assertEqual(page.status_code, 200, page.content[:500])
        return page

    def post(self, url, **fields):
        page = self.client.post(url, fields)
        errors = page.context and page.context.get("errors")
        self.assertEqual(page.status_code, 302, errors)

    def test_index(self):
        self.assertContains(self.get("/admin/"), "Posts")

    def test_list_is_searched_filtered_and_sorted(self):
        changes = self.get("/admin/social/user/").context["cl"]
        self.assertEqual(changes.result_count, 31)
        self.assertEqual([user.handle for user in changes.result_list][:3], ["boss", "user-0", "user-1"])
        changes = self.get("/admin/social/user/", q="user-1 example.com", o="-1").context["cl"]
        self.assertEqual(changes.result_count, 11)
        self.assertEqual(changes.result_list[0].handle, "user-19")
        changes = self.get("/admin/social/user/", is_staff__exact="1").context["cl"]
        self.assertEqual([user.handle for user in changes.result_list], ["boss"])
        year = self.boss.joined_at.year
        self.assertEqual(self.get("/admin/social/user/", joined_at__year=year).context["cl"].result_count, 31)
        self.assertEqual(self.get("/admin/social/user/", joined_at__year=year - 1).context["cl"].result_count, 0)

    def test_list_with_related_rows(self):
        changes = self.get("/admin/social/post/", q="user-7").context["cl"]
        self.assertEqual([post.author.handle for post in changes.result_list], ["user-7"])
        Comment.objects.create(author=self.users[0], post=self.posts[1], body="well said")
        self.assertContains(self.get("/admin/social/comment/"), "well said")

    def test_list_is_edited(self):
        changes = self.get("/admin/social/post/", q="user-7").context["cl"]
        (post,) = changes.result_list
        data = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": post.pk, "form-0-likes_count": 9}
        self.post("/admin/social/post/?q=user-7", _save="Save", **data)
        post.refresh_from_db()
        self.assertEqual(post.likes_count, 9)

    def test_add_change_and_history(self):
        self.post("/admin/social/tag/add/", name="birds")
        tag = Tag.objects.get(name="birds")
        page = self.client.post("/admin/social/tag/add/", {"name": "birds"})
        self.assertContains(page, "Tag with this Name already exists")
        self.post("/admin/social/post/add/", author=self.users[3].pk, body="from the admin", likes_count=0)
        post = Post.objects.get(body="from the admin")
        self.assertEqual(post.author, self.users[3])
        self.post(f"/admin/social/post/{post.pk}/change/", author=self.users[3].pk, body="edited", likes_count=2)
        self.assertContains(self.get(f"/admin/social/post/{post.pk}/history/"), "Changed Body")
        self.post(f"/admin/social/tag/{tag.pk}/change/", name="fish")
        entries = LogEntry.objects.filter(user=self.boss).order_by("-action_time", "-id")
        self.assertEqual([entry.object_repr for entry in entries], ["fish", "edited", "from the admin", "birds"])
        self.assertContains(self.get("/admin/"), "edited")

    def test_rows_of_a_user_are_changed_with_it(self):
        user, group = self.users[5], Group.objects.create(name="moderators")
        page = self.get(f"/admin/social/user/{user.pk}/change/")
        fields = {name: value for name, value in page.context["adminform"].form.initial.items() if value is not None}
        fields |= {"password": "!", "bio": "new", "settings": "{}", "groups": [group.pk], "is_active": "on"}
        fields |= {"user_permissions": [], "last_login_0": "", "last_login_1": ""}
        fields.pop("is_staff", None), fields.pop("is_superuser", None)
        fields |= {"posts-TOTAL_FORMS": 2, "posts-INITIAL_FORMS": 1}
        fields |= {"posts-0-id": self.posts[5].pk, "posts-0-author": user.pk, "posts-0-body": "changed"}
        fields |= {"posts-0-likes_count": 1, "posts-1-author": user.pk, "posts-1-body": "added", "posts-1-likes_count": 0}
        self.post(f"/admin/social/user/{user.pk}/change/", **fields)
        user.refresh_from_db()
        self.assertEqual((user.bio, list(user.groups.all())), ("new", [group]))
        self.assertEqual(sorted(user.posts.values_list("body", flat=True)), ["added", "changed"])
        changes = self.get("/admin/social/user/", groups__id__exact=group.pk).context["cl"]
        self.assertEqual([found.pk for found in changes.result_list], [user.pk])

    def test_unique_fields_are_checked_by_forms(self):
        page = self.client.post(
            f"/admin/social/user/{self.users[1].pk}/change/", {"handle": "user-2", "email": "user-1@example.com"}
        )
        self.assertContains(page, "User with this Handle already exists")

    def test_delete_names_what_goes_and_takes_it(self):
        user = self.users[6]
        Follow.objects.create(follower=self.users[7], followee=user)
        page = self.get(f"/admin/social/user/{user.pk}/delete/")
        self.assertContains(page, "by user-6")
        self.post(f"/admin/social/user/{user.pk}/delete/", post="yes")
        self.assertFalse(Post.objects.filter(author_id=user.pk).exists())
        self.assertFalse(Follow.objects.filter(follower=self.users[7]).exists())

    def test_action_on_many(self):
        chosen = [post.pk for post in self.posts[10:20]]
        fields = {"action": "delete_selected", "_selected_action": chosen}
        self.assertContains(self.client.post("/admin/social/post/", fields), "Are you sure")
        self.post("/admin/social/post/", post="yes", **fields)
        self.assertEqual(Post.objects.count(), 20)

    def test_autocomplete(self):
        found = self.get(
            "/admin/autocomplete/", term="user-2", app_label="social", model_name="post", field_name="author"
        ).json()
        handles = [result["text"] for result in found["results"]]
        self.assertEqual(handles, ["user-2"] + [f"user-{number}" for number in range(20, 30)])
