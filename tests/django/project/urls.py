from django.contrib import admin
from django.urls import include, path
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework.routers import DefaultRouter

from social import api

router = DefaultRouter()
router.register("users", api.Users)
router.register("posts", api.Posts)
router.register("notifications", api.Notifications, basename="notification")

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/token/", obtain_auth_token),
    path("api/", include(router.urls)),
]
