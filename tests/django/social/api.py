"""The REST interface, with Django REST framework."""

from rest_framework import mixins, pagination, permissions, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response

from . import services
from .models import Comment, Notification, Post, Tag, Tagging, User


class NewestFirst(pagination.CursorPagination):
    ordering = ("-created_at", "-id")
    page_size = 10


class Profile(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "handle", "bio", "followers_count", "joined_at"]
        read_only_fields = ["followers_count"]


class SignUp(serializers.ModelSerializer):
    password = serializers.CharField(write_only=True, min_length=8)

    class Meta:
        model = User
        fields = ["id", "handle", "email", "password"]

    def create(self, fields):
        return User.objects.create_user(**fields)


class CommentSerializer(serializers.ModelSerializer):
    author = serializers.SlugRelatedField(slug_field="handle", read_only=True)

    class Meta:
        model = Comment
        fields = ["id", "author", "body", "created_at"]


class PostSerializer(serializers.ModelSerializer):
    author = serializers.SlugRelatedField(slug_field="handle", read_only=True)
    tags = serializers.SlugRelatedField(slug_field="name", many=True, queryset=Tag.objects.all(), required=False)

    class Meta:
        model = Post
        fields = ["id", "author", "body", "tags", "likes_count", "created_at"]
        read_only_fields = ["likes_count"]

    def create(self, fields):
        tags = fields.pop("tags", [])
        post = Post.objects.create(**fields)
        Tagging.objects.bulk_create(Tagging(post=post, tag=tag, author=post.author) for tag in tags)
        return post


class NotificationSerializer(serializers.ModelSerializer):
    actor = serializers.SlugRelatedField(slug_field="handle", read_only=True)

    class Meta:
        model = Notification
        fields = ["id", "kind", "actor", "post", "seen", "created_at"]


class Own(permissions.BasePermission):
    """Everyone reads; only the author writes."""

    def has_object_permission(self, request, view, post):
        return request.method in permissions.SAFE_METHODS or post.author_id == request.user.pk


class Users(mixins.CreateModelMixin, mixins.RetrieveModelMixin, mixins.ListModelMixin, viewsets.GenericViewSet):
    queryset = User.objects.order_by("id")
    lookup_field = "handle"

    def get_serializer_class(self):
        return SignUp if self.action == "create" else Profile

    def get_permissions(self):
        return [permissions.AllowAny()] if self.action == "create" else super().get_permissions()

    @action(detail=True, methods=["post"])
    def follow(self, request, handle):
        created = services.follow(request.user, self.get_object())
        return Response({"following": True}, status=201 if created else 200)

    @action(detail=True)
    def posts(self, request, handle):
        posts = Post.objects.filter(author=self.get_object()).select_related("author").prefetch_related("tags")
        paginator = NewestFirst()
        page = paginator.paginate_queryset(posts, request, view=self)
        return paginator.get_paginated_response(PostSerializer(page, many=True).data)


class Posts(viewsets.ModelViewSet):
    queryset = Post.objects.select_related("author").prefetch_related("tags")
    serializer_class = PostSerializer
    pagination_class = NewestFirst
    permission_classes = [permissions.IsAuthenticated, Own]

    def perform_create(self, serializer):
        serializer.save(author=self.request.user)

    @action(detail=False)
    def feed(self, request):
        page = self.paginate_queryset(services.feed(request.user))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @action(detail=True, methods=["post"], permission_classes=[permissions.IsAuthenticated])
    def like(self, request, pk):
        return Response({"likes_count": services.like(request.user, self.get_object())})

    @action(detail=True, methods=["get", "post"], permission_classes=[permissions.IsAuthenticated])
    def comments(self, request, pk):
        post = self.get_object()
        if request.method == "POST":
            comment = CommentSerializer(data=request.data)
            comment.is_valid(raise_exception=True)
            comment.save(author=request.user, post=post)
            return Response(comment.data, status=201)
        comments = post.comments.select_related("author").order_by("created_at", "id")
        return Response(CommentSerializer(comments, many=True).data)


class Notifications(mixins.ListModelMixin, viewsets.GenericViewSet):
    serializer_class = NotificationSerializer
    pagination_class = NewestFirst

    def get_queryset(self):
        return self.request.user.notifications.select_related("actor")

    @action(detail=False, methods=["post"])
    def seen(self, request):
        return Response({"seen": self.get_queryset().filter(seen=False).update(seen=True)})
