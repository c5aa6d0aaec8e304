//! Forms that the trees do not have, as texts with holes: whole rows, writes inside WITH, MERGE, writes through views,
//! several statements in one string.
//!
//! `{U}` is a user's id, `{I}` an id that no row has, `{N}` a small number, `{S}` a string, `{C}` a country.

use super::Generator;
use crate::differential::tables::COUNTRIES;
use crate::differential::tree::Statement;
use crate::differential::types::{self, Type};

const READS: &[&str] = &[
    "select * from posts where author_id = {U}",
    "select * from users where id in ({U}, {U}, {U})",
    "select t.* from users t join posts p on p.author_id = t.id and p.stars > {N}",
    "select * from follows f join users u on u.id = f.followee_id where f.follower_id = {U}",
    "select t::text from users t where t.id = {U}",
    "select t from messages t where t.size > {N}",
    "select c, p.title from posts p join comments c on c.author_id = p.author_id and c.stars > {N}",
    "select row_to_json(t) from settings t",
    "select to_jsonb(u) - 'profile' from users u where u.age > {N}",
    "select count(t), count(distinct t.author_id) from posts t",
    "table likes",
    "table countries",
    "select * from likes order by user_id, post_id offset {N}",
    "select (t).title, (t).stars from posts t where (t).author_id = {U}",
    "select * from likes l natural join (select id as user_id, name from users where age > {N}) u",
    "select u.*, b.posts from users u left join busy b on b.author_id = u.id where u.country = {C}",
    "select * from people where id = {U}",
    "select * from feed where author_id = {U} and stars > {N}",
    "select longest(name), longest(handle) from users",
    "select country, longest(name) from users group by country order by country nulls first",
    "select longest(title) filter (where stars > {N}) from posts where author_id in ({U}, {U})",
    "select author_id, longest(title) over (partition by author_id) from posts where open",
    "select exists (select from posts where author_id = {U}), array(select id from posts where author_id = {U} order by id)",
    "select * from (values ({U}, {S}), ({U}, {S})) v (id, word) join users u on u.id = v.id",
    "select u.id, x.* from users u, jsonb_each_text(u.profile) x where u.age > {N}",
    "select u.id, t.tag, t.number from users u, unnest(u.tags) with ordinality t (tag, number) where u.id = {U}",
    "select coalesce(a.user_id, b.follower_id), a.post_id, b.followee_id from likes a \
     full join follows b on b.follower_id = a.user_id and b.followee_id = a.post_id",
    "select * from posts p where (p.author_id, p.stars) in (select c.author_id, c.stars from comments c)",
    "select * from posts p where p.stars >= all (select c.stars from comments c where c.author_id = p.author_id)",
    "select id from users where id = {U} union all select author_id from posts where author_id = {U}",
    "select 1 as one from users where false",
    "select null::users from posts where author_id = {U}",
];

const LOCKS: &[&str] = &[
    "select u.name, f.weight from users u join follows f on f.followee_id = u.id where f.weight > {N} \
     order by u.name, u.id, f.follower_id for update of u",
    "select * from posts order by title nulls first, id limit {N} for share",
    "select * from posts where stars > {N} order by lower(title), id limit 4 offset 2 for no key update",
    "select c.id, c.body from comments c where c.post_id in (select id from users where age > {N}) for update of c",
    "select p.id, u.* from posts p, users u where u.id = p.stars and p.open order by p.id for key share",
    "select m.id, s.name from messages m join settings s on s.id = m.size where m.unread order by m.body, m.id for update skip locked",
    "select l.user_id, c.name from likes l, countries c where c.code = left(l.kind, 2) order by l.kind, l.user_id, l.post_id, c.code \
     for update of l for share of c nowait",
    "select id from users u where exists (select from likes l where l.post_id = u.id) order by name, id limit {N} for update",
    "select f.*, w.n from follows f left join (select author_id, count(*) as n from posts group by author_id) w on w.author_id = f.followee_id \
     where f.weight > {N} for no key update of f",
];

