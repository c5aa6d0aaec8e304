-- By any type and collation.
= select body, owner, id from posts order by body, owner, id
= select body, owner, id from posts order by body desc, owner, id limit 10
= select body, owner, id from posts order by body nulls first, owner desc, id limit 10 offset 5
= select nick, title, owner, id from posts order by nick, title desc, owner, id limit 20
= select title, owner, id from posts order by title, owner, id limit 20
= select owner, id from posts order by body collate "C", owner, id limit 30
= select owner, id from posts order by title collate "C" desc, nick, owner, id
= select alias, id from users order by alias, id
= select price, owner, id from posts order by price, owner, id limit 25
= select ratio, owner, id from posts order by ratio desc, owner, id limit 25
= select paid from posts order by paid limit 5
= select took, owner, id from posts order by took, owner, id limit 9
= select mood, owner, id from posts order by mood desc, owner, id limit 30
= select tags, owner, id from posts order by tags, owner, id
= select doc, owner, id from posts order by doc, owner, id limit 12
= select code, owner, id from posts order by code, owner, id limit 12
= select bits, blob, owner, id from posts order by bits, blob, owner, id limit 12
= select flag, owner, id from posts order by flag nulls first, owner, id limit 30
= select amount, owner, id from posts order by amount desc, owner, id limit 12
-- By expressions, names, numbers, columns that are not selected.
= select owner, id from posts order by lower(body), owner, id
= select owner, id from posts order by stars + small, owner, id limit 7
= select owner, id from posts order by lower(nick), lower(title), owner, id limit 30
= select body as owner, id, posts.owner from posts order by owner, id, posts.owner limit 10
= select lower(body) as b, owner, id from posts order by b, owner, id limit 11
= select lower(body) as b, owner, id from posts order by 1, 2, 3 limit 11
= select owner, id from posts order by stars is null, price is null, body, owner, id limit 20
= select owner, id from posts order by case when stars > 2 then 0 else 1 end, body, owner, id limit 20
= select * from posts order by body, owner, id limit 3
= select p.*, p.stars + 1 as more from posts p order by title, owner, id limit 3
= select owner, id from posts order by price using >, owner, id limit 6
= select owner, id from posts order by body || title, owner, id limit 6
= select posts.owner, posts.id from posts order by posts.body, posts.owner, posts.id limit 4
= select 'x', owner, id from posts order by body, 2, 3 limit 2
= select owner, id, now() is null from posts order by body, owner, id limit 2
= select -stars as stars, owner, id from posts order by stars, owner, id limit 9
= select -stars as n, owner, id from posts order by -n, owner, id limit 9
= select u.name, p.body, p.id, u.id from users u join posts p on p.owner = u.id order by u.name, p.body, u.id, p.id limit 15
= select u.name, c.name as country, u.id from users u left join countries c on c.code = u.country order by c.name, u.name, u.id limit 15
= select owner, id from posts where owner in (1, 2, 3) order by body, owner, id
= select x.b, x.owner, x.id from (select body as b, owner, id from posts where stars > 1) x order by x.b, x.owner, x.id limit 7
= with p as (select * from posts) select body, owner, id from p order by body, owner, id limit 7
= select owner, id, (select name from users where users.id = owner) as n from posts order by n, body, owner, id limit 8
= select owner, id from posts order by (select name from users where users.id = owner), body, owner, id limit 8
= select u.id, t.body from users u, lateral (select body, id from posts p where p.owner = u.id order by body, id limit 1) t order by t.body, u.id limit 9
-- LIMIT.
= select owner, id from posts order by body, owner, id limit 0
= select owner, id from posts order by body, owner, id limit all offset 140
= select owner, id from posts order by body, owner, id limit null
= select owner, id from posts order by body, owner, id offset 148
= select owner, id from posts order by body, owner, id limit 2 + 3
= select owner, id from posts order by body, owner, id limit '4'
= select owner, id from posts order by body, owner, id limit 2.6 offset 1
= select owner, id from posts order by body, owner, id limit -1
= select owner, id from posts order by body, owner, id limit 3 offset -1
= select owner, id from posts order by body, owner, id limit 9000000000000000000 offset 9000000000000000000
= select stars from posts order by stars fetch first 3 rows with ties
select body, owner, id from posts order by body fetch first 5 rows with ties
= select price from posts order by price offset 3 fetch next 4 rows with ties
select owner, stars from posts order by owner fetch first 7 rows with ties
select count(*) from (select owner from posts limit 7) x
-- DISTINCT.
select distinct body from posts
= select distinct body from posts order by body
= select distinct body from posts order by body desc nulls last limit 3 offset 1
= select distinct price from posts order by price
select distinct price from posts where price <> 1.5
= select distinct lower(body) as b, stars from posts order by b, stars limit 10
= select distinct lower(body), stars from posts order by lower(body), stars limit 10
= select distinct title from posts order by title
= select distinct nick, title from posts order by nick, title
select distinct count(*) over () from posts where owner < 9
select distinct mood, flag from posts
= select distinct owner, body from posts order by body, owner limit 12
select distinct 'x' from posts
select distinct tags from posts
select distinct code from posts
= select distinct on (body) body, owner, id from posts order by body, price desc nulls last, owner, id
= select distinct on (stars) stars, body, owner from posts order by stars desc nulls last, body, owner, id limit 3
= select distinct on (lower(body)) owner, id from posts order by lower(body), owner, id
= select distinct on (mood, flag) mood, flag, title, owner, id from posts order by mood, flag, title, owner, id
= select distinct on (1) nick, owner, id from posts order by 1, owner, id
= select distinct on (b) body as b, owner, id from posts order by b, owner, id limit 2
= select distinct on (owner) owner, body, id from posts order by owner, body, id
select distinct on (stars) stars from posts
-- Windows.
= select owner, id, row_number() over (order by body, owner, id) from posts order by 3
= select owner, id, rank() over (order by stars) from posts order by owner, id
= select owner, id, sum(stars) over (partition by body order by owner, id) from posts order by owner, id
= select owner, id, avg(price) over (partition by stars) from posts order by owner, id
= select owner, id, lag(body) over (order by body, owner, id), lead(title, 2) over (order by title, owner, id) from posts order by owner, id
= select owner, id, first_value(body) over w, last_value(body) over w from posts window w as (partition by mood order by body, owner, id rows between 1 preceding and 1 following) order by owner, id
= select owner, id, ntile(4) over (order by price, owner, id), cume_dist() over (order by stars) from posts order by owner, id
= select owner, id, count(*) over () from posts order by body, owner, id limit 5
= select *, row_number() over (order by title, owner, id) as n from posts order by n limit 3
= select owner, id, sum(stars) over (partition by owner order by id) from posts order by body, owner, id limit 10
= select owner, id, count(*) filter (where flag) over (partition by stars) from posts order by owner, id limit 20
= select owner, id, stars - avg(stars) over () from posts order by 3 nulls last, owner, id limit 8
= select u.name, p.id, u.id, dense_rank() over (order by u.name) from users u join posts p on p.owner = u.id order by u.id, p.id limit 20
= select owner, id, array_agg(stars) over (order by owner, id rows 2 preceding) from posts order by owner, id limit 8
= select owner, id, (select name from users where users.id = owner), rank() over (order by stars, owner, id) r from posts order by r limit 8
= select owner, id, rank() over (order by made desc, owner, id) from posts where owner in (1, 2, 9) order by 3
-- Whole rows.
= select u from users u order by u.name, u.id limit 3
= select x from (select owner, id, body from posts) x order by body, owner, id limit 3
= select row_to_json(x) from (select owner, id, body from posts) x order by body, owner, id limit 3
= select row(owner, id), body from posts order by body, owner, id limit 3
= select (owner, id) = (1, 1), body from posts order by body, owner, id limit 3
select distinct (stars, flag) from posts
select distinct row(stars) from posts
= select to_jsonb(p) - 'raw' from posts p order by p.body, p.owner, p.id limit 2
= select p.ctid is null, p.tableoid is null from posts p order by p.body, p.owner, p.id limit 2
= select json_agg(u order by u.name, u.id) from users u
-- Errors.
select body from posts order by no_such limit 3
select body from posts order by 7
select distinct body from posts order by stars
select owner from posts order by 1 / (stars - stars), body limit 3
select body from posts order by body limit 'x'
select distinct on (stars) body from posts order by body
