"""The REST interface, as a program uses it."""

from django.test import TransactionTestCase
from rest_framework.test import APIClient

from social.models import Follow, Like, Notification, Post, Tag, User


class Api(TransactionTestCase):
    """With real commits, as requests have them."""

    def setUp(self):
        Tag.objects.bulk_create(Tag(name=name) for name in ("birds", "bread", "boats"))
        self.people = [self.sign_up(f"person-{number}") for number in range(6)]

    def sign_up(self, handle):
        fields = {"handle": handle, "email": f"{handle}@example.com", "password": "correct horse"}
        answer = APIClient().post("/api/users/", fields, format="json")
        self.assertEqual(answer.status_code, 201, answer.content)
        token = APIClient().post("/api/token/", {"username": handle, "password": "correct horse"}, format="json")
        self.assertEqual(token.status_code, 200, token.content)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION="Token " + token.json()["token"])
        return client

    def write(self, person, body, **fields):
        answer = person.post("/api/posts/", {"body": body, **fields}, format="json")
        self.assertEqual(answer.status_code, 201, answer.content)
        return answer.json()["id"]

    def test_strangers_are_refused(self):
        self.assertEqual(APIClient().get("/api/posts/").status_code, 401)

    def test_handle_and_email_are_unique_over_all_shards(self):
        for handle, email in (("person-3", "new@example.com"), ("new", "person-3@example.com")):
            fields = {"handle": handle, "email": email, "password": "correct horse"}
            answer = APIClient().post("/api/users/", fields, format="json")
            self.assertEqual(answer.status_code, 400, answer.content)
            self.assertIn("already exists", answer.content.decode())
        self.assertEqual(User.objects.count(), 6)

    def test_feed_has_the_posts_of_followees_newest_first(self):
        reader, *authors = self.people
        for number, author in enumerate(authors):
            self.write(author, f"first of {number}", tags=["birds"])
            self.write(author, f"second of {number}", tags=["bread", "boats"])
        for number in (1, 2, 3):
            self.assertEqual(reader.post(f"/api/users/person-{number}/follow/").status_code, 201)
        self.assertEqual(reader.post("/api/users/person-1/follow/").status_code, 200)
        page = reader.get("/api/posts/feed/").json()
        expected = [f"{which} of {number}" for number in (2, 1, 0) for which in ("second", "first")]
        self.assertEqual([post["body"] for post in page["results"]], expected)
        self.assertEqual(sorted(page["results"][0]["tags"]), ["boats", "bread"])
        self.assertEqual(page["results"][0]["author"], "person-3")
        self.assertEqual(User.objects.get(handle="person-1").followers_count, 1)
        self.assertEqual(Follow.objects.count(), 3)

    def test_pages_by_cursor_lose_and_repeat_nothing(self):
        author = self.people[0]
        ids = [self.write(author, f"post {number}") for number in range(23)]
        for url in ("/api/posts/", "/api/users/person-0/posts/"):
            seen = []
            while url:
                page = author.get(url).json()
                seen += [post["id"] for post in page["results"]]
                url = page["next"]
            self.assertEqual(seen, ids[::-1])

    def test_pages_by_offset_are_counted(self):
        page = self.people[0].get("/api/users/?limit=4&offset=1").json()
        self.assertEqual(page["count"], 6)
        self.assertEqual([user["handle"] for user in page["results"]], [f"person-{number}" for number in range(1, 5)])

    def test_likes_count_each_person_once(self):
        post = self.write(self.people[0], "like me")
        for person in self.people:
            answer = person.post(f"/api/posts/{post}/like/")
        self.assertEqual(answer.json(), {"likes_count": 6})
        self.assertEqual(self.people[2].post(f"/api/posts/{post}/like/").json(), {"likes_count": 6})
        self.assertEqual(Like.objects.count(), 6)
        page = self.people[0].get("/api/notifications/").json()
        self.assertEqual([entry["actor"] for entry in page["results"]], [f"person-{n}" for n in (5, 4, 3, 2, 1)])
        self.assertEqual(self.people[0].post("/api/notifications/seen/").json(), {"seen": 5})
        self.assertEqual(Notification.objects.filter(seen=False).count(), 0)

    def test_comments(self):
        post = self.write(self.people[0], "say something")
        for person in self.people[1:4]:
            answer = person.post(f"/api/posts/{post}/comments/", {"body": "something"}, format="json")
            self.assertEqual(answer.status_code, 201, answer.content)
        authors = [comment["author"] for comment in self.people[0].get(f"/api/posts/{post}/comments/").json()]
        self.assertEqual(authors, ["person-1", "person-2", "person-3"])

    def test_only_the_author_writes(self):
        owner, other = self.people[:2]
        post = self.write(owner, "mine")
        self.assertEqual(other.patch(f"/api/posts/{post}/", {"body": "stolen"}, format="json").status_code, 403)
        self.assertEqual(other.delete(f"/api/posts/{post}/").status_code, 403)
        self.assertEqual(owner.patch(f"/api/posts/{post}/", {"body": "edited"}, format="json").status_code, 200)
        self.assertEqual(other.get(f"/api/posts/{post}/").json()["body"], "edited")
        self.assertEqual(owner.delete(f"/api/posts/{post}/").status_code, 204)
        self.assertEqual(other.get(f"/api/posts/{post}/").status_code, 404)
        self.assertEqual(Post.objects.count(), 0)

    def test_mistakes_are_told(self):
        self.assertEqual(self.people[0].post("/api/posts/", {"body": ""}, format="json").status_code, 400)
        unknown = {"body": "x", "tags": ["no such tag"]}
        self.assertEqual(self.people[0].post("/api/posts/", unknown, format="json").status_code, 400)
        self.assertEqual(self.people[0].get("/api/posts/999999999/").status_code, 404)
