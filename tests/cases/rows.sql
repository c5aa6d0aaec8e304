-- Run on the plain PostgreSQL alone; the cluster is given the same rows by COPY.
insert into countries values
    ('de', 'Germany', 83200000, 357588.00), ('fr', 'France', 68000000, 643801.00),
    ('it', 'Italy', 58900000, 301340.00), ('at', 'Österreich', 9100000, 83879.00),
    ('nl', 'Netherlands', 17700000, null), ('xx', 'Nowhere', null, null);

insert into settings values
    ('theme', 'dark', 1), ('language', 'de', 1), ('limit', '20', 2), ('motto', null, 3);

insert into users (id, name, country, born, score, rating, active, tags, profile, joined)
select n,
    (array['ann', 'bob', 'cem', 'dana', 'eve', 'fritz', 'gül'])[1 + n % 6] || n,
    case when n % 7 = 0 then null else (array['de', 'fr', 'it', 'at', 'us'])[1 + n % 5] end,
    case when n % 11 = 0 then null else date '1970-01-01' + (n * 397) % 12000 end,
    case when n % 9 = 0 then null else round((n * 37 % 1000) / 7.0, 2) end,
    case when n % 8 = 0 then null when n = 13 then 'NaN' else (n * 17 % 50) / 10.0 end,
    n % 4 <> 0,
    case n % 3 when 0 then '{}'::text[] when 1 then array['a', 't' || n % 5] else array['b'] end,
    case when n % 5 = 0 then null
        else jsonb_build_object('age', 20 + n % 40, 'city', 'c' || n % 6, 'langs', jsonb_build_array('en', 'l' || n % 3)) end,
    timestamptz '2024-01-01 00:00:00+00' + n * interval '7 hours'
from generate_series(1, 60) as n;

insert into posts (id, user_id, body, seen, likes, weight, posted)
select p, u, (array['Hello', 'hello', 'World', 'zebra', 'Äpfel', '', 'a b'])[1 + (u * 3 + p) % 7] || ' ' || u % 13,
    (array['public', 'friends', 'private']::visibility[])[1 + (u + p) % 3],
    u * p * 7 % 23,
    case when p = 3 then null else (u * p % 19)::real / 4 end,
    case when u % 10 = 0 then null else timestamp '2024-03-01 12:00:00' + (u * 31 + p * 17) % 90 * interval '1 day' end
from generate_series(1, 50) as u, generate_series(1, 5) as p
where p <= 1 + u % 5;

insert into follows
select u, f, date '2024-01-01' + (u * f)::int % 60
from generate_series(1, 60) as u, generate_series(1, 60) as f
where u <> f and (u * 7 + f * 11) % 13 = 0;

insert into likes
select u, p.user_id, p.id, case when u % 6 = 0 then null else 1 + (u + p.id) % 5 end
from generate_series(1, 60) as u, posts as p
where (u * 5 + p.user_id * 3 + p.id) % 17 = 0;

insert into comments
select u, row_number() over (partition by u order by p.user_id, p.id), p.user_id, p.id,
    case when u % 9 = 0 then null else 'comment ' || (u * p.id) % 15 end,
    case when p.id > 1 then 1 end
from generate_series(1, 60) as u, posts as p
where (u * 3 + p.user_id * 7 + p.id * 2) % 29 = 0;

insert into messages
select u, n, 1 + (u * 13 + n * 7) % 60, case when n = 4 then null else 'm' || (u + n) % 21 end,
    timestamptz '2024-02-01 08:00:00+00' + (u * 61 + n * 7) * interval '11 minutes', (u + n) % 3 = 0
from generate_series(1, 60) as u, generate_series(1, 4) as n;

select setval('users_id_seq', 1000), setval('posts_id_seq', 1000);
