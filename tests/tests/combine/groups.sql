-- By all kinds of expressions.
select body, count(*) from posts group by body
select body, count(*) + 1 as n from posts group by body order by n, body
= select body, count(*) from posts group by body order by body
= select body, count(*), avg(price) from posts group by 1 order by 2 desc, 1 nulls first
= select lower(body) as b, count(*), sum(price) from posts group by b order by b nulls first
= select lower(body), upper(body), count(*) from posts group by lower(body), upper(body) order by 1, 2
select price, count(*) from posts group by price
select nick, count(*), max(title) from posts group by nick
= select nick, count(*) from posts group by nick order by nick
= select title, count(*) from posts group by title order by title
= select title, nick, count(*) from posts group by title, nick order by title, nick desc
= select body collate "C" as b, count(*) from posts group by body collate "C" order by b
= select body collate "C" as b, count(*) from posts group by b order by b
= select body, count(*) from posts group by body order by body collate "C"
select count(*), count(distinct alias) from users group by alias
select alias = 'anna', count(*) from users group by alias = 'anna'
= select lower(alias), count(*), max(name) from users group by alias order by alias
select mood, count(*), min(price) from posts group by mood order by mood
= select mood, count(*) from posts group by mood order by mood desc nulls last
= select code, count(*), length(code) from posts group by code order by code
select tags, count(*) from posts group by tags
select doc, count(*) from posts group by doc
select bits, blob, count(*) from posts group by bits, blob
= select date_trunc('week', made) as w, count(*), avg(stars) from posts group by w order by w
= select extract(month from day), count(*) from posts group by extract(month from day) order by 1
= select made::date, sum(price) from posts group by made::date order by made::date
= select stars % 2, count(*), sum(stars) from posts group by stars % 2 order by stars % 2
= select stars > 2 as big, count(*) from posts group by stars > 2 order by big
= select case when stars > 3 then 'many' when stars > 1 then 'some' else 'few' end as howmany, count(*) from posts group by howmany order by howmany
select flag, flag is null, count(*) from posts group by flag, flag is null
select count(*) from posts group by stars
select stars from posts group by stars
select stars + 1 from posts group by stars
select stars, price from posts group by stars, price
select 'x', count(*) from posts group by 1
select 'x' as k, 5 as n, count(*) from posts group by k, n
select 1, 2.5, 'text', null, count(*) from posts
select posts.stars, count(*) from posts group by stars
select p.stars, count(*) from posts p group by p.stars
select stars as body, count(*) from posts group by body, stars
select stars, count(*) from posts where owner in (1, 2, 3) group by stars
select (stars, small), count(*) from posts group by stars, small
select stars, small, count(*) from posts group by (stars, small)
select date_part('hour', made), count(*) from posts group by 1
select twice(stars), count(*) from posts group by twice(stars)
select amount, count(*), sum(amount) from posts group by amount
select unnest(tags) as t, count(*) from posts group by t
select unnest(tags), count(*) from posts group by 1 order by 2 desc, 1 limit 2
-- Aggregates by group.
select stars, avg(price), stddev(price), variance(small), min(body), max(title), bool_or(flag) from posts group by stars
select mood, sum(took), avg(took), sum(paid), sum(big), avg(big) from posts group by mood
select stars, count(distinct body), count(*) from posts group by stars
select stars, count(distinct body) filter (where small > 2), string_agg(distinct nick, ',' order by nick) from posts group by stars
select stars, string_agg(body, ',' order by owner, id) from posts group by stars
select stars, array_agg(owner order by owner, id), count(*) from posts group by stars
select mood, percentile_cont(0.5) within group (order by price), avg(price) from posts group by mood
select stars, json_agg(json_build_object('o', owner, 'b', body) order by owner, id) from posts group by stars
select lower(body), string_agg(title, '-' order by title, owner, id) from posts group by lower(body)
= select lower(nick), count(*), string_agg(nick, ',' order by nick, owner, id) from posts group by lower(nick) order by lower(nick)
select stars, sum(ratio) from posts group by stars
select mood, array_agg(distinct tags) from posts group by mood
-- HAVING.
select body, count(*) from posts group by body having count(*) > 15
select body from posts group by body having avg(price) > 10 order by body
select stars, sum(price) from posts group by stars having sum(price) > 100 and stars > 1
select stars from posts group by stars having count(distinct body) > 3 and max(price) is not null
select lower(body) from posts group by lower(body) having lower(body) like 'a%'
select count(*) from posts having max(stars) > 3
select stars from posts group by stars having bool_or(flag) or stars is null
-- ORDER BY and LIMIT.
= select stars, count(*) from posts group by stars order by count(*) desc, stars limit 3
= select stars, count(*) as n from posts group by stars order by n desc, stars offset 1 limit 2
= select body from posts group by body order by max(price) desc nulls last, body limit 4
= select body, max(price) from posts group by body order by 2 desc nulls first, 1 fetch first 3 rows only
= select stars from posts group by stars order by avg(small) + 1, stars limit 5
= select stars, sum(price) as s from posts group by stars order by -sum(price), stars
= select small from posts group by small order by count(*), small fetch first 2 rows with ties
= select distinct count(*) from posts group by stars order by 1
select distinct stars > 2, count(*) > 20 from posts group by stars
= select stars as s, -stars as neg from posts group by stars order by neg nulls last
-- Grouping sets.
select stars, mood, count(*) from posts group by rollup (stars, mood)
select stars, mood, count(*), sum(price), grouping(stars, mood) from posts group by cube (stars, mood)
select stars, mood, avg(price) from posts group by grouping sets ((stars), (mood), ())
select coalesce(mood::text, 'all'), count(*) from posts group by rollup (mood)
select stars, small, mood, count(*) from posts group by stars, rollup (small, mood)
= select stars, grouping(stars), count(*) from posts group by rollup (stars) order by 2, 1
select stars, count(*) from posts where stars > 1000 group by rollup (stars)
select count(*) from posts where stars > 1000 group by ()
select count(*) from posts group by ()
select stars, mood, count(*) from posts group by distinct rollup (stars, mood), rollup (stars)
select date_trunc('month', day) m, mood, count(*), max(body) from posts group by rollup (m, mood)
select stars, count(distinct body) from posts group by rollup (stars)
select stars, string_agg(body, ',' order by owner, id) from posts group by rollup (stars)
select stars, body, count(*) from posts group by grouping sets (1, 2) having count(*) > 10
-- Columns that a primary key decides.
select c.name, count(*) from users u join countries c on c.code = u.country group by c.code
select c.code, c.name, c.doc, avg(u.score) from users u join countries c on c.code = u.country group by c.code
select c.name || '!', count(*), max(u.name) from users u join countries c on c.code = u.country group by c.code having count(*) > 1 order by c.name
select u.*, count(*), avg(p.stars) from users u join posts p on p.owner = u.id group by u.id
select u.name, c.name, count(*) from users u left join countries c on c.code = u.country group by u.name, c.code
-- Windows over groups.
= select stars, count(*), rank() over (order by count(*) desc, stars) from posts group by stars order by stars
= select stars, sum(count(*)) over (order by stars) from posts group by stars order by stars
select mood, stars, sum(sum(price)) over (partition by mood) from posts group by mood, stars
= select stars, sum(price), sum(price) / sum(sum(price)) over () from posts group by stars order by stars
= select owner, count(*), rank() over (order by count(*), owner) from posts group by owner order by owner
= select owner, sum(stars) s, avg(sum(stars)) over () from posts group by owner order by owner
= select body, row_number() over w, lag(count(*)) over w from posts group by body window w as (order by body) order by body
-- Groups that are whole on one shard.
= select owner, count(*), string_agg(body, ',' order by id) from posts group by owner order by max(body), owner limit 5
= select owner, avg(price) from posts group by owner having count(distinct stars) > 2 order by 2 desc nulls last, 1
= select u.name, u.id, count(*) from users u join posts p on p.owner = u.id group by u.id order by u.name, u.id limit 7 offset 3
-- Subqueries beside groups.
select stars, count(*) from posts where owner in (select id from users where id = posts.owner) group by stars
select u.country, (select name from countries c where c.code = u.country), count(*) from users u group by u.country
select u.country, count(*), exists (select 1 from countries c where c.code = u.country) from users u group by u.country
select (select count(*) from countries), count(*) from posts
select x.stars, count(*), sum(n) from (select owner, stars, count(*) n from posts group by owner, stars) x group by x.stars
with p as (select * from posts where stars > 1), q as (select owner, stars, body from p) select stars, max(body) from q group by stars
select n, count(*) from (select owner, count(*) as n from posts where stars > 2 group by owner) x group by n
select d.stars, avg(d.price) from (select owner, stars, price from posts union all select owner, stars, price from posts) d group by d.stars
-- Names of columns.
select count(*), sum(stars) + 1, max(body) || 'x', lower(max(body)), (count(*)), -count(*), count(*)::int from posts
select case when count(*) > 1 then 1 end, coalesce(max(body)), array[count(*)], (array_agg(stars order by owner, id))[1], greatest(1, count(*)), now() is null, current_date is null from posts
select stars::text, stars::text::varchar, count(*) from posts group by stars
select case when stars > 1 then 'a' else body end, count(*) from posts group by 1
