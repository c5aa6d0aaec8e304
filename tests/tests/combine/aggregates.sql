-- One group over all shards.
select count(*) from posts
select count(body) + 1, count(stars) * 2 from posts
select coalesce(sum(stars), 0), count(*) > 5 from posts
select sum(stars), sum(small), sum(big), sum(price), sum(paid), sum(took), sum(amount) from posts
select sum(stars * 2), sum(price * stars), sum(big + 1), sum(stars % 3) from posts
select avg(stars), avg(small), avg(big), avg(price), avg(took), avg(amount) from posts
select avg(stars * 1.5), round(avg(price), 2), avg(-stars) from posts
select min(body), max(body), min(nick), max(nick), min(title), max(title), min(code), max(code) from posts
select min(mood), max(mood), min(made), max(day), min(took), max(paid), min(price), max(ratio) from posts
select min(tags), max(tags), min(big), max(small), min(amount) from posts
select min(body collate "C"), max(lower(body)) from posts
select max(lower(nick)), min(upper(title)) from posts
select bool_and(flag), bool_or(flag), every(stars >= 0), bool_or(stars > 100) from posts
select bit_and(stars), bit_or(stars), bit_xor(stars), bit_and(bits), bit_or(bits), bit_xor(bits) from posts
select var_pop(stars), var_samp(stars), variance(stars), stddev_pop(stars), stddev_samp(stars), stddev(stars) from posts
select var_pop(price), var_samp(price), variance(price), stddev_pop(price), stddev_samp(price), stddev(price) from posts
select var_pop(big), stddev(big), variance(small), stddev(small) from posts
select stddev(price), variance(price), stddev_pop(stars) from posts where owner = 1 or owner = 2
select stddev(price * 0.0001), stddev(price * 1000000000000), stddev_pop(price / 7) from posts
select stddev(stars) from posts where stars = 1
select stddev(case when id = 1 and owner = 3 then stars end) from posts
select stddev(case when stars = 2 then 'NaN'::numeric else price end), variance(case when stars = 2 then 'Infinity'::numeric else price end) from posts
select avg(case when stars = 2 then 'NaN'::numeric else price end), sum(case when stars = 2 then '-Infinity'::numeric else price end) from posts
select sum(case when stars > 2 then 1 else 0 end), sum(case when flag then stars end) from posts
select sum(length(body)), avg(char_length(body)), sum(cardinality(tags)) from posts
select sum(coalesce(stars, 0)), avg(coalesce(price, 0)), sum(greatest(stars, small)) from posts
select sum(extract(day from made)), avg(extract(epoch from took)) from posts
select sum(made - timestamptz '2024-01-01'), avg(day - date '2024-01-01') from posts
select count(*) filter (where stars > 3), sum(price) filter (where flag), avg(stars) filter (where body is null) from posts
select count(distinct body), count(distinct stars), count(distinct price), count(distinct mood) from posts
select count(distinct owner), sum(distinct stars), avg(distinct price) from posts
select count(distinct body) filter (where stars > 2), count(*), avg(stars) from posts
select count(distinct (body, stars)) from posts
select string_agg(distinct body, ',' order by body), array_agg(distinct stars order by stars desc) from posts
select string_agg(distinct nick, ',' order by nick), string_agg(distinct title, '|' order by title) from posts
select array_agg(distinct mood order by mood)::text, min(distinct body), max(distinct price) from posts
select count(distinct lower(body)), count(distinct tags), count(distinct doc) from posts
select string_agg(body, ',' order by owner, id) from posts
select array_agg(stars order by owner, id), array_agg(body order by body, owner, id) from posts
select json_agg(stars order by owner, id), jsonb_agg(doc order by owner, id) from posts
select json_object_agg(owner * 10 + id, body order by owner, id) from posts
select percentile_cont(0.5) within group (order by ratio), percentile_disc(0.25) within group (order by price) from posts
select percentile_disc(0.5) within group (order by body), mode() within group (order by mood) from posts
select percentile_cont(array[0.1, 0.9]) within group (order by stars) from posts
select rank(3) within group (order by stars), dense_rank(3) within group (order by stars), percent_rank(2) within group (order by stars) from posts
select sum(ratio), avg(ratio), max(ratio), count(ratio) from posts
select corr(ratio, stars) is not null, regr_count(ratio, stars) from posts
select product(id) from posts where id < 3 and owner < 20
select array_agg(tags order by owner, id) from posts where tags = '{a,b}'
select json_agg(p order by p.owner, p.id) from posts p where id = 1
select count(p), count(p.*) from posts p
select array_agg(c order by owner, id) from (select owner, id, code as c from posts) x
select xmlagg(xmlelement(name a, stars) order by owner, id)::text from posts where id = 2
select range_agg(int4range(stars, stars + 1)) from posts
-- No rows at all.
select count(*), sum(stars), avg(price), min(body), bool_and(flag), stddev(stars), count(distinct body) from posts where stars > 1000
select coalesce(sum(stars), -1), string_agg(body, ',') from posts where stars > 1000
select count(*) from posts where owner = any('{}')
select count(*), max(body) from posts where owner in (1, 2, 3)
select avg(price) from posts where owner in (1, 4) having count(*) > 100
select avg(price) from posts having count(*) > 100
select 1 from posts having true
select 'x' from posts having count(*) > 0
select 1 from posts having count(*) < 0
-- Expressions over aggregates.
select sum(stars)::float8 / count(*), 'n=' || count(*), count(*)::text from posts
select case when count(*) > 10 then max(body) else 'few' end from posts
select array[min(stars), max(stars)], row(min(stars), max(stars))::text from posts
select greatest(sum(stars), sum(small)), nullif(count(*), 150), count(*) between 1 and 200 from posts
select sum(stars) is null, sum(stars) in (1, 2), not bool_and(flag) from posts
select twice(count(*)::int), twice(sum(id)::int) from posts
select to_char(avg(price), '9999.99'), avg(price)::int, round(stddev(price), 3) from posts
select count(*) as n, count(*) as m, sum(stars) as "Sum of stars", count(*) from posts
select max(price) - min(price) as spread, max(made) - min(made) from posts
select current_date - current_date, count(*), now() = current_timestamp from posts
select count(*) from posts where made < now()
select date_trunc('year', now()) = date_trunc('year', max(now())) from posts
select generate_series(1, 3), count(*) from posts
select count(*) order by 1
-- Joins, subqueries, WITH below.
select count(*), avg(u.score), max(p.body) from users u join posts p on p.owner = u.id
select count(*), count(u.id), sum(p.stars) from posts p left join users u on u.id = p.owner
select sum(x.n), max(x.b) from (select owner, count(*) as n, max(body) as b from posts group by owner) x
select avg(n), stddev(n) from (select owner, sum(stars) as n from posts group by owner) x
with p as (select owner, id, price from posts where stars > 1) select avg(price), count(*) from p
select avg(score) from users where exists (select 1 from posts where owner = users.id and stars = 5)
select sum(stars) from posts where owner in (select id from users where id = owner and score > 10)
select sum((select count(*) from posts p where p.owner = u.id)) from users u
select avg((select avg(stars) from posts p where p.owner = u.id)) from users u
select count(*) filter (where exists (select 1 from posts p where p.owner = u.id and p.stars = 5)) from users u
select count(*), max(c.name) from users u, countries c where u.country = c.code
select sum(t.n) from users u, lateral (select count(*) as n from posts p where p.owner = u.id) t
select count(*), max(g) from posts, generate_series(1, 2) g
select sum(g) from posts, generate_series(1, stars) g
-- Errors.
select sum(stars) / (count(*) - count(*)) from posts
select sum(1 / (stars - stars)) from posts where stars is not null
select sum(body) from posts
select body, count(*) from posts
select avg(no_such) from posts
select sum(stars) + body from posts
