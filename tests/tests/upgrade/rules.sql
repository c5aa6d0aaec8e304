-- And on the home shard for their placement. One move is over.
insert into oskol.rules values ('users'::regclass, 'sharded', 1, false, 'integer'), ('posts'::regclass, 'sharded', 2, false, 'integer'),
    ('follows'::regclass, 'sharded', 1, false, 'integer'), ('countries'::regclass, 'reference', null, false, null);
insert into oskol.rebalances (kind, state, moves, finished, cleared) values ('rebalance', 'finished', 1, clock_timestamp(), true);
insert into oskol.moves (rebalance, buckets, source, target, state, rows) values (1, '{7}', 0, 1, 'done', 3);