const WRITES: &[&str] = &[
    "with gone as (delete from likes where user_id = {U} returning *) select count(*), min(post_id) from gone",
    "with gone as (delete from follows where weight > {N} returning follower_id) select count(*) from gone",
    "with gone as (delete from likes where user_id = {U} returning user_id, post_id) \
     insert into comments (author_id, id, post_id) select user_id, post_id + {I}, post_id from gone",
    "with new as (insert into posts (author_id, id, title) values ({U}, {I}, {S}) returning author_id, id) \
     select u.name, new.id from new join users u on u.id = new.author_id",
    "with new as (insert into comments (author_id, id, body) values ({U}, {I}, {S}) returning *) select count(*) from new",
    "with old as (select id from users where age > {N}) update posts set stars = {N} \
     where author_id in (select id from old)",
    "with old as (select id from users where country = {C}) delete from likes where user_id in (select id from old)",
    "with seen as (update messages set unread = false where sender_id = {U} returning id) select count(*) from seen",
    "with gone as (delete from likes where post_id % 7 = {N} returning *) \
     insert into comments (author_id, id, post_id) select user_id, post_id + {I}, post_id from gone returning author_id, id",
    "with gone as (delete from follows where weight = {N} returning follower_id, followee_id) \
     select g.*, u.name from gone g join users u on u.id = g.followee_id",
    "with old as (update messages set size = {N} where size > {N} returning *) select count(*), sum(size), max(body) from old",
    "with a as (delete from likes where post_id % 5 = {N} returning user_id), \
     b as (update posts set stars = {N} where author_id in (select user_id from a) returning id) \
     select (select count(*) from a), (select count(*) from b), count(*) from users where id in (select user_id from a)",
    "with new as (insert into likes (user_id, post_id) values ({U}, {I}), ({U}, {I}) returning user_id) \
     update users set age = {N} where id in (select user_id from new) returning id, age",
    "with gone as (delete from comments where stars = {N} returning author_id, stars) \
     delete from messages m using gone g where m.sender_id = g.author_id and m.size > g.stars",
    "with gone as (delete from likes where user_id in ({U}, {U}) returning *), kept as (select id, age from users where age > {N}) \
     select k.age, count(*) from gone join kept k on k.id = gone.user_id group by k.age",
    "with moved as (delete from follows where followee_id = {U} returning *) \
     insert into follows select follower_id, {I}, since, close, weight from moved",
    "with note as (insert into settings (id, name) values ({I}, {S}) returning id) \
     update posts set stars = {N} where author_id = {U} and exists (select from note) returning id",
    "update posts set stars = {N} where id in (select id from posts where stars > {N} order by id limit 2 for update skip locked) \
     returning author_id, id",
    "with next as (select sender_id, id from messages where size > {N} order by sent nulls last, id limit 1 for update skip locked) \
     delete from messages m using next n where m.sender_id = n.sender_id and m.id = n.id returning m.id",
    "update posts set (stars, title) = ({N}, {S}) where author_id = {U} returning author_id, id, stars, title",
    "update posts set (stars, title) = ({N}, {S}) where stars = {N}",
    "update users set (age, score) = (select count(*), sum(stars) from posts p where p.author_id = users.id) where id = {U}",
    "update users set (age, score) = (select count(*), max(stars) from posts p where p.author_id = users.id)",
    "update posts set stars = default, title = default where author_id = {U}",
    "update messages set size = default where size > {N}",
    "update settings set value = default where id % 7 = {N}",
    "update comments as c set body = u.name from users u where u.id = c.author_id and c.stars > {N}",
    "update comments as c set body = u.name from users u where u.id = c.post_id and c.author_id = {U} returning c.*",
    "delete from follows f using users u where u.id = f.follower_id and u.country = {C} returning f.*",
    "delete from posts where author_id = {U} and id > {N} returning *",
    "delete from likes where (user_id, post_id) in (select author_id, id from posts where stars > {N})",
    "merge into posts p using (values ({U}::int8, {I}::int8, {S})) v (a, i, t) on p.author_id = v.a and p.id = v.i \
     when matched then update set title = v.t when not matched then insert (author_id, id, title) values (v.a, v.i, v.t)",
    "merge into posts p using (select {U}::int8 as a, {N}::int4 as n) v on p.author_id = v.a \
     when matched and p.stars > {N} then delete when matched then update set stars = v.n",
    "merge into posts p using (values ({U}::int8, {I}::int8, {S}), ({U}, {I}, {S}), ({U}, {I}, null)) v (a, i, t) \
     on p.author_id = v.a and p.id = v.i when matched then delete when not matched then insert (author_id, id, title) values (v.a, v.i, v.t)",
    "merge into comments c using (select followee_id, follower_id, weight from follows where weight > {N}) f \
     on c.author_id = f.followee_id and c.id = f.follower_id + {I} when matched then update set stars = f.weight \
     when not matched and f.weight < 3 then insert (author_id, id, stars) values (f.followee_id, f.follower_id + {I}, f.weight)",
    "merge into users u using (select author_id, count(*) as n from posts group by author_id) p on p.author_id = u.id \
     when matched and p.n > 2 then update set score = p.n when matched then do nothing",
    "merge into users u using (select post_id as id, max(kind) as kind from likes where post_id % 9 = {N} group by post_id) l on u.id = l.id \
     when matched then update set nick = left(l.kind, 5) when not matched then insert (id, name) values (l.id, l.kind)",
    "merge into settings s using (values ({N}::int8, {S})) v (i, t) on s.id = v.i \
     when matched then update set name = v.t when not matched then do nothing",
    "merge into countries c using (values ({C}, {S})) v (code, name) on c.code = v.code \
     when matched then update set name = v.name",
    "merge into users u using countries c on c.code = u.country and u.id = {U} when matched then update set nick = left(c.code, 5)",
    "update people set age = age + 1 where id = {U}",
    "update people set balance = 1 where country = {C} returning id, balance",
    "insert into people (id, name) values ({I}, {S}) returning id",
    "insert into people (id, name, age) values ({I}, {S}, {N}), ({I}, {S}, {N}), ({U}, {S}, {N}) on conflict (id) do nothing",
    "insert into people (id, name, age) values ({U}, {S}, {N}) on conflict (id) do update set age = excluded.age returning id, age",
    "insert into people (id, name) select id + {I}, name from users where age > {N} returning id, name",
    "delete from people where id = {U}",
    "insert into users (id, name) values ({U}, {S}) on conflict (id) do update set (name, age) = (excluded.name, {N}) \
     returning id, name, age",
    "insert into users (id, name) values ({U}, {S}), ({I}, {S}) on conflict (id) do nothing returning id",
    "insert into posts (author_id, id, stars) values ({U}, {I}, default), ({U}, {I}, {N}) returning *",
    "insert into likes select * from likes where user_id = {U} on conflict do nothing",
    "insert into follows (follower_id, followee_id) select {U}, id from users where country = {C} on conflict do nothing",
    "insert into settings (id, name) select {I} + id, name from users where id < 4",
    "insert into countries (code, name) select 'y' || {I}, name from users where id = {U}",
    "insert into settings default values",
    "truncate likes",
    "lock table likes in share mode",
    "insert into likes (user_id, post_id) values ({U}, {I}); update users set age = {N} where id = {U}; \
     select count(*) from likes",
    "update users set age = {N} where id = {U}; select 1 / 0; update users set age = {N} where id = {U}",
    "insert into likes (user_id, post_id) values ({U}, {I}); begin; delete from likes where user_id = {U}; rollback",
];

impl Generator {
    /// A seldom form of reading.
    pub(super) fn seldom_read(&mut self) -> Statement {
        self.filled(READS)
    }

    /// A seldom form of row locks.
    pub(super) fn seldom_lock(&mut self) -> Statement {
        self.filled(LOCKS)
    }

    /// A seldom form of writing; what it writes to is not told.
    pub fn seldom_write(&mut self) -> Statement {
        self.filled(WRITES)
    }

    fn filled(&mut self, forms: &[&str]) -> Statement {
        let mut rest = *self.dice.pick(forms);
        let mut text = String::new();
        while let Some(at) = rest.find('{') {
            text += &rest[..at];
            text += &self.hole(&rest[at + 1..at + 2]);
            rest = &rest[at + 3..];
        }
        Statement::Text(text + rest)
    }

    fn hole(&mut self, kind: &str) -> String {
        match kind {
            "U" => self.some_user().to_string(),
            "I" => {
                self.next_id += 1000;
                self.next_id.to_string()
            }
            "N" => self.dice.below(6).to_string(),
            "C" => format!("'{}'", self.dice.pick(&COUNTRIES)),
            _ => types::literal(&mut self.dice, Type::Text).sql(),
        }
    }
}
