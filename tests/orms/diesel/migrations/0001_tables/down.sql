DROP TABLE tags, posts, users;
