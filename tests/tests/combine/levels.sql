-- Levels inside a statement that shards begin.
select avg(n), stddev(n) from (select body, count(*) as n from posts group by body) x
select x.*, c.name from (select stars, sum(price) s from posts where made < now() group by stars) x left join countries c on c.name = x.stars::text
= with top as (select body, count(*) as n from posts group by body order by n desc, body limit 5) select u.name, u.id, top.n from users u join top on top.n > u.id order by 1, 2, 3
= with top as materialized (select name, count(*) as n from users group by name) select u.name, u.id, top.n from users u join top on top.name = u.name order by 1, 2
select name from users where name in (select name from users group by name having count(*) > 5) and id < 20
select name, id from users where name = (select max(name) from users)
select name, id from users where score > (select avg(score) from users)
= select name, id, score - (select avg(score) from users) as d from users order by d desc, id limit 4
select count(*) from (select distinct country from users) x
select count(*), sum(s) from (select stars as s from posts order by body, owner, id limit 30) x
select u.id, (select count(*) from posts p where p.stars = u.id) from users u
select x.n, y.n from (select count(*) n from posts) x, (select count(*) n from users) y
with posts as (select 1 as stars) select stars, n, count(*) from (select stars, count(*) n from posts group by stars) x, users group by stars, n
select * from (select stars, count(*) from posts group by stars) a join (select small, count(*) from posts group by small) b on a.stars = b.small
select nick, n from (select nick, count(*) n from posts group by nick) x where nick > 'a'
= select nick from (select nick, count(*) n from posts group by nick) x order by nick
= select title from (select distinct title from posts) x order by title
= select t from (select max(title) as t, nick from posts group by nick) x order by t
select (select string_agg(distinct body, ',' order by body) from posts), count(*) from users
select exists (select stars from posts group by stars having count(*) > 1000), not exists (select 1 from posts having count(*) > 3)
select array(select stars from posts group by stars order by stars)
select id from users where id in (select stars from posts group by stars) order by id
select id from users where id > all (select stars from posts group by stars)
(select stars, count(*) from posts group by stars) union all (select small, count(*) from posts group by small)
(select body from posts order by body limit 3) union (select name from users order by name limit 3)
select count(*) from ((select distinct stars from posts) except (select distinct small from posts)) x
select s, count(*) from (select owner, sum(stars) as s from posts group by owner) x group by s
select s, count(*) from (select mood, sum(stars) as s from posts group by mood) x group by s
select u.id, l.n from users u, lateral (select count(*) as n from posts p where p.stars = u.id) l
select u.id, l.n from users u left join lateral (select stars, count(*) as n from posts group by stars) l on l.stars = u.id
with a as (select stars, count(*) n from posts group by stars), b as (select max(n) m from a) select a.stars from a, b where a.n = b.m
with recursive r(n) as (select 1 union all select n + 1 from r where n < (select count(distinct stars) from posts)) select max(n) from r
select stars, count(*) * 100 / (select count(*) from posts) from posts group by stars
select stars, count(*) from posts group by stars having count(*) > (select avg(n) from (select count(*) n from posts group by stars) x)
select p.owner, p.id from posts p join (select owner, max(id) as id from posts group by owner) m on m.owner = p.owner and m.id = p.id
select p.stars, p.owner, p.id from posts p join (select stars, max(price) as price from posts group by stars) m on m.stars = p.stars and m.price = p.price
select "?column?" from (select count(*) + 1 from posts) x
select x.count, x.coalesce from (select count(*), coalesce(max(stars), 0) from posts) x
select k, n from (select 'x' as k, count(*) n from posts) x
select pg_typeof(k), pg_typeof(n), pg_typeof(p) from (select 'x' as k, count(*) n, avg(price) p from posts) x
select case when n > 10 then 'a' end from (select count(*) n from posts) x
select avg(stars) from posts where price = (select max(price) from posts)
select count(*) from posts where body in (select body from posts group by body order by count(*) desc, body limit 2)
select count(*) from users u where u.name in (select distinct on (country) name from users order by country, name)
select row_number() over (order by n, body), body from (select body, count(*) n from posts group by body) x
