//! COPY FROM STDIN, wanted and unwanted data.

use crate::same;

#[tokio::test]
async fn data_comes_when_it_is_asked_for_and_when_it_is_not() {
    same(
        "copies",
        &[
            "Q copy lonely from stdin
         d 10|ten
         d 11|eleven
         c
         --
         Q select id from lonely order by id",
            "Q copy lonely from stdin
         d 12|ten
         f enough
         --
         Q select id from lonely order by id
         --
         Q copy things from stdin
         d 500|ten|1
         d 501|ten|1
         d 502|ten|1
         d 503|ten|1
         c
         --
         Q select id from things where id >= 500 order by id",
            "Q copy things from stdin
         d 510|ten|1
         d 511|ten|1
         d 512|ten|-1
         d 513|ten|1
         c
         --
         Q select id from things where id >= 510 order by id
         --
         Q copy things from stdin
         d 510|ten|1
         d 511|ten|1
         f why not
         --
         Q select id from things where id >= 510 order by id",
            "Q begin
         --
         Q copy things from stdin
         d 520|ten|1
         d 521|ten|1
         d 522|ten|1
         c
         --
         Q select 1
         --
         Q rollback
         --
         Q select id from things where id >= 520 order by id",
            "P |copy lonely from stdin
         B |
         E |
         S
         --
         d 20|x
         c
         S
         --
         Q select id from lonely where id >= 20",
            "P |copy lonely from stdin
         B |
         E |
         S
         --
         d 21|x
         f no
         S
         --
         Q select id from lonely where id >= 21",
            "P |copy lonely from stdin
         B |
         E |
         H
         --
         d 22|x
         d 23|x
         c
         S
         --
         Q select id from lonely where id >= 22 order by id",
            "P |copy lonely from stdin
         B |
         E |
         d 24|x
         c
         S
         --
         Q select id from lonely where id >= 24 order by id",
            "P |copy things from stdin
         B |
         E |
         S
         --
         d 530|x|1
         d 531|x|1
         d 532|x|1
         c
         S
         --
         Q select id from things where id >= 530 order by id",
            "P |copy things from stdin
         B |
         E |
         d 540|x|1
         d 541|x|1
         d 542|x|1
         c
         S
         --
         Q select id from things where id >= 540 order by id",
            "P |copy things from stdin
         B |
         E |
         d 550|x|1
         d 551|x|-1
         d 552|x|1
         c
         S
         --
         Q select id from things where id >= 550 order by id",
            "Q copy lonely from stdin
         Q select 1
         --
         Q select 2",
            "Q copy things from stdin
         Q select 1
         --
         Q select 2",
            "Q copy lonely from stdin
         S
         H
         d 60|x
         c
         --
         Q select 2",
            "c
         d 1|2
         f no
         --
         Q select 1",
            "Q copy (select id from lonely where id = 1) to stdout; select 1",
            "P |copy lonely to stdout
         B |
         E |
         S",
            "P |copy lonely from stdin
         B |
         E |
         --
         d 70|x
         c
         S
         --
         Q delete from lonely where id = 70",
            "P c|copy lonely from stdin
         P s|select 1
         B c|c
         B s|s
         E s|
         E c|
         d 71|x
         c
         S
         --
         Q delete from lonely where id = 71",
            "Q copy nothing from stdin
         d 1
         c
         --
         Q select 1",
        ],
    )
    .await;
}
