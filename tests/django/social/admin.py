from django.contrib import admin

from .models import Comment, Follow, Post, Tag, User


class PostInline(admin.TabularInline):
    model = Post
    extra = 1
    fields = ["body", "likes_count"]


@admin.register(User)
class UserAdmin(admin.ModelAdmin):
    list_display = ["handle", "email", "followers_count", "is_staff", "joined_at"]
    list_filter = ["is_staff", "is_active", "groups"]
    search_fields = ["handle", "email"]
    ordering = ["handle"]
    date_hierarchy = "joined_at"
    filter_horizontal = ["groups", "user_permissions"]
    inlines = [PostInline]


@admin.register(Post)
class PostAdmin(admin.ModelAdmin):
    list_display = ["id", "author", "body", "likes_count", "created_at"]
    list_select_related = ["author"]
    list_editable = ["likes_count"]
    search_fields = ["body", "author__handle"]
    autocomplete_fields = ["author"]
    date_hierarchy = "created_at"


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin):
    list_display = ["author", "post", "body"]
    raw_id_fields = ["author", "post"]


@admin.register(Follow)
class FollowAdmin(admin.ModelAdmin):
    list_display = ["follower", "followee", "created_at"]
    autocomplete_fields = ["follower", "followee"]


@admin.register(Tag)
class TagAdmin(admin.ModelAdmin):
    search_fields = ["name"]
